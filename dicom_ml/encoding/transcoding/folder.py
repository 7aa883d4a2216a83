"""Folders of images in another transfer syntax: what becomes of each file, and going on where a run stopped."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dicom_ml.encoding.codecs import COMPRESSIONS, transfer_syntax
from dicom_ml.encoding.elements import FileView, NeedMore, NotLean
from dicom_ml.encoding.folders import files_below
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.encoding.writer import atomic_file
from dicom_ml.errors import DicomMLError, EncodingError, FileError

from .image import transcode_file
from .source import NoImage

__all__ = ["TARGETS", "Transcoded", "transcode"]

#: What files can be transcoded to, and the transfer syntax of each.
TARGETS: dict[str, str] = {
    "htj2k": COMPRESSIONS["htjpeg2000"],
    "jpeg-ls": COMPRESSIONS["jpeg-ls"],
    "jpeg2000": COMPRESSIONS["jpeg2000"],
    "rle": COMPRESSIONS["rle"],
    "deflate": COMPRESSIONS["deflate"],
    "raw": COMPRESSIONS[None],
}
_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.112",
}
# These two may hold frames with or without loss; Lossy Image Compression tells.
_EITHER = {"1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"}
_HEAD = 64 * 1024


@dataclass(frozen=True)
class Transcoded:
    """What became of one file.

    Attributes
    ----------
    path, output : Path
    outcome : str
        ``"transcoded"``, ``"kept"`` (copied byte by byte), ``"there"`` (from an earlier run), ``"skipped"`` (no DICOM),
        ``"refused"`` (not written: it cannot be transcoded) or ``"failed"`` (not written: it is damaged).
    reason : str
        Why, where it was not transcoded.
    frames : int
        Frames that were written anew.
    bytes_before, bytes_after : int
        Sizes of the files; 0 after where nothing lies at ``output``.
    """

    path: Path
    output: Path
    outcome: str
    reason: str = ""
    frames: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    @property
    def ok(self) -> bool:
        """Whether ``output`` holds the file's object, or the file holds none."""
        return self.outcome not in ("refused", "failed")


def transcode(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    to: str,
    *,
    unsuitable: str = "keep",
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[float], object] | None = None,
) -> list[Transcoded]:
    """Write images in another lossless transfer syntax, in the same tree of folders.

    Objects stay the same, SOP Instance UIDs included. Images compressed with loss stay as they are (what is lost does
    not come back, and decoded they would only be larger); so do objects without pixel data and images that the
    transfer syntax cannot hold, such as one-bit segmentations in JPEG-LS. A run that was stopped goes on where it was:
    a file has its name only when it was complete and verified.

    Parameters
    ----------
    source
        A file, or a folder, which is walked with its subfolders; hidden files and DICOMDIR are left out.
    output
        A file for a file; a folder for a folder.
    to
        One of `TARGETS`.
    unsuitable
        ``"keep"`` copies images that cannot be transcoded byte by byte, ``"refuse"`` leaves them out.
    overwrite
        Write files anew that are there from an earlier run.
    threads
        Most threads to use; None takes one a core, 8 at most.
    progress
        Called, from any thread, with the bytes of the sources that were dealt with since the last call.

    Returns
    -------
    list of Transcoded
        One a file, in order of their names.

    Raises
    ------
    EncodingError
        If ``to`` is unknown.
    FileError
        If there is no such source, or the output lies within it.
    """
    if to not in TARGETS:
        raise EncodingError(f"cannot transcode to {to!r}; expected one of {', '.join(TARGETS)}")
    if unsuitable not in ("keep", "refuse"):
        raise ValueError(f"unsuitable is {unsuitable!r}; expected 'keep' or 'refuse'")
    pairs = _pairs(Path(source), Path(output))
    task = _Task(transfer_syntax(TARGETS[to]), unsuitable, overwrite, threads, progress)
    found: dict[Path, Transcoded] = {}

    def work(pair: tuple[Path, Path]) -> None:
        found[pair[0]] = task(*pair)

    parallel_for(work, pairs, threads)
    return [found[path] for path, _ in pairs]


