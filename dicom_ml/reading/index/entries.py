"""What an index keeps of one file."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.charset import convert_encodings, decode_bytes

from dicom_ml.encoding.elements import NotLean, elements_of, items_of
from dicom_ml.errors import FileError
from dicom_ml.reading.files import Candidate
from dicom_ml.reading.headers import Header, NotDicom, read_header
from dicom_ml.reading.index.packed import packed_problem

__all__ = ["Entry", "changed_at", "read_entry"]

_SERIES, _INSTANCE, _CLASS = 0x0020000E, 0x00081155, 0x00081150
#: Sequences at the top of a data set that say to which other instances it refers.
_REFERRING = {
    0x00081115: "referenced series",
    0x00081140: "referenced image",
    0x0008114A: "referenced instance",
    0x00082112: "source image",
    0x00081250: "related series",
    0x0040A360: "predecessor document",
    0x0040A375: "evidence",
    0x0040A385: "pertinent evidence",
    0x0040A525: "identical document",
    0x00700402: "blended image",
    0x00701B01: "blended image",
    0x30060010: "frame of reference",
    0x300C0002: "plan",
    0x300C0060: "structure set",
}
_DEEPEST = 12
_MOST = (1 << 63) - 1


@dataclass(slots=True)
class Entry:
    """One file.

    Attributes
    ----------
    folder, name : str
        Relative to the archive's root.
    size, changed : int
        Bytes, and :func:`changed_at`: what tells whether the file is still the same.
    modified : int
        Time of the last change of its content, in ns since the epoch.
    status : {"dicom", "other", "broken", "gone"}
    problem : str
        Why a broken file, or one that packs DICOM files, is not indexed.
    facts : dict
        Column to value.
    references : list of (str, str, str)
        Kind, Series Instance UID (may be empty) and SOP Instance UID (empty where a whole series is meant).
    """

    folder: str
    name: str
    size: int = -1
    changed: int = -1
    modified: int = -1
    status: str = "dicom"
    problem: str = ""
    facts: dict[str, str | int | None] = field(default_factory=dict)
    references: list[tuple[str, str, str]] = field(default_factory=list)


def changed_at(status: os.stat_result) -> int:
    """A number that is another one once a file has changed, in ns.

    It is the sum of two times. That of the content alone may be set to what it was, by whoever copies files with their
    times; that of the last change to the file cannot, but counts for nothing on some network file systems. Neither has
    to grow: a clock may be put back.
    """
    return (status.st_mtime_ns + status.st_ctime_ns) & _MOST  # an odd clock may set times that no database takes


def read_entry(root: str, folder: str, name: str) -> Entry:
    """Read what an index keeps of a file.

    A file that is written to while it is read gets ``changed = -1``, so that the next look finds it changed.
    """
    path = os.path.join(root, folder, name)
    entry = Entry(folder, name)
    try:
        before = os.stat(path)
        header = read_header(Candidate(os.path.join(folder, name), path))
        entry.facts = _facts(header)
        entry.references = list(_references(header))
    except OSError as error:
        return _unreadable(entry, error)
    except NotDicom:
        entry.status, entry.problem = "other", packed_problem(path, os.path.join(folder, name))
    except FileError as error:
        if isinstance(error.__cause__, OSError):
            return _unreadable(entry, error.__cause__)
        entry.status, entry.problem = "broken", str(error)
    except Exception as error:  # one file must not end the scan of a million
        entry.status, entry.problem = "broken", f"{os.path.join(folder, name)}: {type(error).__name__}"
    try:
        after = os.stat(path)
    except OSError:
        entry.status = "gone"
        return entry
    entry.size, entry.changed, entry.modified = after.st_size, changed_at(after), after.st_mtime_ns
    if (before.st_size, changed_at(before)) != (entry.size, entry.changed):
        entry.changed = -1
    return entry


def _unreadable(entry: Entry, error: OSError) -> Entry:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        entry.status = "gone"
        return entry
    # the disk or the network may be to blame, so no true time is kept and the next scan tries again
    entry.status, entry.changed = "broken", -2
    entry.problem = f"{os.path.join(entry.folder, entry.name)} cannot be read: {error.strerror}"
    return entry


def _facts(header: Header) -> dict[str, str | int | None]:
    text = header.view.text
    decoded = _Decoder(header)
    return {
        "sop_instance_uid": header.sop_instance,
        "sop_class_uid": header.sop_class,
        "transfer_syntax_uid": header.transfer_syntax,
        "instance_number": _whole(text(0x00200013)),
        "image_type": "\\".join(header.image_type),
        "rows": header.rows or None,
        "columns": header.columns or None,
        "frames": header.frames if header.pixels is not None else None,
        "series_instance_uid": header.series,
        "study_instance_uid": header.study,
        "frame_of_reference_uid": header.frame_of_reference,
        "modality": header.modality,
        "series_number": _whole(text(0x00200011)),
        "series_description": decoded(0x0008103E),
        "body_part": text(0x00180015),
        "manufacturer": decoded(0x00080070),
        "manufacturer_model": decoded(0x00081090),
        "study_date": text(0x00080020),
        "study_description": decoded(0x00081030),
        "accession_number": decoded(0x00080050),
        "patient_id": decoded(0x00100020),
        "patient_id_issuer": decoded(0x00100021),
        "patient_sex": text(0x00100040),
    }


class _Decoder:
    """Text in the file's character set."""

    def __init__(self, header: Header) -> None:
        self._view = header.view
        self._encodings: Sequence[str] | None = None

    def __call__(self, tag: int) -> str:
        raw = self._view.raw(tag)
        if not raw:
            return ""
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii").strip("\0 ")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._encodings is None:
                self._encodings = convert_encodings(self._view.texts(0x00080005) or [""])
            try:
                return str(decode_bytes(raw, self._encodings, {ord("\\")})).strip("\0 ")
            except (LookupError, UnicodeError):
                return raw.decode("latin-1").strip("\0 ")


