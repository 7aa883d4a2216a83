"""Files are whole or absent; frames lie where offset tables say."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames, parse_basic_offsets

from dicom_ml.encoding.writer import (
    EncapsulatedFrames,
    NativeFrames,
    atomic_file,
    dataset_bytes,
    element_bytes,
    file_head,
    sequence_bytes,
)
from dicom_ml.errors import EncodingError


def test_a_file_takes_its_name_when_complete(tmp_path):
    target = tmp_path / "new" / "a.dcm"
    with atomic_file(target) as file:
        file.write(b"half")
        assert not target.exists()
        file.write(b"whole")
    assert target.read_bytes() == b"halfwhole"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), atomic_file(target) as file:
            file.write(b"other")
            raise error
        assert target.read_bytes() == b"halfwhole"
    assert [p.name for p in target.parent.iterdir()] == ["a.dcm"]


@pytest.mark.parametrize("extended", [False, True])
def test_encapsulated_frames(tmp_path, extended):
    frames = [np.random.default_rng(i).bytes(n) for i, n in enumerate((1, 2, 10, 333, 4000, 7))]
    with atomic_file(tmp_path / "a.dcm") as file:
        file.write(file_head("1.2.3", "1.2.4", "1.2.840.10008.1.2.5"))
        sink = EncapsulatedFrames(file, len(frames), extended)
        for frame in frames:
            sink.append(frame)
        sink.close()
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    tables = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths) if extended else None
    got = list(generate_frames(ds.PixelData, number_of_frames=len(frames), extended_offsets=tables))
    assert [g[: len(f)] for g, f in zip(got, frames, strict=True)] == frames
    assert all(len(g) - len(f) in (0, 1) for g, f in zip(got, frames, strict=True))
    if extended:
        offsets = np.frombuffer(ds.ExtendedOffsetTable, "<u8")
        lengths = np.frombuffer(ds.ExtendedOffsetTableLengths, "<u8")
        np.testing.assert_array_equal(lengths, [len(f) + len(f) % 2 for f in frames])
        np.testing.assert_array_equal(np.diff(offsets), lengths[:-1] + 8)
        assert parse_basic_offsets(ds.PixelData) == []
    else:
        assert len(parse_basic_offsets(ds.PixelData)) == len(frames)


def test_frame_counts_are_kept(tmp_path):
    with pytest.raises(EncodingError, match="2 frames were announced, 1 written"), atomic_file(tmp_path / "a") as file:
        sink = EncapsulatedFrames(file, 2, False)
        sink.append(b"ab")
        sink.close()
    with pytest.raises(EncodingError, match="more than the announced 1"), atomic_file(tmp_path / "a") as file:
        sink = EncapsulatedFrames(file, 1, False)
        sink.append(b"ab")
        sink.append(b"ab")
    assert list(tmp_path.iterdir()) == []


def test_native_frames_in_any_order(tmp_path):
    with atomic_file(tmp_path / "a.dcm") as file:
        file.write(file_head("1.2.3", "1.2.4", "1.2.840.10008.1.2.1"))
        sink = NativeFrames(file, "OB", 9)
        sink.write(6, b"ghi")
        sink.write(0, memoryview(np.frombuffer(b"abc", np.uint8)))
        with pytest.raises(EncodingError, match="past the end"):
            sink.write(8, b"xyz")
        sink.close()
    assert pydicom.dcmread(tmp_path / "a.dcm").PixelData == b"abc\0\0\0ghi\0"
    with pytest.raises(EncodingError, match="4 GiB"), atomic_file(tmp_path / "b") as file:
        NativeFrames(file, "OW", 1 << 32)


def test_elements_are_padded_and_limited():
    assert element_bytes(0x00080018, "UI", b"1.2").endswith(b"1.2\0")
    assert element_bytes(0x00080060, "CS", b"SEG").endswith(b"SEG ")
    with pytest.raises(EncodingError, match="65534"):
        element_bytes(0x00100010, "LO", b"x" * 70000)


def test_bytes_are_those_of_pydicom():
    ds = pydicom.Dataset()
    ds.PatientName = "Müller"
    ds.SpecificCharacterSet = "ISO_IR 192"
    item = pydicom.Dataset()
    item.CodeValue = "1"
    ds.ConceptNameCodeSequence = [item]
    buffer = io.BytesIO()
    ds.save_as(buffer, implicit_vr=False, little_endian=True)
    assert dataset_bytes(ds) == buffer.getvalue()
    assert sequence_bytes(0x0040A043, [dataset_bytes(item)]) in buffer.getvalue()
    alone = ds[0x00100000:]
    assert "Müller".encode() in dataset_bytes(alone, "ISO_IR 192")


def test_runs_of_native_frames(tmp_path, monkeypatch):
    import dicom_ml.encoding.writer as module

    frames = [bytes([i]) * 7 for i in range(1, 11)]
    whole = module.os.pwritev
    for limited in (False, True):
        if limited:  # a system that writes less than asked
            monkeypatch.setattr(module.os, "pwritev", lambda fd, parts, at: whole(fd, [b"".join(parts)[:9]], at))
        monkeypatch.setattr(module, "_VECTORS", 4)
        with open(tmp_path / "a", "w+b", buffering=0) as file:
            native = NativeFrames(file, "OB", 70)
            native.write_run(14, frames[2:])
            native.write_run(0, [memoryview(frame) for frame in frames[:2]])
            with pytest.raises(EncodingError, match="past the end"):
                native.write_run(63, frames[:2])
            native.close()
        assert (tmp_path / "a").read_bytes()[12:] == b"".join(frames)