def _pairs(source: Path, output: Path) -> list[tuple[Path, Path]]:
    if not source.exists():
        raise FileError(f"{source} does not exist")
    if not source.is_dir():
        if output.is_dir():
            output = output / source.name
        if output.resolve() == source.resolve():
            raise FileError(f"{output} is the source itself: give another name")
        return [(source, output)]
    if output.is_file():
        raise FileError(f"{output} is a file; {source} is a folder and needs a folder")
    inner, outer = output.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise FileError(f"{output} lies within {source}: give a folder outside it")
    pairs = [(path, output / path.relative_to(source)) for path in map(Path, files_below(source))]
    if not pairs:
        raise FileError(f"{source} holds no file")
    return pairs


class _Task:
    """What to do with each file; one instance serves all threads."""

    def __init__(
        self,
        syntax: str,
        unsuitable: str,
        overwrite: bool,
        threads: int | None,
        progress: Callable[[float], object] | None,
    ) -> None:
        self.syntax = syntax
        self.unsuitable = unsuitable
        self.overwrite = overwrite
        self.threads = threads
        self.progress = progress
        self.lock = threading.Lock()

    def __call__(self, path: Path, output: Path) -> Transcoded:
        size = path.stat().st_size
        done = 0.0

        def step(share: float) -> None:
            nonlocal done
            with self.lock:
                # a second try of a colour model works on what is counted already
                share = min(share, 1 - done)
                done += share
                if self.progress is not None:
                    self.progress(share * size)

        outcome, reason, frames = self._one(path, output, step)
        step(1.0)
        after = output.stat().st_size if outcome in ("transcoded", "kept", "there") else 0
        return Transcoded(path, output, outcome, reason, frames, size, after)

    def _one(self, path: Path, output: Path, step: Callable[[float], object]) -> tuple[str, str, int]:
        try:
            head = _head(path)
        except FileError as error:
            return "skipped", str(error), 0
        if not self.overwrite and output.exists():
            if self._is_there(output, head):
                return "there", "it is there from an earlier run", 0
            return "failed", f"{output.name} is there and is another object; pass overwrite to replace it", 0
        reason = self._reason(head)
        if not reason:
            try:
                return "transcoded", "", transcode_file(path, output, self.syntax, threads=self.threads, progress=step)
            except NoImage:
                reason = "it holds no pixel data"
            except EncodingError as error:
                if self.unsuitable == "refuse":
                    return "refused", str(error), 0
                reason = str(error)
            except DicomMLError as error:
                return "failed", str(error), 0
        elif reason.startswith("lossy") and self.unsuitable == "refuse":
            return "refused", reason, 0
        with atomic_file(output) as file, open(path, "rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
        return "kept", reason, 0

    def _reason(self, head: _Head) -> str:
        """Why a file stays as it is; empty where it does not."""
        if head.syntax == self.syntax:
            return "it is in this transfer syntax already"
        if head.syntax in _LOSSY and not (head.syntax in _EITHER and head.lossy == "00"):
            return f"lossy compression, {head.syntax}: decoding would not bring back what is lost, only make it larger"
        return ""

    def _is_there(self, output: Path, head: _Head) -> bool:
        try:
            other = _head(output)
        except FileError:
            return False
        if other.sop_instance != head.sop_instance:
            return False
        return other.syntax == self.syntax or (other.syntax == head.syntax and other.size == head.size)


@dataclass(frozen=True)
class _Head:
    syntax: str
    sop_instance: str
    lossy: str
    size: int


def _head(path: Path) -> _Head:
    """What decides about a file, from its first bytes alone."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        data = file.read(_HEAD)
        if len(data) < 132 or data[128:132] != b"DICM":
            raise FileError(f"{path} is no DICOM file: it has no preamble")
        while True:
            try:
                view = FileView(data, size)
            except NeedMore as more:
                data += file.read(max(more.size - len(data), _HEAD))
                continue
            except NotLean:
                return _head_by_pydicom(path, size)
            return _Head(view.transfer_syntax, view.text(0x00080018), view.text(0x00282110), size)


def _head_by_pydicom(path: Path, size: int) -> _Head:
    from dicom_ml.encoding.untrusted import dcmread

    try:
        found = dcmread(path, stop_before_pixels=True)
        return _Head(
            str(found.file_meta.get("TransferSyntaxUID", "")),
            str(found.get("SOPInstanceUID", "")),
            str(found.get("LossyImageCompression", "") or ""),
            size,
        )
    except Exception as error:
        raise FileError(f"{path} cannot be read as a DICOM file; it is damaged") from error
