"""A disk that fills up, kill -9 while a file is written, folders that may not be written to."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from dicom_ml.callbacks.manifest import Journal, merge_journals, read_index
from dicom_ml.encoding.halves import begin_half
from dicom_ml.encoding.spool import FrameSpool, _frames_of
from dicom_ml.encoding.writer import _WholeFile, atomic_file
from tests.faults.registry import Changed, Scene, fault, holds, without
from tests.faults.writers import WRITERS, make_source, read_back

__all__ = ["STRAIGHT"]

#: A file is written under its own name, and stays when the writer fails.
STRAIGHT = Changed(
    atomic_file,
    ("begin_half(target)", "target, os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)"),
    ("temporary.unlink(missing_ok=True)", "pass"),
)
_NAME = "a hidden name until the file is whole"
_PARTLY = Changed(_WholeFile.write, ("while len(view):", "for _ in range(1):"), ("return total", "return written"))
_LEFT = Changed(atomic_file, ("temporary.unlink(missing_ok=True)", "pass"))
_NOT_REMOVED = Changed(begin_half, ("if descriptor is None and _removed(path):", "if False:"))


def write(name: str, source: Path, target: Path) -> None:
    WRITERS[name](source, target)


def _is_whole(name: str, target: Path, source: Path) -> bool:
    try:
        read_back(name, target, source)
    except Exception:
        return False
    return True


def halves(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.part")]


def _disk_full(scene: Scene, name: str) -> None:
    source = make_source(scene.folder / "ct")
    write(name, source, scene.folder / "whole" / "result.dcm")
    size = (scene.folder / "whole" / "result.dcm").stat().st_size
    target = scene.folder / "out" / "result.dcm"
    target.parent.mkdir()
    target.write_bytes(b"what was there")
    ended = scene.apart(write, name, source, target, limit=size // 2)
    holds(target.read_bytes() == b"what was there", f"half a file of {target.stat().st_size} bytes has the name")
    holds("OSError" in ended.error, f"the writer does not say so, but: {ended.error}")
    holds(not halves(target.parent), "half a file is left behind")


for _name in [name for name in WRITERS if name != "verified report"]:  # a report
    _removals = [without(_NAME, STRAIGHT, seen="half a file of")]
    if _name == "any file":
        _removals += [
            without("writing on until all is written", _PARTLY, seen="half a file of"),
            without("removing what failed", _LEFT, seen="left behind"),
        ]
    _packages = ("nibabel",) if _name == "NIfTI" else ()
    fault(f"disk full: {_name}", *_removals, needs=_packages, name=_name)(_disk_full)


def _killed(scene: Scene, name: str) -> None:
    source, target = make_source(scene.folder / "ct"), scene.folder / "out" / "result.dcm"
    steps = scene.apart(write, name, source, target).steps
    holds(steps >= 3, f"only {steps} writes were seen")
    target.unlink()
    for number in sorted({1, 2, steps // 2, steps - 1, steps}):
        holds(scene.apart(write, name, source, target, kill_at=number).killed, f"it was to be killed at {number}")
        if target.exists():
            holds(_is_whole(name, target, source), f"half a file has the name after a kill at write {number}")
            target.unlink()
    holds(not scene.apart(write, name, source, target).error, "the next run cannot write")
    holds(_is_whole(name, target, source), "the next run does not write it whole")
    holds(not halves(target.parent), "what killed runs left is never removed")


for _name in ("segmentation", "compressed segmentation"):
    fault(
        f"kill -9 at any write: {_name}",
        without(_NAME, STRAIGHT, seen="half a file has the name"),
        without("the next writer removes what is left", _NOT_REMOVED, seen="never removed"),
        name=_name,
    )(_killed)


def _write_again(target: Path) -> None:
    with atomic_file(target) as file:
        file.write(b"other")


@fault("a folder that may not be written to", without(_NAME, STRAIGHT, seen="is gone"))
def read_only(scene: Scene) -> None:
    """Root may write everywhere, so that the test gives up its rights where it has them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "out"
        folder.mkdir()
        target = folder / "result.dcm"
        target.write_bytes(b"what was there")
        target.chmod(0o666)
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        try:
            ended = scene.apart(_write_again, target, as_nobody=True)
        finally:
            folder.chmod(0o755)
        holds(target.read_bytes() == b"what was there", "what was there is gone")
        holds(ended.error.startswith("PermissionError"), f"the writer does not say so, but: {ended.error}")
        holds(os.listdir(folder) == ["result.dcm"], "something is left behind")


