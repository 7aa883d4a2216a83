"""Frames under way: any order, several processes, killed at any byte."""

from __future__ import annotations

import multiprocessing
import os
import threading

import numpy as np
import pytest

from dicom_ml.encoding.spool import FrameSpool
from dicom_ml.errors import EncodingError, FileError

PLAN = {"uid": "1.2.3", "shape": [4, 5]}


def key(i: int) -> tuple[int, int, int, int]:
    return (0, 0, i // 7, i % 7)


def frame(i: int) -> bytes:
    return np.random.default_rng(i).bytes(50 + 13 * i)


def test_any_order_comes_back_sorted(tmp_path):
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        for i in np.random.default_rng(0).permutation(30):
            assert spool.put(key(int(i)), frame(int(i)))
        assert not spool.put(key(3), b"again")
        assert spool.listed() == [key(i) for i in range(30)]
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(30)]
        assert spool.length(key(2)) == len(frame(2))
        assert key(5) in spool
        assert key(31) not in spool


def test_a_killed_writer_goes_on_wherever_it_stopped(tmp_path):
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        for i in range(10):
            spool.put(key(i), frame(i))
    data = tmp_path / "s/0.frames"
    whole = data.read_bytes()
    record = len(whole) // 10 - sum(len(frame(i)) for i in range(10)) // 10
    last = len(frame(9))
    cuts = (0, 1, 3, last - 1, last, last + 1, last + record - 1, last + record, last + record + 1, 200, 700)
    for cut in (*cuts, len(whole) - 1, len(whole)):
        data.write_bytes(whole[: len(whole) - cut])
        with FrameSpool(tmp_path / "s", PLAN) as spool:
            have = set(spool.listed())
            assert have == {key(i) for i in range(len(have))}
            assert len(have) == 10 if cut == 0 else len(have) < 10
            for i in range(12):
                assert spool.put(key(i), frame(i)) == (key(i) not in have)
            assert list(spool.frames(spool.listed())) == [frame(i) for i in range(12)]
    flipped = bytearray(whole)
    flipped[record + len(frame(0)) + 3] ^= 1  # in the second record
    for broken in (bytes(flipped), whole[:-last] + bytes(last), whole[: -last - record] + bytes(4000)):
        data.write_bytes(broken)
        with FrameSpool(tmp_path / "s", PLAN) as spool:
            if broken[:-last] == whole[:-last]:
                continue  # the bytes of frames are not summed: a kill cuts them, it does not change them
            assert 1 <= len(spool) < 10
            assert list(spool.frames(spool.listed())) == [frame(i) for i in range(len(spool))]


def test_others_are_seen_while_they_write(tmp_path):
    with FrameSpool(tmp_path / "s", PLAN, "b") as theirs, FrameSpool(tmp_path / "s", PLAN, "a") as ours:
        theirs.put_all([(key(0), frame(0)), (key(1), frame(1))])
        assert key(0) not in ours
        ours.refresh()
        assert ours.listed() == [key(0), key(1)]
        ours.put(key(2), frame(2))
        theirs.put(key(2), frame(2))  # both have it: the first by name counts, whoever looks
        for spool in (ours, theirs):
            spool.refresh()
            assert spool.listed() == [key(0), key(1), key(2)]
        path = tmp_path / "s/b.frames"
        whole = path.read_bytes()
        theirs.put(key(3), frame(3))
        complete = path.read_bytes()
        path.write_bytes(complete[: len(whole) + 30])  # as another process may see it
        ours.refresh()
        assert key(3) not in ours
        path.write_bytes(complete)
        ours.refresh()
        assert list(ours.frames(ours.listed())) == [frame(i) for i in range(4)]


def test_another_plan_is_refused(tmp_path):
    FrameSpool(tmp_path / "s", PLAN).close()
    with pytest.raises(EncodingError, match="another object"):
        FrameSpool(tmp_path / "s", {**PLAN, "uid": "1.2.4"})


