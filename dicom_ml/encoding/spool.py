"""Frames that arrive in any order, kept on disk until their object is complete.

A result over a whole slide is made tile by tile, in many batches and perhaps by several processes. Each process
appends what it has to its own pair of files in one folder: the bytes of frames, and fixed records that say where each
frame lies. Memory holds only the records. After a kill the folder is opened again and knows what it has; a record is
written after its frame, so a half-written frame is never believed.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from dicom_ml.errors import EncodingError, FileError

__all__ = ["FrameSpool", "Key"]

#: What a frame is: four integers of the caller's choosing, such as (segment, plane, tile row, tile column).
Key = tuple[int, int, int, int]

_BODY, _CHECK = struct.Struct("<4iqq"), struct.Struct("<II")
_RECORD = struct.Struct("<4iqqII")  # both of them
_PLAN = "plan.json"
_COPY_BYTES = 1 << 22


class FrameSpool:
    """A folder of frames under way.

    Parameters
    ----------
    folder : path
        Made where it is absent; opened again where it holds the same plan.
    plan : mapping
        What is being made, as JSON values: a folder that was begun with another plan is refused.
    shard : str
        Name of this process's files, such as its rank; two processes must not share one.

    Raises
    ------
    EncodingError
        If the folder holds another plan.
    """

    def __init__(self, folder: str | os.PathLike[str], plan: Mapping[str, Any], shard: str = "0") -> None:
        self.folder = Path(folder)
        self.plan = json.loads(json.dumps(plan, sort_keys=True))
        self._lock = threading.Lock()
        self._places: dict[Key, tuple[int, int, int]] = {}
        self._shards: list[Path] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep_plan()
        self._data_path = self.folder / f"{shard}.frames"
        self._index_path = self.folder / f"{shard}.index"
        end, records = self._recover(self._data_path, self._index_path)
        self._data = open(self._data_path, "ab", buffering=0)
        self._index = open(self._index_path, "ab", buffering=0)
        self._data.truncate(end)
        self._index.truncate(records * _RECORD.size)
        self._end, self._index_end = end, records * _RECORD.size
        self.refresh()

    def _keep_plan(self) -> None:
        path = self.folder / _PLAN
        text = json.dumps(self.plan, sort_keys=True)
        if not path.exists():
            temporary = path.with_name(f".{_PLAN}.{os.getpid()}")
            temporary.write_text(text)
            os.replace(temporary, path)
        elif json.loads(path.read_text()) != self.plan:
            raise EncodingError(
                f"{self.folder} holds frames of another object or other settings; remove it, or write elsewhere"
            )

    def _recover(self, data_path: Path, index_path: Path) -> tuple[int, int]:
        """Where the last frame that can be believed ends, and how many records that makes."""
        if not index_path.exists() or not data_path.exists():
            return 0, 0
        size, end, count = data_path.stat().st_size, 0, 0
        for _, offset, length in _records(index_path):
            if offset != end or offset + length > size:
                break
            end, count = offset + length, count + 1
        return end, count

    # ------------------------------------------------------------------ content
    def refresh(self) -> None:
        """Look again at what other processes have written."""
        paths = sorted(self.folder.glob("*.index"))
        alone = paths == [self._index_path] and self._shards == [self._data_path]
        if alone and self._index_path.stat().st_size == self._index_end:
            return  # all that is there was written here
        found: dict[Key, tuple[int, int, int]] = {}
        shards: list[Path] = []
        for index_path in paths:
            data_path = index_path.with_suffix(".frames")
            shards.append(data_path)
            size = data_path.stat().st_size if data_path.exists() else 0
            for key, offset, length in _records(index_path):
                if offset + length > size:
                    break
                found.setdefault(key, (len(shards) - 1, offset, length))
        with self._lock:
            self._places, self._shards = found, shards
            self._own = shards.index(self._data_path)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def listed(self) -> list[Key]:
        """What is there, in ascending order."""
        return sorted(self._places)

    def length(self, key: Key) -> int:
        """Bytes of a frame."""
        return self._places[key][2]

    def put(self, key: Key, frame: bytes | memoryview) -> bool:
        """Keep a frame, unless it is there already.

        Returns
        -------
        bool
            Whether it was new.
        """
        return self.put_all([(key, frame)])

    def put_all(self, frames: Sequence[tuple[Key, bytes | memoryview]]) -> bool:
        """Keep frames, as :meth:`put` does, in one go: of those after a half-written one none is believed.

        Returns
        -------
        bool
            Whether the last was new.
        """
        with self._lock:
            new = [(key, memoryview(frame).cast("B")) for key, frame in frames if key not in self._places]
            if not new:
                return False
            places, end = [], self._end
            try:
                for key, view in new:
                    _write_all(self._data, view)
                    places.append((key, (self._own, end, len(view))))
                    end += len(view)
                records = b"".join(_record(key, offset, length) for key, (_, offset, length) in places)
                _write_all(self._index, memoryview(records))
            except BaseException:
                # a full disk, say: what was half written must not move the frames that follow
                self._data.truncate(self._end)
                self._index.truncate(self._index_end)
                raise
            self._end = end
            self._index_end += len(records)
            self._places.update(places)
            return new[-1][0] == frames[-1][0]

    def frames(self, keys: Iterable[Key]) -> Iterator[bytes]:
        """Frames one after the other, in the order of ``keys``."""
        with _Files() as files:
            for key in keys:
                shard, offset, length = self._places[key]
                yield files.read(self._shards[shard], offset, length)

    def scattered(self, keys: Iterable[Key]) -> Iterator[tuple[int, memoryview]]:
        """Frames in the order in which they lie on disk, each with its place among ``keys``.

        That is for objects whose frames may be written in any order: the spool is read in long runs. Keys that are
        not there are left out. A frame is good until the next one is asked for.
        """
        found = [(*place, i) for i, key in enumerate(keys) if (place := self._places.get(key)) is not None]
        found.sort()
        with _Files() as files:
            first = 0
            while first < len(found):
                shard, start = found[first][:2]
                last, end = first, start
                while last < len(found):
                    other, offset, length, _ = found[last]
                    if other != shard or (last > first and offset + length - start > _COPY_BYTES):
                        break
                    end, last = offset + length, last + 1
                run = memoryview(files.read(self._shards[shard], start, end - start))
                for _, offset, length, i in found[first:last]:
                    yield i, run[offset - start : offset - start + length]
                first = last

    # ------------------------------------------------------------------ end
    def close(self) -> None:
        """Close the files; the folder stays and can be opened again."""
        self._data.close()
        self._index.close()

    def remove(self) -> None:
        """Close the files and delete the folder: the object is complete."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> FrameSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write_all(file: FileIO, view: memoryview) -> None:
    written = file.write(view)
    while written != len(view):
        view = view[written or 0 :]
        written = file.write(view)


def _record(key: Key, offset: int, length: int) -> bytes:
    body = _BODY.pack(*key, offset, length)
    return body + _CHECK.pack(zlib.crc32(body), 0)


def _records(path: Path) -> Iterator[tuple[Key, int, int]]:
    """Records of an index up to the first that is not whole."""
    data = path.read_bytes()
    for start in range(0, len(data) - _RECORD.size + 1, _RECORD.size):
        a, b, c, d, offset, length, check, _ = _RECORD.unpack_from(data, start)
        if zlib.crc32(data[start : start + _RECORD.size - 8]) != check:
            return
        yield (a, b, c, d), offset, length


class _Files:
    """Files of several shards, each opened once."""

    def __init__(self) -> None:
        self._open: dict[Path, BinaryIO] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def read(self, path: Path, offset: int, length: int) -> bytes:
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = open(path, "rb", buffering=0)
        file.seek(offset)
        parts, left = [], length
        while left:
            part = file.read(min(left, _COPY_BYTES))
            if not part:
                raise FileError(f"{path.name}: ends inside of a frame that was written; the folder was changed")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
