"""Frames found in native and encapsulated pixel data, whole or damaged, and decoded on threads."""

from __future__ import annotations

import mmap
import multiprocessing
import struct
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_ml.encoding.codecs import COMPRESSIONS, FrameInfo, encode_frame
from dicom_ml.encoding.encapsulation import (
    SEQUENCE_DELIMITER,
    basic_offset_table,
    basic_offsets_fit,
    encapsulate,
    extended_offset_table,
    frame_item,
    item_header,
)
from dicom_ml.encoding.frames import FrameIndex, decode_frames, map_frames
from dicom_ml.encoding.thread_pool import default_threads, parallel_for
from dicom_ml.errors import CodecError, DicomMLWarning, EncodingError, FileError

JPEG = "1.2.840.10008.1.2.4.50"
JPEG_INFO = FrameInfo(8, 8, transfer_syntax_uid=JPEG)
RLE_INFO = FrameInfo(8, 8, transfer_syntax_uid=COMPRESSIONS["rle"])


def jpeg_like(i: int, size: int = 20) -> bytes:
    return b"\xff\xd8\xff\xe0" + bytes([i % 200]) * size + b"\xff\xd9"


FRAMES = [jpeg_like(i, 20 + 3 * i) for i in range(5)]


def contents(index: FrameIndex) -> list[bytes]:
    return [bytes(index.frame(i)) for i in range(len(index))]


def padded(frames: list[bytes]) -> list[bytes]:
    return [frame + b"\0" * (len(frame) % 2) for frame in frames]


def index_of(value: bytes, n: int = 5, info: FrameInfo = JPEG_INFO, **tables: Any) -> FrameIndex:
    return FrameIndex.from_buffer(b"head" + value + b"tail", 4, None, info, n, **tables)


# Native


def test_native_frames_are_views_of_the_file(tmp_path: Path) -> None:
    cells = np.arange(3 * 4 * 5, dtype="<i2").reshape(3, 4, 5) - 30
    path = tmp_path / "file"
    path.write_bytes(b"header" + cells.tobytes())
    info = FrameInfo(4, 5, bits_allocated=16, pixel_representation=1)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        index = FrameIndex.from_buffer(buffer, 6, cells.nbytes, info, 3)
        assert isinstance(index.frame(1), memoryview)
        np.testing.assert_array_equal(index.decode(2), cells[2])
        np.testing.assert_array_equal(decode_frames(index), cells)
        np.testing.assert_array_equal(decode_frames(index, [2, 0, 2]), cells[[2, 0, 2]])
        whole = index.native_array()
        assert whole is not None
        assert not whole.flags.owndata
        np.testing.assert_array_equal(whole, cells)
        del whole, index


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(0, 999))
def test_one_bit_frames_need_not_begin_a_byte(n: int, rows: int, columns: int, seed: int) -> None:
    masks = np.random.default_rng(seed).integers(0, 2, (n, rows, columns), dtype=np.uint8)
    data = np.packbits(masks.ravel(), bitorder="little").tobytes()
    index = FrameIndex.from_buffer(data, 0, len(data), FrameInfo(rows, columns, bits_allocated=1), n)
    np.testing.assert_array_equal(decode_frames(index), masks)
    packed, bits = index.native_bits()
    assert bits == rows * columns
    assert bytes(packed) == data
    out = np.zeros((n, rows, columns), bool)
    np.testing.assert_array_equal(decode_frames(index, out=out), masks.astype(bool))


def test_big_endian_words_of_bytes_and_of_bits() -> None:
    frames = np.arange(3 * 9, dtype=np.uint8).reshape(3, 3, 3)
    raw = np.append(frames.ravel(), np.uint8(0))
    swapped = raw.view("<u2").byteswap().tobytes()
    info = FrameInfo(3, 3, transfer_syntax_uid="1.2.840.10008.1.2.2", pixel_vr="OW")
    np.testing.assert_array_equal(decode_frames(FrameIndex.from_buffer(swapped, 0, len(swapped), info, 3)), frames)
    plain = info.replace(pixel_vr="OB")
    data = raw.tobytes()
    np.testing.assert_array_equal(decode_frames(FrameIndex.from_buffer(data, 0, len(data), plain, 3)), frames)
    masks = (frames % 3 == 0).astype(np.uint8)
    bits = np.packbits(masks.ravel(), bitorder="little").view("<u2").byteswap().tobytes()
    one = info.replace(bits_allocated=1, bits_stored=1, high_bit=0)
    np.testing.assert_array_equal(decode_frames(FrameIndex.from_buffer(bits, 0, 4, one, 3)), masks)