def _work(folder, rank):
    with FrameSpool(folder, PLAN, shard=str(rank)) as spool:
        for i in range(rank, 40, 2):
            spool.put(key(i), frame(i))
        spool.put(key(0), frame(0))


def test_several_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(tmp_path / "s", rank)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    spool = FrameSpool(tmp_path / "s", PLAN, shard="last")
    assert list(spool.frames(spool.listed())) == [frame(i) for i in range(40)]
    spool.remove()
    assert not (tmp_path / "s").exists()


def test_threads(tmp_path):
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        threads = [threading.Thread(target=lambda: [spool.put(key(i), frame(i)) for i in range(60)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(60)]


def test_a_folder_that_was_changed_is_noticed(tmp_path):
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        spool.put(key(0), frame(0))
        (tmp_path / "s/0.frames").write_bytes(b"")
        with pytest.raises(FileError, match="inside of a frame"):
            list(spool.frames([key(0)]))


def test_several_frames_in_one_go_and_back_as_they_lie(tmp_path):
    order = [int(i) for i in np.random.default_rng(1).permutation(30)]
    with FrameSpool(tmp_path / "s", PLAN, shard="b") as spool:
        spool.put(key(order[3]), frame(order[3]))
        assert spool.put_all([(key(i), frame(i)) for i in order[:10]])
        assert not spool.put_all([(key(order[10]), frame(order[10])), (key(order[0]), b"again")])
        assert not spool.put_all([])
    with FrameSpool(tmp_path / "s", PLAN, shard="a") as spool:
        spool.put_all([(key(i), frame(i)) for i in order[11:]])
        wanted = [key(i) for i in range(35)]
        runs = [(first, [bytes(data) for data in run]) for first, run in spool.scattered(wanted)]
        found = [(first + n, data) for first, run in runs for n, data in enumerate(run)]
        assert sorted(found) == [(i, frame(i)) for i in range(30)]
        ours, theirs = set(order[11:]), set(order[:11])
        assert {i for i, _ in found[: len(ours)]} == ours and {i for i, _ in found[len(ours) :]} == theirs
        assert len(runs) < 30, "what belongs together comes together"


def test_long_runs_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("dicom_ml.encoding.spool._COPY_BYTES", 400)
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        spool.put_all([(key(i), frame(i)) for i in range(40)])
        runs = [(first, [bytes(data) for data in run]) for first, run in spool.scattered(map(key, range(40)))]
        assert len(runs) > 10
        assert [(first + n, data) for first, run in runs for n, data in enumerate(run)] == [
            (i, frame(i)) for i in range(40)
        ]


def test_a_write_that_fails_leaves_no_trace(tmp_path, monkeypatch):
    import dicom_ml.encoding.spool as module

    whole = module._write_all
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        spool.put(key(0), frame(0))
        for written in (0, 10, 33, 80, 130):

            def full(file, parts, total, written=written):
                file.write(b"".join(parts)[:written])
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(module, "_write_all", full)
            with pytest.raises(OSError, match="space"):
                spool.put_all([(key(1), frame(1)), (key(2), frame(2))])
            assert len(spool) == 1
        monkeypatch.setattr(module, "_write_all", whole)
        spool.put_all([(key(1), frame(1)), (key(2), frame(2))])
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(3)]
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(3)]


def test_a_system_that_writes_less_than_asked(tmp_path, monkeypatch):
    import dicom_ml.encoding.spool as module

    with FrameSpool(tmp_path / "s", PLAN) as spool:
        monkeypatch.setattr(module.os, "writev", lambda fd, parts: os.write(fd, b"".join(parts)[:70]))
        spool.put_all([(key(i), frame(i)) for i in range(5)])
        monkeypatch.setattr(module, "_VECTORS", 4)
        spool.put_all([(key(i), memoryview(frame(i))) for i in range(5, 9)])
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(9)]
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(9)]
