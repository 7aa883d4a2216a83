"""Frames that arrive in any order, kept on disk until their object is complete.

A result over a whole slide is made tile by tile, in many batches and perhaps by several processes. Each process
appends what it has to its own file in one folder: a fixed record that says what a frame is and how long, and its
bytes, those of one tile in one write. Memory holds only the records. After a kill the folder is opened again and
knows what it has: a record with a wrong check sum, or whose frame is cut off, and what follows, is not believed.
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
from typing import Any

from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import EncodingError, FileError

__all__ = ["FrameSpool", "Key"]

#: What a frame is: four integers of the caller's choosing, such as (segment, plane, tile row, tile column).
Key = tuple[int, int, int, int]

_BODY, _CHECK = struct.Struct("<4iq"), struct.Struct("<I")
_RECORD = struct.Struct("<4iqI")  # both of them
_PLAN = "plan.json"
_COPY_BYTES = 1 << 20  # a piece that stays in the processor's cache from reading to writing
_VECTORS = 512  # buffers of one system call; Linux allows 1024


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
        self._ends: list[int] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep_plan()
        self._data_path = self.folder / f"{shard}.frames"
        self._data = open(self._data_path, "ab", buffering=0)
        self._shards, self._ends = [self._data_path], [0]
        self._look(0)
        self._data.truncate(self._ends[0])  # what was half written
        self.refresh()

    def _keep_plan(self) -> None:
        path = self.folder / _PLAN
        text = json.dumps(self.plan, sort_keys=True)
        if not path.exists():
            save_bytes(path, text.encode())
        elif json.loads(path.read_text()) != self.plan:
            raise EncodingError(
                f"{self.folder} holds frames of another object or other settings; remove it, or write elsewhere"
            )

    # ------------------------------------------------------------------ content
    def refresh(self) -> None:
        """Look again at what other processes have written."""
        with self._lock:
            for path in sorted(self.folder.glob("*.frames")):
                if path not in self._shards:
                    self._shards.append(path)
                    self._ends.append(0)
            for shard in range(1, len(self._shards)):
                self._look(shard)

    def _look(self, shard: int) -> None:
        """Take in the frames of a process that are not known yet; of a frame that several have, the first by name."""
        path = self._shards[shard]
        for key, offset, length in _frames_of(path, self._ends[shard]):
            other = self._places.get(key)
            if other is None or path.name < self._shards[other[0]].name:
                self._places[key] = shard, offset, length
            self._ends[shard] = offset + length

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
            new = [(key, frame) for key, frame in frames if key not in self._places]
            if not new:
                return False
            parts: list[bytes | memoryview] = []
            places, start = [], self._ends[0]
            end = start
            for key, frame in new:
                length = frame.nbytes if isinstance(frame, memoryview) else len(frame)
                parts += (_record(key, length), frame)
                end += _RECORD.size + length
                places.append((key, (0, end - length, length)))
            try:
                _write_all(self._data, parts, end - start)
            except BaseException:
                # a full disk, say: what was half written must not move the frames that follow
                self._data.truncate(start)
                raise
            self._ends[0] = end
            self._places.update(places)
            return new[-1][0] == frames[-1][0]

    def frames(self, keys: Iterable[Key]) -> Iterator[bytes]:
        """Frames one after the other, in the order of ``keys``."""
        with _Files() as files:
            for key in keys:
                shard, offset, length = self._places[key]
                yield files.read(self._shards[shard], offset, length)

    def scattered(self, keys: Iterable[Key]) -> Iterator[tuple[int, list[memoryview]]]:
        """Runs of frames that follow each other in ``keys``, each with the place of its first.

        That is for objects whose frames may be written in any order: the spool is read in long pieces, as it lies on
        disk, and what of a piece belongs together comes together. Keys that are not there are left out. Frames are
        good until the next ones are asked for.
        """
        found = [(*place, i) for i, key in enumerate(keys) if (place := self._places.get(key)) is not None]
        found.sort()
        buffer = memoryview(bytearray(min(_COPY_BYTES, sum(self._ends))))
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
                piece = files.read_into(buffer, self._shards[shard], start, end - start)
                run: list[memoryview] = []
                begin = -1
                for i, offset, length in sorted((i, offset, length) for _, offset, length, i in found[first:last]):
                    if i != begin + len(run):
                        if run:
                            yield begin, run
                        begin, run = i, []
                    run.append(piece[offset - start : offset - start + length])
                yield begin, run
                first = last

    # ------------------------------------------------------------------ end
    def close(self) -> None:
        """Close the file; the folder stays and can be opened again."""
        self._data.close()

    def remove(self) -> None:
        """Close the file and delete the folder: the object is complete."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> FrameSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write_all(file: FileIO, parts: Sequence[bytes | memoryview], total: int) -> None:
    """Append all parts, in one write where the system can do that."""
    if hasattr(os, "writev") and len(parts) <= _VECTORS:
        written = os.writev(file.fileno(), parts)
        if written == total:
            return
        view = memoryview(b"".join(parts))[written:]
    else:
        view = memoryview(b"".join(parts))
    while len(view):
        view = view[file.write(view) or 0 :]


def _record(key: Key, length: int) -> bytes:
    body = _BODY.pack(*key, length)
    return body + _CHECK.pack(zlib.crc32(body))


def _frames_of(path: Path, start: int) -> Iterator[tuple[Key, int, int]]:
    """Key, offset and length of the frames of a file from an offset on, up to the first that is not whole."""
    try:
        file = open(path, "rb", buffering=1 << 16)
    except FileNotFoundError:
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        while start + _RECORD.size <= size:
            file.seek(start)
            data = file.read(_RECORD.size)
            if len(data) < _RECORD.size:
                return
            a, b, c, d, length, check = _RECORD.unpack(data)
            start += _RECORD.size
            if zlib.crc32(data[: _BODY.size]) != check or length < 0 or start + length > size:
                return
            yield (a, b, c, d), start, length
            start += length


class _Files:
    """Files of several shards, each opened once."""

    def __init__(self) -> None:
        self._open: dict[Path, FileIO] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()

    def _at(self, path: Path, offset: int) -> FileIO:
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = FileIO(path, "rb")
        file.seek(offset)
        return file

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """So many bytes."""
        data = self._at(path, offset).read(length) or b""
        if len(data) == length:
            return data
        return bytes(self.read_into(memoryview(bytearray(length)), path, offset, length))

    def read_into(self, buffer: memoryview, path: Path, offset: int, length: int) -> memoryview:
        """So many bytes, in a buffer, or in one of their own where it is too small."""
        if length > len(buffer):
            buffer = memoryview(bytearray(length))
        file = self._at(path, offset)
        done = 0
        while done < length:
            count = file.readinto(buffer[done:length])
            if not count:
                raise FileError(f"{path.name}: ends inside of a frame that was written; the folder was changed")
            done += count
        return buffer[:length]