def test_native_data_too_short_or_too_long() -> None:
    info = FrameInfo(4, 4)
    with pytest.raises(FileError, match="3 frames of 4 x 4 need 48 bytes of pixel data, 47 are there"):
        FrameIndex.from_buffer(bytes(47), 0, 48, info, 3)
    with pytest.warns(DicomMLWarning, match="holds 4 frames, the header announces 2"):
        FrameIndex.from_buffer(bytes(64), 0, 64, info, 2)
    with pytest.raises(FileError, match="begins at byte 90"):
        FrameIndex.from_buffer(bytes(64), 90, 64, info, 1)
    with pytest.raises(FileError, match="Number of Frames is 0"):
        FrameIndex.from_buffer(bytes(64), 0, 64, info, 0)
    with pytest.raises(FileError, match="Transfer Syntax UID is wrong"):
        FrameIndex.from_buffer(bytes(64), 0, 0xFFFFFFFF, info, 1)


def test_a_gigantic_announcement_takes_no_memory() -> None:
    info = FrameInfo(65535, 65535, bits_allocated=16)
    with pytest.raises(FileError, match="truncated"):
        FrameIndex.from_buffer(bytes(64), 0, 64, info, 100_000)
    index = index_of(encapsulate(FRAMES[:2]), 100_000, info.replace(transfer_syntax_uid=JPEG))
    with pytest.raises(FileError, match="100000 frames"):
        decode_frames(index)


# Encapsulated, as it should be


