"""Slides in threads, in other processes, in pickles; and how many files they hold open."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.reading.slides import buffers, files

from . import _make as make
from ._make import Image, picture

SHAPE = (203, 150)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make.pyramid(tmp_path / "s", picture(SHAPE), syntax=make.JPEG_LS)


def read_level(arguments: tuple[dml.Slide, int]) -> np.ndarray:
    slide, level = arguments
    return slide.read_region((0, 0), slide.levels[level].shape, level=level)


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_other_processes_read_the_same(folder: Path, method: str) -> None:
    slide = dml.open_slide(folder)
    here = [read_level((slide, level)) for level in range(3)]  # opened, and threads started, before the fork
    with multiprocessing.get_context(method).Pool(2) as pool:
        there = pool.map(read_level, [(slide, level) for level in range(3)])
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_while_a_thread_reads(folder: Path) -> None:
    slide = dml.open_slide(folder)
    expected = read_level((slide, 0))
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            slide.close()
            read_level((slide, 0))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        context = multiprocessing.get_context("fork")
        for _ in range(5):
            with context.Pool(1) as pool:
                found = pool.apply_async(read_level, ((slide, 0),)).get(timeout=60)
            np.testing.assert_array_equal(found, expected)
    finally:
        stop.set()
        thread.join()


def test_threads_read_the_same(folder: Path) -> None:
    slide = dml.open_slide(folder)
    expected = read_level((slide, 0))
    corners = np.random.default_rng(0).integers(0, 140, (200, 2))
    with ThreadPoolExecutor(8) as pool:
        tiles = list(pool.map(lambda at: slide.read_region(at, (40, 30)), corners))
    for (row, column), tile in zip(corners, tiles, strict=True):
        part = expected[row : row + 40, column : column + 30]
        np.testing.assert_array_equal(tile[: part.shape[0], : part.shape[1]], part)


@pytest.mark.parametrize("kind", ["folder", "stored", "deflated", "bytes"])
def test_pickles_are_small_and_good(folder: Path, kind: str) -> None:
    source: object = folder
    if kind in ("stored", "deflated"):
        source = folder.parent / "s.zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED) as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
    elif kind == "bytes":
        source = [file.read_bytes() for file in folder.iterdir()]
    slide = dml.open_slide(source)
    expected = read_level((slide, 0))
    packed = pickle.dumps(slide)
    if kind != "bytes":
        assert len(packed) < 20_000
    again = pickle.loads(packed)
    np.testing.assert_array_equal(read_level((again, 0)), expected)
    assert again.source == slide.source


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts what /proc shows")
def test_few_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_OPEN", 3)
    slides = []
    for number in range(8):
        path = Image(picture((40, 40), number), tile=(40, 40), series=number).write(tmp_path / f"{number}.dcm")
        slides.append(dml.open_slide(path))

    def opened() -> int:
        links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(os.path.realpath(link).startswith(str(tmp_path)) for link in links)

    assert opened() == 0  # headers are read, files are closed
    for _ in range(2):
        for number, slide in enumerate(slides):
            np.testing.assert_array_equal(read_level((slide, 0)), picture((40, 40), number))
            assert opened() <= 3
    for slide in slides:
        with slide:
            pass
    assert opened() == 0
    np.testing.assert_array_equal(read_level((slides[0], 0)), picture((40, 40), 0))


def test_memory_is_used_again_only_when_nobody_looks() -> None:
    dtype = np.dtype(np.uint8)
    first = buffers.pixel_array((300, 300, 3), dtype)
    first[...] = 7
    view = first[10:20]
    address = first.__array_interface__["data"][0]
    assert address % 32 == 16
    del first
    other = buffers.pixel_array((300, 300, 3), dtype)
    other[...] = 9
    assert (view == 7).all()
    del view
    assert buffers.pixel_array((300, 300, 3), dtype).__array_interface__["data"][0] == address
