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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from dicom_ml.errors import EncodingError, FileError

__all__ = ["FrameSpool", "Key"]

#: What a frame is: four integers of the caller's choosing, such as (segment, plane, tile row, tile column).
Key = tuple[int, int, int, int]

_RECORD = struct.Struct("<4iqqII")
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
        self._end = end
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
        found: dict[Key, tuple[int, int, int]] = {}
        shards: list[Path] = []
        for index_path in sorted(self.folder.glob("*.index")):
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
        view = memoryview(frame).cast("B")
        with self._lock:
            if key in self._places:
                return False
            offset = self._end
            left = view
            while len(left):
                left = left[self._data.write(left) or 0 :]
            self._end += len(view)
            self._index.write(_record(key, offset, len(view)))
            self._places[key] = (self._own, offset, len(view))
            return True

    def frames(self, keys: Iterable[Key]) -> Iterator[bytes]:
        """Frames one after the other, in the order of ``keys``."""
        with _Files() as files:
            for key in keys:
                shard, offset, length = self._places[key]
                yield files.read(self._shards[shard], offset, length)

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


def _record(key: Key, offset: int, length: int) -> bytes:
    body = _RECORD.pack(*key, offset, length, 0, 0)[: _RECORD.size - 8]
    return body + struct.pack("<II", zlib.crc32(body), 0)


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
        if file.tell() != offset:
            file.seek(offset)
        parts, left = [], length
        while left:
            part = file.read(min(left, _COPY_BYTES))
            if not part:
                raise FileError(f"{path.name}: ends inside of a frame that was written; the folder was changed")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