@pytest.mark.parametrize("table", [True, False])
def test_one_fragment_a_frame(table: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = index_of(encapsulate(FRAMES, offset_table=table))
        assert contents(index) == padded(FRAMES)
        assert all(isinstance(index.frame(i), memoryview) for i in range(5))
        assert contents(index_of(encapsulate(FRAMES[:1], offset_table=table), 1)) == padded(FRAMES[:1])


def test_extended_offset_table_gives_exact_lengths() -> None:
    offsets, padded_lengths = extended_offset_table([len(f) for f in FRAMES])
    value = encapsulate(FRAMES, offset_table=False)
    index = index_of(value, extended_offsets=offsets, extended_lengths=padded_lengths)
    assert contents(index) == padded(FRAMES)
    # Lengths without the padding, which others write, are taken at their word.
    lengths = np.array([len(f) for f in FRAMES], "<u8")
    for pair in ((offsets, lengths), (offsets.tobytes(), lengths.tobytes())):
        index = index_of(value, extended_offsets=pair[0], extended_lengths=pair[1])
        assert contents(index) == FRAMES
    assert contents(index_of(value, extended_offsets=offsets)) == padded(FRAMES)


def test_offset_tables_are_used_without_a_walk() -> None:
    index = index_of(encapsulate(FRAMES))
    assert bytes(index.frame(4)) == padded(FRAMES)[4]
    assert index._fragments is None


def split(frame: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(c - c % 2 for c in cuts), len(frame)]
    return [frame[a:b] for a, b in pairwise(bounds) if a < b]


@given(st.data())
def test_several_fragments_a_frame(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    fragments = [
        split(frame, data.draw(st.lists(st.integers(0, len(frame)), max_size=3))) for frame in padded(FRAMES)[:n]
    ]
    body = b"".join(frame_item(f) for frame in fragments for f in frame)
    starts = np.cumsum([0, *[sum(len(f) + 8 for f in frame) for frame in fragments]])[:-1]
    with_table = item_header(4 * n) + struct.pack(f"<{n}I", *starts) + body + SEQUENCE_DELIMITER
    assert contents(index_of(with_table, n)) == padded(FRAMES)[:n]
    without = item_header(0) + body + SEQUENCE_DELIMITER
    assert contents(index_of(without, n)) == padded(FRAMES)[:n]


# Encapsulated, damaged


def test_no_delimiter_is_no_problem() -> None:
    value = encapsulate(FRAMES, offset_table=False)[: -len(SEQUENCE_DELIMITER)]
    index = FrameIndex.from_buffer(value, 0, None, JPEG_INFO, 5)
    assert contents(index) == padded(FRAMES)


@pytest.mark.parametrize("table", [True, False])
def test_truncated_file_gives_what_is_there(table: bool) -> None:
    value = encapsulate(FRAMES, offset_table=table)[:-30]
    index = FrameIndex.from_buffer(value, 0, None, JPEG_INFO, 5)
    with pytest.warns(DicomMLWarning, match="cut off|incomplete"), pytest.raises(FileError, match="frame 5 of 5"):
        index.frame(4)
    assert [bytes(index.frame(i)) for i in range(4)] == padded(FRAMES)[:4]


@pytest.mark.parametrize(
    "table",
    [[0, 30, 60, 90, 120], [8, 40, 80, 120, 160], [0, 0, 0, 0, 0], [0, 1 << 31, 1 << 31, 1, 2]],
)
def test_wrong_basic_offset_table(table: list[int]) -> None:
    body = b"".join(map(frame_item, FRAMES))
    value = item_header(20) + struct.pack("<5I", *table) + body + SEQUENCE_DELIMITER
    index = index_of(value)
    with pytest.warns(DicomMLWarning, match="basic offset table is wrong"):
        assert contents(index) == padded(FRAMES)
    # Of another length it is no table for these frames, and left alone.
    value = item_header(8) + bytes(8) + body + SEQUENCE_DELIMITER
    assert contents(index_of(value)) == padded(FRAMES)


def test_wrong_extended_offset_table() -> None:
    value = encapsulate(FRAMES, offset_table=False)
    for wrong in (np.arange(5) * 20, np.zeros(3), np.arange(5) * (1 << 40)):
        index = index_of(value, extended_offsets=wrong.astype(np.uint64))
        with pytest.warns(DicomMLWarning, match="extended offset table is wrong"):
            assert contents(index) == padded(FRAMES)


def test_fragments_that_do_not_add_up() -> None:
    with pytest.raises(FileError, match="announces 9 frames, the pixel data holds only 5 fragments"):
        index_of(encapsulate(FRAMES, offset_table=False), 9).frame(0)
    plain = encapsulate([bytes([i]) * 10 for i in range(5)], offset_table=False)
    with pytest.raises(FileError, match="do not tell where frames begin"):
        index_of(plain, 3).frame(0)
    with pytest.raises(FileError, match="RLE needs one fragment a frame"):
        index_of(plain, 3, RLE_INFO).frame(0)


def test_pixel_data_that_is_not_encapsulated() -> None:
    index = FrameIndex.from_buffer(bytes(range(64)), 0, 64, JPEG_INFO, 1)
    with pytest.raises(FileError, match="not encapsulated"):
        index.frame(0)
    with pytest.raises(IndexError):
        index.frame(1)


@given(st.binary(max_size=200), st.integers(1, 4))
def test_nonsense_is_a_file_error(noise: bytes, n: int) -> None:
    for head in (b"", item_header(0), item_header(4 * n)):
        index = index_of(head + noise, n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i in range(n):
                try:
                    index.frame(i)
                except FileError:
                    pass


# Writing


def test_items_and_tables() -> None:
    assert frame_item(b"abc") == b"\xfe\xff\x00\xe0\x04\x00\x00\x00abc\x00"
    assert basic_offset_table() == b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    assert basic_offset_table([3, 4, 5]) == item_header(12) + struct.pack("<3I", 0, 12, 24)
    offsets, lengths = extended_offset_table([3, 4, 5])
    assert offsets.tolist() == [0, 12, 24]
    assert lengths.tolist() == [4, 4, 6]
    assert offsets.dtype == lengths.dtype == np.dtype("<u8")
    for wrong in (3, -2, 0xFFFFFFFF):
        with pytest.raises(EncodingError):
            item_header(wrong)


def test_past_four_gigabytes_only_the_extended_table_reaches() -> None:
    lengths = [1 << 30] * 5
    assert basic_offsets_fit(lengths[:4])
    assert not basic_offsets_fit(lengths)
    with pytest.raises(EncodingError, match="extended offset table"):
        basic_offset_table(lengths)
    assert int(extended_offset_table(lengths)[0][-1]) == 4 * ((1 << 30) + 8)


def test_pydicom_finds_the_frames() -> None:
    from pydicom.encaps import generate_frames, parse_basic_offsets

    value = encapsulate(FRAMES)
    assert list(generate_frames(value, number_of_frames=5)) == padded(FRAMES)
    assert parse_basic_offsets(value)[1] == len(padded(FRAMES)[0]) + 8
    offsets, lengths = extended_offset_table([len(f) for f in FRAMES])
    bare = encapsulate(FRAMES, offset_table=False)
    tables = (offsets.tobytes(), lengths.tobytes())
    assert list(generate_frames(bare, number_of_frames=5, extended_offsets=tables)) == padded(FRAMES)


# Decoding many


@pytest.fixture
def many() -> tuple[FrameIndex, Any]:
    info = FrameInfo(200, 210, bits_allocated=16, transfer_syntax_uid=COMPRESSIONS["rle"])
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 500, (12, 200, 210)).astype(np.uint16)
    return index_of(encapsulate([encode_frame(f, info) for f in frames]), 12, info), frames


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_decoding_on_threads(many: tuple[FrameIndex, Any], threads: int | None) -> None:
    index, frames = many
    np.testing.assert_array_equal(decode_frames(index, threads=threads), frames)
    out = np.zeros((3, 200, 210), np.float32)
    assert decode_frames(index, [5, 1, 5], out=out, threads=threads) is out
    np.testing.assert_array_equal(out, frames[[5, 1, 5]])
    sums = [0] * 12
    map_frames(index, lambda i, frame: sums.__setitem__(i, int(frame.sum())), threads=threads)
    assert sums == [int(f.sum()) for f in frames]


def test_wrong_requests(many: tuple[FrameIndex, Any]) -> None:
    index, _ = many
    with pytest.raises(IndexError):
        decode_frames(index, [12])
    with pytest.raises(ValueError, match="is needed"):
        decode_frames(index, out=np.zeros((2, 200, 210)))


def test_the_frame_that_fails_is_named(many: tuple[FrameIndex, Any]) -> None:
    index, frames = many
    encoded = [bytes(index.frame(i)) for i in range(12)]
    encoded[7] = encoded[7][:500]
    broken = index_of(encapsulate(encoded), 12, index.info)
    for threads in (1, 3):
        with pytest.raises(CodecError, match="frame 8 in transfer syntax"):
            decode_frames(broken, threads=threads)
    np.testing.assert_array_equal(decode_frames(broken, [6, 8]), frames[[6, 8]])


def _decode_in_child(index: FrameIndex, queue: Any) -> None:
    queue.put(int(decode_frames(index, threads=3).sum()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_threads_work_after_a_fork(many: tuple[FrameIndex, Any]) -> None:
    index, frames = many
    decode_frames(index, threads=3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_decode_in_child, args=(index, queue))
    child.start()
    assert queue.get(timeout=30) == int(frames.sum())
    child.join(30)
    assert child.exitcode == 0


def test_parallel_for_nests_and_stops_at_an_error() -> None:
    seen: list[tuple[int, int]] = []
    parallel_for(
        lambda a: parallel_for(lambda b: seen.append((a, b)), range(20), 4),
        range(20),
        4,
    )
    assert sorted(seen) == [(a, b) for a in range(20) for b in range(20)]
    calls: list[int] = []

    def fail(i: int) -> None:
        calls.append(i)
        if i == 3:
            raise ValueError("three")

    for threads in (1, 4):
        calls.clear()
        with pytest.raises(ValueError, match="three"):
            parallel_for(fail, range(10_000), threads)
        assert len(calls) < 10_000
    parallel_for(fail, [], 4)
    assert 1 <= default_threads() <= 8