# ---------------------------------------------------------------------- frames under way
_KEY = (0, 0, 0, 0)


def _put(folder: Path, numbers: list[int], room_after: bool = False) -> int:
    """Put frames; how many could not be."""
    import resource

    failed = 0
    with FrameSpool(folder, {"plan": 1}) as spool:
        for number in numbers:
            try:
                spool.put((number, 0, 0, 0), bytes([number]) * 4000)
            except OSError:
                failed += 1
                if room_after:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return failed


def _frames_hold(folder: Path, least: int) -> None:
    with FrameSpool(folder, {"plan": 1}) as spool:
        keys = spool.listed()
        for key, frame in zip(keys, spool.frames(keys), strict=True):
            holds(bytes(frame) == bytes([key[0]]) * 4000, f"frame {key[0]} is not what was put")
        holds(len(keys) >= least, f"{len(keys)} frames are there, {least} were put")


@fault(
    "disk full while tiles of a slide come",
    without(
        "a frame half written is taken back",
        Changed(FrameSpool.put_all, ("self._data.truncate(start)", "pass")),
        seen="frame|were put",
    ),
)
def spool_full(scene: Scene) -> None:
    ended = scene.apart(_put, scene.folder / "s", [1, 2, 3, 4, 5], True, limit=10_000)
    holds(ended.value == 1, f"one frame was to fail: {ended}")
    _frames_hold(scene.folder / "s", 4)


@fault(
    "kill -9 while tiles of a slide come",
    without(
        "what is half written is cut off before more comes",
        Changed(FrameSpool.__init__, ("self._data.truncate(self._ends[0])", "pass")),
        seen="frame|were put",
    ),
    without(
        "a frame that is cut off is not believed",
        Changed(_frames_of, (" or start + length > size", "")),
        seen="frame|were put",
    ),
)
def spool_killed(scene: Scene) -> None:
    # the plan takes three steps: its write, and its new name before and after
    holds(scene.apart(_put, scene.folder / "s", [1, 2, 3], kill_at=3 + 3).killed, "it was to be killed")
    _put(scene.folder / "s", [3, 4])
    _frames_hold(scene.folder / "s", 4)


# ---------------------------------------------------------------------- the index of a run
def _journal(folder: Path) -> None:
    for number in range(40):
        file = folder / f"{number}.dcm"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        Journal(folder, 0, {})._append({"file": file.name, "source_series_instance_uid": str(number)})


@fault(
    "disk full while the journals of a run are merged",
    without(_NAME, STRAIGHT, seen="cannot be read|of 40"),
    without(
        "journals stay until the index is whole",
        Changed(
            merge_journals,
            ("    save_bytes(", "    for journal in journals:\n        journal.unlink()\n    save_bytes("),
        ),
        seen="of 40",
    ),
)
def merge_full(scene: Scene) -> None:
    _journal(scene.folder / "out")
    ended = scene.apart(merge_journals, scene.folder / "out", limit=500)
    holds("OSError" in ended.error, f"it does not say so, but: {ended.error}")
    _index_holds(scene.folder / "out")


@fault(
    "kill -9 in the middle of a journal's line",
    without(
        "a line that is cut off is left out",
        Changed(merge_journals, ("except ValueError:", "except ZeroDivisionError:")),
        seen="cannot be read",
    ),
)
def torn_journal(scene: Scene) -> None:
    _journal(scene.folder / "out")
    with open(Journal(scene.folder / "out", 0, {}).path, "a") as file:
        file.write('{"file": "40.dc')
    _index_holds(scene.folder / "out")


def _index_holds(folder: Path) -> None:
    try:
        merge_journals(folder)
        found = read_index(folder)["files"]
    except json.JSONDecodeError as error:
        holds(False, f"the index cannot be read: {error}")
        return
    holds(len(found) == 40, f"the index knows {len(found)} of 40 files")
