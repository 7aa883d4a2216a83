"""The lean scanner against pydicom, on generated headers and on every real file."""

from __future__ import annotations

import io
import os
import random
import re
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset, FileMetaDataset, Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_ml.encoding.elements import FileView, Layouts, NeedMore, NotLean, decode_number_strings, items_of
from dicom_ml.encoding.functional_groups import GROUP_TAGS, read_frame_groups
from dicom_ml.encoding.uids import derived_uid, new_uid

DATA = Path(os.environ.get("DICOM_ML_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def frame_item(number: int, *, odd: bool = False) -> Dataset:
    item, position, segment, source = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0.5, -12.25, number * 1.5]
    segment.ReferencedSegmentNumber = number % 7 + 1
    item.PlanePositionSequence = Sequence([position])
    item.SegmentIdentificationSequence = Sequence([segment])
    source.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    source.ReferencedSOPInstanceUID = f"1.2.3.{1000 + number}"
    derivation = Dataset()
    derivation.SourceImageSequence = Sequence([source])
    if odd:
        derivation.DerivationDescription = "something longer"
    item.DerivationImageSequence = Sequence([derivation])
    return item


def image(frames: int, *, undefined: bool = False, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.PatientID = "made up"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 4, 4, 8, 8, 7
    ds.SamplesPerPixel, ds.PixelRepresentation, ds.NumberOfFrames = 1, 0, frames
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PerFrameFunctionalGroupsSequence = Sequence([frame_item(i, odd=i % 5 == 3) for i in range(frames)])
    if undefined:
        for element in ds.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    ds.PixelData = bytes(16 * frames)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True, little_endian=syntax != ExplicitVRBigEndian, implicit_vr=None)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_columns_of_frames(syntax, undefined):
    data = image(40, undefined=undefined, syntax=syntax)
    view = FileView(data)
    assert view.text(0x00080018) == "1.2.3.4"
    assert view.integer(0x00280010) == 4
    assert view.pixels is not None and view.pixels[1][2] == 16 * 40
    _, offset, length = view.places[0x52009230]
    count, columns = read_frame_groups(data, offset, length, view.implicit, GROUP_TAGS)
    assert count == 40
    positions = decode_number_strings(columns["position"], 3)
    assert positions == [(0.5, -12.25, i * 1.5) for i in range(40)]
    assert [int.from_bytes(v, "little") for v in columns["segment"]] == [i % 7 + 1 for i in range(40)]
    assert [v.decode().strip("\0") for v in columns["source_instance"]] == [f"1.2.3.{1000 + i}" for i in range(40)]
    assert columns["orientation"] == [None] * 40


def test_what_cannot_be_walked_is_said():
    data = image(3)
    with pytest.raises(NotLean, match="preamble"):
        FileView(data[132:])
    with pytest.raises(NotLean, match=r"1\.2\.840\.10008\.1\.2\.2"):
        FileView(image(3, syntax=ExplicitVRBigEndian))
    with pytest.raises(NeedMore) as more:
        FileView(data[:600], size=len(data))
    assert more.value.size > 600
    with pytest.raises(NotLean, match="end of the file"):
        FileView(data[:600])
    view = FileView(data)
    offset, length = view.places[0x52009230][1:]
    with pytest.raises(NotLean):
        list(items_of(data, offset + 2, length, False))
    with pytest.raises(NotLean):
        read_frame_groups(data, offset, length - 9, False, GROUP_TAGS)


def test_a_beginning_of_any_length_asks_for_more():
    data = image(3)
    whole = FileView(data)
    for size in range(0, whole.pixels[1][1] - 12, 7):
        with pytest.raises((NeedMore, NotLean)) as raised:
            FileView(data[:size], size=len(data))
        if size > 400:
            assert isinstance(raised.value, NeedMore), size


def same_view(one: FileView, other: FileView) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in FileView.__slots__)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_known_layout_changes_nothing(syntax, undefined, monkeypatch):
    """Headers that differ in values only are walked once; any other tag, VR or length is noticed."""
    data = image(2, undefined=undefined, syntax=syntax)
    layouts = Layouts()
    FileView(data, layouts=layouts)
    alike = data.replace(b"made up", b"MADE UP").replace(b"1.2.3.4", b"1.2.3.5").replace(b"1001", b"1002")
    assert alike != data and same_view(FileView(alike, layouts=layouts), FileView(alike))
    other = [
        data.replace(b"1.2.3.1001", b"1.2.3.1001.1.2"),  # damaged lengths
        data.replace(b"made up\0", b"made up").replace(b"made up ", b"made up"),
        image(3, undefined=undefined, syntax=syntax),
        image(2, undefined=not undefined, syntax=syntax),
        image(
            2,
            undefined=undefined,
            syntax=ImplicitVRLittleEndian if syntax == ExplicitVRLittleEndian else ExplicitVRLittleEndian,
        ),
        data[: len(data) - 40],
        data[:300],
    ]
    for changed in (*other, data, alike, *other):
        try:
            expected = FileView(changed)
        except NotLean as error:
            with pytest.raises(NotLean, match=re.escape(str(error))):
                FileView(changed, layouts=layouts)
        else:
            assert same_view(FileView(changed, layouts=layouts), expected)
    monkeypatch.setattr(FileView, "_scan", lambda self, start: pytest.fail("walked again"))
    FileView(alike, layouts=layouts)


