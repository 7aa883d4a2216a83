"""Frames under way: any order, several processes, killed at any byte."""

from __future__ import annotations

import multiprocessing
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
    data, index = tmp_path / "s/0.frames", tmp_path / "s/0.index"
    whole, records = data.read_bytes(), index.read_bytes()
    for cut_data, cut_index in ((0, 5), (3, 0), (200, 0), (0, len(records)), (len(whole), 0), (0, 41)):
        data.write_bytes(whole[: len(whole) - cut_data])
        index.write_bytes(records[: len(records) - cut_index])
        with FrameSpool(tmp_path / "s", PLAN) as spool:
            have = set(spool.listed())
            for i in range(12):
                assert spool.put(key(i), frame(i)) == (key(i) not in have)
            assert list(spool.frames(spool.listed())) == [frame(i) for i in range(12)]
    index.write_bytes(records[:100] + bytes([records[100] ^ 1]) + records[101:])
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        assert len(spool) < 10
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(len(spool))]


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
        found = [(i, bytes(data)) for i, data in spool.scattered(wanted)]
        assert sorted(found) == [(i, frame(i)) for i in range(30)]
        assert [i for i, _ in found] == [*order[11:], order[3], *(i for i in order[:11] if i != order[3])]


def test_long_runs_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("dicom_ml.encoding.spool._COPY_BYTES", 400)
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        spool.put_all([(key(i), frame(i)) for i in range(40)])
        assert [(i, bytes(data)) for i, data in spool.scattered(map(key, range(40)))] == [
            (i, frame(i)) for i in range(40)
        ]


def test_a_write_that_fails_leaves_no_trace(tmp_path, monkeypatch):
    import dicom_ml.encoding.spool as module

    whole = module._write_all
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        spool.put(key(0), frame(0))

        def full(file, view):
            whole(file, view[: len(view) // 2])
            raise OSError(28, "No space left on device")

        for failing in (1, 2, 3):  # the first frame, the second, the records
            calls = iter(range(1, 4))
            monkeypatch.setattr(
                module,
                "_write_all",
                lambda file, view, calls=calls, at=failing: (full if next(calls) == at else whole)(file, view),
            )
            with pytest.raises(OSError, match="space"):
                spool.put_all([(key(1), frame(1)), (key(2), frame(2))])
            assert len(spool) == 1
        monkeypatch.setattr(module, "_write_all", whole)
        spool.put_all([(key(1), frame(1)), (key(2), frame(2))])
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(3)]
    with FrameSpool(tmp_path / "s", PLAN) as spool:
        assert list(spool.frames(spool.listed())) == [frame(i) for i in range(3)]