def _whole(text: str) -> int | None:
    try:
        number = int(float(text.split("\\")[0])) if text else None
    except (ValueError, OverflowError):
        return None
    return number if number is None or abs(number) < 2**63 else None


def _references(header: Header) -> Iterator[tuple[str, str, str]]:
    view = header.view
    seen: set[tuple[str, str, str]] = set()
    for tag, kind in _REFERRING.items():
        place = view.places.get(tag)
        if place is None or place[2] <= 0:
            continue
        try:
            for series, instance in _pairs(view.data, place[1], place[2], view.implicit, "", 0):
                found = (kind, series, instance)
                if found not in seen:
                    seen.add(found)
                    yield found
        except (NotLean, struct.error):
            continue  # the file itself can be indexed all the same


def _pairs(
    data: bytes | bytearray | memoryview, offset: int, length: int, implicit: bool, series: str, depth: int
) -> Iterator[tuple[str, str]]:
    """Series and instance UIDs that a sequence names, at any depth."""
    if depth > _DEEPEST:
        return
    for start, end in items_of(data, offset, length, implicit):
        own, anything = series, False
        instances: list[str] = []
        inner: list[tuple[int, int]] = []
        for tag, (vr, place, size) in elements_of(data, start, end, implicit):
            if tag == _SERIES:
                own = _uid(data, place, size)
            elif tag == _INSTANCE:
                instances.append(_uid(data, place, size))
            elif vr == b"SQ" or (vr in (None, b"UN") and size >= 8 and bytes(data[place : place + 4]) == _ITEM):
                inner.append((place, size))
        for instance in instances:
            if instance:
                anything = True
                yield own, instance
        for place, size in inner:
            for pair in _pairs(data, place, size, implicit, own, depth + 1):
                anything = True
                yield pair
        if own != series and not anything:
            yield own, ""


_ITEM = b"\xfe\xff\x00\xe0"


def _uid(data: bytes | bytearray | memoryview, offset: int, length: int) -> str:
    return bytes(data[offset : offset + length]).decode("latin-1").strip("\0 ")