@pytest.mark.parametrize("seed", range(20))
def test_a_known_layout_is_not_taken_for_a_damaged_one(seed):
    """A byte of the header's structure that changes is never read by the layout of the sound header."""
    data = image(2, undefined=bool(seed % 2))
    generator = random.Random(seed)
    layouts = Layouts()
    end = FileView(data, layouts=layouts).pixels[1][1]
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            changed[generator.randrange(128, end)] = generator.randrange(256)
        outcomes = []
        for known in (None, layouts):
            try:
                view = FileView(bytes(changed), layouts=known)
                outcomes.append((view.places, view.meta, view.pixels, view.transfer_syntax, view.implicit))
            except (NotLean, NeedMore) as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]


def test_number_strings():
    assert decode_number_strings([b"1\\2 ", None, b"1\\2 "], 2) == [(1.0, 2.0), None, (1.0, 2.0)]
    for bad in (b"1\\x", b"1", b""):
        with pytest.raises(NotLean):
            decode_number_strings([bad], 2)


def test_uids():
    assert derived_uid("a", 1) == derived_uid("a", 1)
    assert len({derived_uid("a", 1), derived_uid("a1"), derived_uid("a", "1"), new_uid(), new_uid()}) == 5
    assert all(len(u) <= 64 and u.startswith("2.25.") for u in (new_uid(), derived_uid("x")))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared DICOM files are not present")
def test_every_real_file_is_walked_as_pydicom_parses_it():
    walked = 0
    for path in sorted(p for p in DATA.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        try:
            view = FileView(data)
        except NotLean:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            tags = list(ds.keys())  # a Dataset iterates over elements, not tags
            assert {int(tag) for tag in tags if tag < 0x7FE00008} <= set(view.places), path
            for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E):
                if tag in ds:
                    assert view.text(tag) == str(ds[tag].value or ""), (path, hex(tag))
            if 0x52009230 in view:
                _, offset, length = view.places[0x52009230]
                count, columns = read_frame_groups(data, offset, length, view.implicit, GROUP_TAGS)
                frames = ds.PerFrameFunctionalGroupsSequence
                assert count == len(frames)
                for i, item in enumerate(frames):
                    if "PlanePositionSequence" in item:
                        expected = tuple(float(v) for v in item.PlanePositionSequence[0].ImagePositionPatient)
                        assert decode_number_strings([columns["position"][i]], 3)[0] == expected
                    else:
                        assert columns["position"][i] is None
        walked += 1
    assert walked > 500
