"""Slides that lie in an object store or on a DICOMweb server: headers and single frames are fetched, nothing else."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pydicom

from dicom_ml.encoding.codecs import FrameInfo, is_encapsulated
from dicom_ml.encoding.elements import FileView, NeedMore, NotLean
from dicom_ml.encoding.fragments import read_item
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import DicomMLWarning, FileError, StoreError
from dicom_ml.reading.files import Candidate, encode_dataset
from dicom_ml.reading.headers import read_header
from dicom_ml.reading.slides.files import PixelPlace, SlideFile
from dicom_ml.reading.slides.headers import OpenedHeader, opened_view
from dicom_ml.stores.addresses import kind_of, printable
from dicom_ml.stores.dicomweb import open_dicomweb, parse_resource
from dicom_ml.stores.opening import open_store
from dicom_ml.stores.remote import RemoteFile

__all__ = ["ObjectPlace", "StoredFrames", "WebFrames", "WebPlace", "remote_files"]

_HEAD = 1 << 16
_CONNECTIONS = 8
#: Frames that one request to a DICOMweb server asks for, and bytes of frames that are kept.
_FRAMES_AT_ONCE = 16
_KEPT_BYTES = 1 << 26


# ---------------------------------------------------------------------- object stores
@dataclass(frozen=True)
class ObjectPlace:
    """A file of an object store."""

    address: str
    name: str
    size: int
    version: str = ""

    def header(self) -> OpenedHeader:
        """Its header; no more is fetched than that, in blocks."""
        file, length = _remote(self), min(_HEAD, self.size)
        while True:
            try:
                view = FileView(file.need(0, length), self.size)
                if view.pixels is not None or length >= self.size:
                    return opened_view(view)
                length = min(4 * length, self.size)  # the bytes at hand end between two elements
            except NeedMore as more:
                if length >= self.size:
                    raise FileError(f"{self.name} is truncated: its header goes on past its end") from None
                length = min(max(more.size + _HEAD, 4 * length), self.size)
            except NotLean:
                header = read_header(Candidate(self.name, data=bytes(self.whole())))
                return OpenedHeader(header.view, header.transfer_syntax, False, header.pixels, header.pixel_keyword)

    def head(self, size: int) -> memoryview:
        """Its first bytes."""
        return _remote(self).need(0, size) if size else self.whole()

    def whole(self) -> memoryview:
        """All of it."""
        return _remote(self).need(0, self.size)

    def frames(self, place: PixelPlace) -> FrameIndex | None:
        """Frames that are fetched one by one."""
        return StoredFrames(_remote(self), place) if place.in_place else None


class StoredFrames(FrameIndex):
    """Frames of a file in an object store, located by its offset tables."""

    far: ClassVar[bool] = True

    def __init__(self, file: RemoteFile, place: PixelPlace) -> None:
        self._file = file
        tables = []
        for table in place.tables:
            tables.append(None if table is None else np.frombuffer(file.need(*table), "<u8", table[1] // 8))
        length = None if is_encapsulated(place.info.transfer_syntax_uid) else place.length
        super().__init__(file.view, place.offset, length, place.info, place.frames, tables[0], tables[1])

    def _locate(self) -> None:
        # The table of the first item is all that is needed, if it is there.
        head = self._file.need(self._start, min(8, self._end - self._start))
        length = read_item(head, 0, len(head)) if len(head) == 8 else -1
        if 0 < length <= self._end - self._start - 8:
            self._file.need(self._start + 8, length)
        super()._locate()

    def _scan(self, first: int) -> None:
        # Without a table that can be believed, frames are found by a walk over all of them.
        warnings.warn(
            f"{self._file.name} has no offset table, so all of it is fetched to find its frames",
            DicomMLWarning,
            stacklevel=4,
        )
        self._file.need(self._start, self._end - self._start)
        super()._scan(first)

    def _place_of(self, i: int) -> tuple[int, int] | None:
        if not self.encapsulated:
            bit = i * self._frame_bits
            return self._start + bit // 8, (self._frame_bits + 7) // 8 + 1
        if self._bounds is None and self._fragments is None:
            self._locate()
        if self._bounds is None:
            return None  # all is there
        return int(self._bounds[i]), int(self._bounds[i + 1] - self._bounds[i])

    def prefetch(self, frames: Sequence[int]) -> None:
        """Fetch frames, neighbours in one request."""
        places = [place for i in frames if 0 <= i < self.n_frames and (place := self._place_of(i)) is not None]
        self._file.need_all([(at, min(size, self._file.size - at)) for at, size in places])

    def frame(self, i: int) -> memoryview | bytes:
        """Bytes of a frame, fetched where they are not there yet."""
        if 0 <= i < self.n_frames:
            self.prefetch([i])
        return super().frame(i)


# ---------------------------------------------------------------------- DICOMweb
@dataclass(frozen=True)
class WebPlace:
    """An instance on a DICOMweb server, whose header is at hand."""

    root: str
    study: str
    series: str
    instance: str
    syntax: str
    content: bytes = field(repr=False, compare=False, default=b"")

    def header(self) -> OpenedHeader:
        """Its header, as the server gave it in JSON."""
        view = FileView(self.content)
        return OpenedHeader(view, self.syntax, False, ("OB", 0, 0), "PixelData")

    def head(self, size: int) -> memoryview:
        """Its header."""
        return memoryview(self.content)[: size or None]

    def whole(self) -> memoryview:
        """All of it, as a file."""
        dataset = open_dicomweb(self.root).instance(self.study, self.series, self.instance)
        return memoryview(encode_dataset(dataset, self.instance))

    def frames(self, place: PixelPlace) -> FrameIndex | None:
        """Frames that are fetched one by one."""
        return WebFrames(self, place.info, place.frames)


class WebFrames(FrameIndex):
    """Frames of an instance on a DICOMweb server. Those used last are kept, as they came."""

    far: ClassVar[bool] = True

    def __init__(self, where: WebPlace, info: FrameInfo, n_frames: int) -> None:
        self.info, self.n_frames = info, n_frames
        self.encapsulated = is_encapsulated(info.transfer_syntax_uid)
        self._where = where
        self._frame_bits = info.frame_bytes * 8
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._kept_size = 0
        self._keeping = threading.Lock()

    def prefetch(self, frames: Sequence[int]) -> None:
        """Fetch frames, several a request, and requests at the same time."""
        with self._keeping:
            missing = sorted({i for i in frames if 0 <= i < self.n_frames and i not in self._kept})
        groups = [missing[i : i + _FRAMES_AT_ONCE] for i in range(0, len(missing), _FRAMES_AT_ONCE)]
        # more than is kept would have to be fetched again
        most = max(1, _KEPT_BYTES // max(self.info.frame_bytes, 1) // _FRAMES_AT_ONCE)
        parallel_for(self._fetch, groups[:most], _CONNECTIONS)

    def _fetch(self, frames: list[int]) -> None:
        where = self._where
        found = open_dicomweb(where.root).frames(where.study, where.series, where.instance, [i + 1 for i in frames])
        with self._keeping:
            for i, content in zip(frames, found, strict=True):
                if i not in self._kept:
                    self._kept[i] = content
                    self._kept_size += len(content)
            while self._kept_size > _KEPT_BYTES and len(self._kept) > len(frames):
                self._kept_size -= len(self._kept.popitem(last=False)[1])

    def frame(self, i: int) -> bytes:
        """Bytes of a frame, fetched where they are not there yet."""
        if not 0 <= i < self.n_frames:
            raise IndexError(f"frame {i} of {self.n_frames}")
        with self._keeping:
            found = self._kept.get(i)
            if found is not None:
                self._kept.move_to_end(i)
                return found
        where = self._where
        content = open_dicomweb(where.root).frames(where.study, where.series, where.instance, [i + 1])[0]
        if not self.encapsulated and len(content) < self.info.frame_bytes:
            raise StoreError(
                f"frame {i + 1} of {where.instance} came with {len(content)} of {self.info.frame_bytes} bytes"
            )
        with self._keeping:
            self._kept[i] = content
            self._kept_size += len(content)
            while self._kept_size > _KEPT_BYTES and len(self._kept) > 1:
                self._kept_size -= len(self._kept.popitem(last=False)[1])
        return content

    def bit_offset(self, i: int) -> int:
        """Frames come one by one, so each begins a byte."""
        return 0


# ---------------------------------------------------------------------- opening
def remote_files(address: str) -> list[SlideFile]:
    """Files of a slide that an address names, none of them fetched.

    Raises
    ------
    StoreError
        If the store cannot be reached or holds nothing there.
    """
    if kind_of(address) == "dicomweb":
        return _web_files(address)
    store = open_store(address)
    base = printable(address).rstrip("/")
    found = [
        SlideFile(f"{base}/{file.name}", remote=ObjectPlace(address, file.name, file.size, file.version))
        for file in store.list()
        if file.name.rsplit("/", 1)[-1].upper() != "DICOMDIR"
    ]
    if not found:
        raise StoreError(f"{base} holds no file")
    return found


def _web_files(address: str) -> list[SlideFile]:
    named = parse_resource(address)
    if not (named.study and named.series):
        raise StoreError(f"{printable(address)} names no series; expected .../studies/UID/series/UID")
    server = open_dicomweb(named.root)
    files = []
    for item in server.metadata(named.study, named.series, named.instance):
        instance = str(((item.get("00080018") or {}).get("Value") or [""])[0])
        place = _web_place(server, named.root, named.study, named.series, instance, item)
        files.append(SlideFile(f"instance {instance}", remote=place))
    return files


def _web_place(server: Any, root: str, study: str, series: str, instance: str, item: dict[str, Any]) -> WebPlace:
    available = str(((item.get("00083002") or {}).get("Value") or [""])[0])
    bulk = {tag: element for tag, element in item.items() if "BulkDataURI" in element}
    kept = {tag: element for tag, element in item.items() if tag not in bulk and not tag.startswith("0002")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.Dataset.from_json(kept, bulk_data_uri_handler=lambda uri: server.bulk_data(uri))
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
        except StoreError:
            raise
        except Exception as error:
            raise FileError(f"instance {instance}: its metadata cannot be used ({type(error).__name__})") from error
    content = buffer.getvalue()
    if content[128:132] != b"DICM":
        content = b"\0" * 128 + b"DICM" + content
    syntax = available or _sniffed(server.frames(study, series, instance, [1])[0], instance)
    return WebPlace(root, study, series, instance, syntax, content)


def _sniffed(frame: bytes, instance: str) -> str:
    """Transfer syntax of a frame that came without one."""
    if frame[:2] == b"\xff\xd8":
        at = 2
        while at + 4 <= len(frame) and frame[at] == 0xFF:
            marker = frame[at + 1]
            if marker in _JPEG:
                return _JPEG[marker]
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        raise StoreError(f"the first frame of instance {instance} came as a JPEG stream without a frame header")
    if frame[:4] == b"\xff\x4f\xff\x51":
        return "1.2.840.10008.1.2.4.202" if b"\xff\x50" in frame[:256] else "1.2.840.10008.1.2.4.91"
    if frame[:8] == b"\0\0\0\x0cjP  ":
        raise StoreError(f"frames of instance {instance} came as JP2 files, which DICOM frames are not")
    return "1.2.840.10008.1.2.1"


#: Start-of-frame markers, and what they stand for.
_JPEG = {
    0xC0: "1.2.840.10008.1.2.4.50",
    0xC1: "1.2.840.10008.1.2.4.51",
    0xC3: "1.2.840.10008.1.2.4.57",
    0xF7: "1.2.840.10008.1.2.4.81",
}


# ---------------------------------------------------------------------- what is open
class _RemoteFiles:
    """The remote files used last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: OrderedDict[ObjectPlace, RemoteFile] = OrderedDict()


_files = _RemoteFiles()
_MOST_OPEN = 64


def _remote(place: ObjectPlace) -> RemoteFile:
    with _files.lock:
        found = _files.files.get(place)
        if found is None:
            found = _files.files[place] = RemoteFile(open_store(place.address), place.name, place.size)
            while len(_files.files) > _MOST_OPEN:
                _files.files.popitem(last=False)
        _files.files.move_to_end(place)
        return found


def _forget_after_fork() -> None:
    # the lock may have been held, and what is written to a shared mapping is not the parent's business
    global _files
    _files = _RemoteFiles()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
