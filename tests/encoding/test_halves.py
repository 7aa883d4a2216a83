"""Whose an unfinished file is, and when it is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from dicom_ml.encoding.halves import begin_half, remove_left
from dicom_ml.encoding.writer import atomic_file

pytest.importorskip("fcntl")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path):
    target = tmp_path / "x.dcm"
    code = (
        "import os, signal, sys; from dicom_ml.encoding.writer import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, target], check=False)
    assert names(tmp_path) == [".x.dcm.0.part"]
    with atomic_file(target) as file:
        file.write(b"whole")
        assert names(tmp_path) == [".x.dcm.0.part"] and (tmp_path / ".x.dcm.0.part").read_bytes() == b"whole"
    assert names(tmp_path) == ["x.dcm"] and target.read_bytes() == b"whole"


def test_a_file_under_way_is_left_alone(tmp_path):
    target = tmp_path / "x.dcm"
    with atomic_file(target) as first:
        first.write(b"first")
        with atomic_file(target) as second:
            second.write(b"second")
            remove_left(tmp_path)
            assert names(tmp_path) == [".x.dcm.0.part", ".x.dcm.1.part"]
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first" and names(tmp_path) == ["x.dcm"]


def test_only_what_is_called_so_is_removed(tmp_path):
    kept = ["x.dcm", ".x.part", "x.0.part", ".x.dcm.123-0a1b2c3d.part"]
    for name in (*kept, ".x.dcm.0.part"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".folder.0.part").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".y.7.part").write_bytes(b"")
    remove_left(tmp_path)
    assert names(tmp_path) == sorted([*kept, ".folder.0.part", "deep"]) and names(tmp_path / "deep") == []


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """Nothing is removed, as nobody can tell whose it is."""
    import fcntl

    def none(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    (tmp_path / ".x.dcm.0.part").write_bytes(b"of somebody")
    with atomic_file(tmp_path / "x.dcm") as file:
        file.write(b"whole")
    remove_left(tmp_path)
    assert names(tmp_path) == [".x.dcm.0.part", "x.dcm"]


def test_long_names(tmp_path):
    for name in ("a" * 255, "é" * 127, "病" * 85):
        with atomic_file(tmp_path / name) as file:
            file.write(b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"


def test_many_writers_of_one_name(tmp_path):
    """While others are killed: every writer ends well, and what has the name is one's whole content."""
    target, failures = tmp_path / "x", []
    stop = threading.Event()

    def litter():
        while not stop.is_set():
            path, descriptor = begin_half(target)
            os.close(descriptor)  # as a kill does
            del path

    def write(letter):
        try:
            for _ in range(60):
                with atomic_file(target) as file:
                    for _ in range(20):
                        file.write(letter * 50)
                assert len(set(target.read_bytes())) == 1 and target.stat().st_size == 1000
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    dirt = threading.Thread(target=litter)
    dirt.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    dirt.join()
    assert failures == []
    remove_left(tmp_path)
    assert names(tmp_path) == ["x"]
