"""Files made to exhaust whoever reads them: each gives one error with a cause, soon, in little memory.

Every file is read in a process whose address space is limited, so that what allocates before it checks is seen.
"""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import bombs
from tests.fuzz.bombs import (
    DEFLATED,
    IMPLICIT,
    ITEM_END,
    ITEM_OPEN,
    RLE,
    SEQUENCE_END,
    UNDEFINED,
    deflate_zeros,
    dicom,
    element,
    encapsulated,
    gzip_bomb,
    image,
    item,
    nested_defined,
    nested_undefined,
    zip_file,
)  # fmt: skip
from tests.fuzz.watch import refused as refused_soon

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches memory by Linux's limits")
SECONDS = 10.0  # of a busy machine; an idle one takes a tenth
GIB = 1 << 30
SEG, LABELMAP, SM = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.77.1.6"
ANN, SR, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.91.1", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.481.3"
MAP = "1.2.840.10008.5.1.4.1.1.30"
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
JPEG, JPEG_LS, J2K, HTJ2K, JPEG_XL, DEFLATED_FRAMES = (
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1",
)  # fmt: skip
LITTLE = {"DICOM_ML_MOST_UNPACKED": "1.5e8"}  # what is inflated until the limit costs time in CI


refused = partial(refused_soon, seconds=SECONDS)


# ---------------------------------------------------------------------- zip and gzip
def good() -> bytes:
    pixels = np.arange(16 * 16, dtype="<u2").tobytes()
    return dicom(image(16, 16, pixels=element(0x7FE00010, "OW", pixels)))


def stored(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a huge ratio": (lambda: zip_file([("a.dcm", deflate_zeros(4 * GIB), 4 * GIB - 2)]), "announces"),
    "many of them": (
        lambda: zip_file([(f"{i}.dcm", deflate_zeros(GIB // 8), GIB // 8) for i in range(40)]), "announces"
    ),
    "more than it announces": (
        lambda: zip_file([("a.dcm", deflate_zeros(4 * GIB), 1000)]), "cannot be unpacked"
    ),
    "less than it announces": (lambda: zip_file([("a.dcm", deflate_zeros(1 << 22), 3 << 22)]), "cannot be unpacked"),
    "members over one another": (
        lambda: zip_file([("a.dcm", deflate_zeros(1 << 24), 1 << 20)], shared=1000), "over one another"
    ),
    "a million members": (
        lambda: zip_file(
            [("a.dcm", deflate_zeros(0), 0)],
            entries=[struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"]
            * 1_000_000,
        ),
        "members",
    ),
    "another method": (
        lambda: zip_file([("a.dcm", b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff" * 9, 99)], method=14), "unpack"
    ),
    "a directory elsewhere": (lambda: zip_file([("a.dcm", b"", 0)])[:-6] + b"\xff" * 6, ""),
}  # fmt: skip


@pytest.mark.parametrize("reader", ["volume at", "slide at"])
@pytest.mark.parametrize("kind", ZIPS)
def test_zip(watch, tmp_path, kind, reader):
    make, words = ZIPS[kind]
    path = tmp_path / "bomb.zip"
    path.write_bytes(make())
    assert words in refused(watch(reader, path)).message


def test_bzip2(watch, tmp_path):
    import bz2

    path = tmp_path / "bomb.zip"
    packed = bz2.compress(bytes(1 << 27))  # 100 bytes or so
    path.write_bytes(zip_file([(f"{i}.dcm", packed, 1000) for i in range(3)], method=12))
    assert "unpack" in refused(watch("volume at", path)).message


def test_the_limit_can_be_raised(watch, tmp_path):
    path = tmp_path / "large.zip"
    stored(path, {"a.dcm": good(), "b.txt": bytes(50_000_000)})
    assert "DICOM_ML_MOST_UNPACKED" in refused(watch("volume at", path, DICOM_ML_MOST_UNPACKED="1e7")).message
    assert watch("volume at", path).kind == "read"
    assert "expected a number" in refused(watch("volume at", path, DICOM_ML_MOST_UNPACKED="much")).message


def test_members_are_never_written_anywhere(watch, tmp_path):
    """Names that lead out of the archive are names only."""
    path = tmp_path / "in" / "names.zip"
    path.parent.mkdir()
    stored(path, {"../../escape.dcm": good(), "/tmp/dicom-ml-escape.dcm": b"no", "c:\\x.dcm": b"", "..\\y.dcm": b"\0"})
    assert watch("volume at", path).kind == "read"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "names.zip"]
    assert not os.path.exists("/tmp/dicom-ml-escape.dcm")


def test_a_zip_in_a_zip_is_no_image(watch, tmp_path):
    inner = tmp_path / "inner.zip"
    stored(inner, {"a.dcm": good()})
    stored(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes()})
    refused(watch("volume at", tmp_path / "outer.zip"))


def test_gzip(watch, tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip_bomb(4 * GIB))
    assert "bomb" in refused(watch("volume at", path, **LITTLE)).message


def test_the_watch_sees_what_no_limit_stops(watch, tmp_path):
    """Without the limit a bomb runs out of memory, or of time."""
    (tmp_path / "a.zip").write_bytes(zip_file([("a.dcm", deflate_zeros(GIB), GIB)]))
    found = watch("volume at", tmp_path / "a.zip", DICOM_ML_MOST_UNPACKED="1e13")
    assert found.kind in ("memory", "late") or "Memory" in found.cause + found.message, found


# ---------------------------------------------------------------------- deflated data sets
@pytest.mark.parametrize(
    "reader", ["volume", "slide", "segmentation", "report", "annotations", "structure_set", "parametric_map",
               "key_objects", "validate", "presentation", "labels at"],
)  # fmt: skip
def test_deflated_data_set(watch, tmp_path, reader):
    classes = {
        "volume": CT_CLASS, "slide": SM, "segmentation": SEG, "report": SR, "annotations": ANN,
        "structure_set": RTSTRUCT, "parametric_map": MAP, "key_objects": "1.2.840.10008.5.1.4.1.1.88.59",
        "validate": CT_CLASS, "presentation": "1.2.840.10008.5.1.4.1.1.11.1",
        "labels at": SEG,
    }  # fmt: skip
    start = image(sop_class=classes[reader]) + element(0x7FE00010, "OW", b"", 0xF0000000)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(dicom(deflate_zeros(4 * GIB, start), DEFLATED, classes[reader]))
    if reader == "validate":
        found = watch(reader, path, **LITTLE)
        assert found.kind in ("read", "refused") and found.seconds < SECONDS, found
    else:
        found = refused(watch(reader, path, **LITTLE))
        assert found.grown < GIB // 4, found  # nor did a first look at the file take what the second refused


def test_deflated_behind_an_odd_head(watch, tmp_path):
    """The transfer syntax is found where the meta information is long, and where its VRs are not written."""
    start = image() + element(0x7FE00010, "OW", b"", 0xF0000000)
    body = deflate_zeros(4 * GIB, start)
    long = bytes(128) + b"DICM" + element(0x00020001, "OB", bytes(9000)) + element(0x00020010, "UI", DEFLATED)
    uid = DEFLATED.encode()
    uid += b"\0" * (len(uid) % 2)
    bare = bytes(128) + b"DICM" + struct.pack("<HHI", 2, 0x10, len(uid)) + uid
    for name, head in (("long", long), ("bare", bare)):
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(head + body)
        assert "bomb" in refused(watch("volume", path, **LITTLE)).message


def test_index_of_bombs(watch, tmp_path):
    """A folder with bombs is indexed, and each of them is a problem of its own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(good())
    (folder / "b.dcm").write_bytes(dicom(deflate_zeros(4 * GIB, image()), DEFLATED))
    (folder / "c.dcm").write_bytes(dicom(nested_undefined(10_000)))
    found = watch("index of", folder, **LITTLE)
    assert found.kind == "read" and "1.2.3.1" in found.value, found
    assert found.seconds < SECONDS


# ---------------------------------------------------------------------- frames
CT_CLASS = bombs.CT
BIG_J2K = (
    b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 41, 0, 65535, 65535, 0, 0, 65535, 65535, 0, 0, 1) + b"\x0f\x01\x01"
    + b"\xff\x52" + struct.pack(">HBBHB5B", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    + b"\xff\x5c" + struct.pack(">H", 19) + bytes([0x40] + [0x48] * 16)
    + b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1) + b"\xff\x93" + bytes(64) + b"\xff\xd9"
)  # fmt: skip
BIG_JPEG = (
    b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 65535, 65535, 1) + b"\x01\x11\x00" + bytes(64) + b"\xff\xd9"
)
BIG_JPEG_LS = b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 16, 65535, 65535, 1) + b"\x01\x11\x00" + (
    b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0) + bytes(64) + b"\xff\xd9"
)  # fmt: skip
BIG_RLE = struct.pack("<16I", 2, 64, 1064, *[0] * 13) + b"\x81\x00" * 1000


def _deflated_frame() -> bytes:
    return deflate_zeros(4 * GIB)


FRAMES = {
    "JPEG": (JPEG, lambda: BIG_JPEG, 8),
    "JPEG-LS": (JPEG_LS, lambda: BIG_JPEG_LS, 16),
    "JPEG 2000": (J2K, lambda: BIG_J2K, 16),
    "HTJ2K": (HTJ2K, lambda: BIG_J2K.replace(b"\xff\x51\x00\x29\x00\x00", b"\xff\x51\x00\x29\x40\x00"), 16),
    "JPEG XL": (JPEG_XL, lambda: b"\xff\x0a" + b"\xff" * 64, 16),
    "RLE": (RLE, lambda: BIG_RLE, 16),
    "deflated frame": (DEFLATED_FRAMES, _deflated_frame, 16),
}


@pytest.mark.parametrize("size", [64, 65535])
@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_another_size(watch, tmp_path, kind, size):
    """Codestreams of 65535 x 65535 where the header says so, too, and where it does not."""
    syntax, frame, bits = FRAMES[kind]
    path = tmp_path / "frame.dcm"
    path.write_bytes(dicom(image(size, size, bits=bits, pixels=encapsulated([frame()])), syntax))
    if (kind, size) == ("RLE", 64):  # this one is what the header says, and more
        assert watch("volume", path).kind == "read"
        return
    refused(watch("volume", path))


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG 2000", "RLE"])
def test_slides_of_huge_tiles(watch, tmp_path, kind, count):
    syntax, frame, _ = FRAMES[kind]
    more = (
        element(0x00480006, "UL", 4_000_000_000) + element(0x00480007, "UL", 4_000_000_000)
        + element(0x00480008, "UL", 1)
    )  # fmt: skip
    body = image(
        65535,
        65535,
        count,
        bits=8,
        sop_class=SM,
        before=more,
        pixels=encapsulated([frame()] * count),
        modality="SM",
        kind="VOLUME\\NONE",
    )
    path = tmp_path / "slide.dcm"
    path.write_bytes(dicom(body, syntax, SM))
    refused(watch("slide", path))


def test_rle_expands_without_end(watch, tmp_path):
    """Segments that expand to far more than a frame are cut, and do not cost more than the file has."""
    segment = b"\x81\x00" * 8_000_000
    frame = struct.pack("<16I", 2, 64, 64 + len(segment) // 2, *[0] * 13) + segment
    path = tmp_path / "rle.dcm"
    path.write_bytes(dicom(image(16, 16, pixels=encapsulated([frame])), RLE))
    found = watch("volume", path)
    assert found.kind in ("read", "refused") and found.seconds < SECONDS, found
    assert found.grown < 20 * len(frame), found


# ---------------------------------------------------------------------- counts, tables, lengths
def test_counts_that_do_not_fit(watch, tmp_path):
    native = element(0x7FE00010, "OW", bytes(8192))
    cases = {
        "2^31 frames": dicom(image(frames=1 << 31, pixels=native)),
        "frames overflow": dicom(image(65535, 65535, frames=(1 << 62), pixels=native)),
        "a long number": dicom(image(frames="9" * 4000, pixels=native)),
        "negative": dicom(image(frames=-5, pixels=native)),
        "not finite": dicom(image(frames="1e308", pixels=native)),
        "infinite": dicom(image(frames="inf", pixels=native)),
        "compressed": dicom(image(frames=1 << 31, pixels=encapsulated([BIG_JPEG]), bits=8), JPEG),
        "no end": dicom(image(65535, 65535, 1000, bits=8, pixels=encapsulated([b"\xff\xd8" * 50], end=b"")), JPEG),
        "enhanced": dicom(image(frames=1 << 31, sop_class=ENHANCED, pixels=native), sop_class=ENHANCED),
        "length past the end": dicom(image(pixels=element(0x7FE00010, "OW", bytes(64), 0xFFFFFFFE))),
        "undefined and native": dicom(image(pixels=element(0x7FE00010, "OW", bytes(64), UNDEFINED))),
        "defined and compressed": dicom(image(bits=8, pixels=element(0x7FE00010, "OB", bytes(8192))), JPEG),
    }
    for name, content in cases.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        found = watch("volume", path)
        assert found.kind == "refused", (name, found)
        refused(found)
    for reader, uid in (("segmentation", SEG), ("segmentation", LABELMAP), ("slide", SM), ("parametric_map", MAP)):
        for frames in (1 << 31, 1 << 62, -1, "9" * 4000, "1e308"):
            body = image(
                65535, 65535, frames, 8, sop_class=uid, pixels=native, before=element(0x00480006, "UL", UNDEFINED)
            )
            path.write_bytes(dicom(body, sop_class=uid))
            refused(watch(reader, path))


def test_fragments_by_the_hundred_thousand(watch, tmp_path):
    """Empty fragments, eight bytes each: counted, not kept one by one for ever."""
    path = tmp_path / "fragments.dcm"
    for frames in (1, 7):
        body = image(frames=frames, bits=8, pixels=encapsulated([b""] * 400_000))
        path.write_bytes(dicom(body, JPEG))
        refused(watch("volume", path))


TABLES = {
    "outside": struct.pack("<3I", 0, 0xFFFFFFF0, 0xFFFFFFF8),
    "overlapping": struct.pack("<3I", 0, 2, 4),
    "all the same": struct.pack("<3I", 0, 0, 0),
    "backwards": struct.pack("<3I", 900, 400, 0),
    "odd length": b"\0" * 11,
}


@pytest.mark.parametrize("which", ["basic", "extended"])
@pytest.mark.parametrize("kind", TABLES)
def test_offset_tables(watch, tmp_path, kind, which):
    table = TABLES[kind]
    before = b""
    if which == "extended":
        wide = b"".join(
            struct.pack("<Q", v | (v & 0x80000000) << 32)
            for (v,) in struct.iter_unpack("<I", table[: len(table) // 4 * 4])
        )
        before = element(0x7FE00001, "OV", wide) + element(0x7FE00002, "OV", struct.pack("<3Q", *[1 << 63] * 3))
        table = b""
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x05" * 2  # 256 bytes
    body = image(
        16, 16, 3, bits=8, sop_class=SM, modality="SM", kind="VOLUME\\NONE", pixels=encapsulated([frame] * 3, table),
        before=element(0x00480006, "UL", 48) + element(0x00480007, "UL", 16) + before,
    )  # fmt: skip
    path = tmp_path / "tables.dcm"
    path.write_bytes(dicom(body, RLE, SM))
    found = watch("slide", path)
    assert found.kind in ("read", "refused") and found.seconds < SECONDS, found
    body = image(16, 16, 1, bits=8, pixels=encapsulated([frame], table[:4]), before=before)
    path.write_bytes(dicom(body, RLE))
    found = watch("volume", path)
    assert found.kind in ("read", "refused") and found.seconds < SECONDS, found


# ---------------------------------------------------------------------- nesting and many items
@pytest.mark.parametrize("reader", ["volume", "report", "segmentation", "annotations", "slide", "validate"])
@pytest.mark.parametrize("kind", ["undefined", "defined", "private", "implicit"])
def test_sequences_ten_thousand_deep(watch, tmp_path, kind, reader):
    uid = {"report": SR, "segmentation": SEG, "annotations": ANN, "slide": SM}.get(reader, CT_CLASS)
    syntax = bombs.EXPLICIT
    tag = 0x0040A730 if reader == "report" else 0x00081140
    if kind == "undefined":
        nest = nested_undefined(10_000, tag)
    elif kind == "defined":
        nest = nested_defined(10_000, tag)
    elif kind == "private":
        one = struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, UNDEFINED) + ITEM_OPEN
        inner = struct.pack("<HHI", 0x0009, 0x1010, UNDEFINED) + ITEM_OPEN
        nest = element(0x00090010, "LO", "NEST") + one + inner * 10_000 + (ITEM_END + SEQUENCE_END) * 10_001
    else:
        syntax = IMPLICIT
        nest = (struct.pack("<HHI", tag >> 16, tag & 0xFFFF, UNDEFINED) + ITEM_OPEN) * 10_000
    if kind == "implicit":
        body = b"".join(
            struct.pack("<HHI", t >> 16, t & 0xFFFF, len(v)) + v
            for t, v in ((0x00080016, uid.encode() + b"\0" * (len(uid) % 2)), (0x00080018, b"1.2.3\0"))
        )
        body += nest
    else:
        head = element(0x00080016, "UI", uid) + element(0x00080018, "UI", "1.2.3.4") + element(0x00080060, "CS", "SR")
        body = head + nest
    path = tmp_path / "deep.dcm"
    path.write_bytes(dicom(body, syntax, uid))
    found = watch(reader, path)
    if reader == "validate":
        assert found.kind in ("read", "refused") and found.seconds < SECONDS, found
    else:
        refused(found)


def test_report_of_a_hundred_thousand_levels(watch, tmp_path):
    head = (
        element(0x00080016, "UI", SR) + element(0x00080018, "UI", "1.2.3.4") + element(0x0020000D, "UI", "1.2.3")
        + element(0x0020000E, "UI", "1.2.3.1") + element(0x0040A040, "CS", "CONTAINER")
    )  # fmt: skip
    level = element(0x0040A010, "CS", "CONTAINS") + element(0x0040A040, "CS", "CONTAINER")
    for number, nest in enumerate(
        (
            (element(0x0040A730, "SQ", b"", UNDEFINED) + ITEM_OPEN + level) * 100_000,
            (element(0x0040A730, "SQ", b"", UNDEFINED) + ITEM_OPEN + level) * 100_000
            + (ITEM_END + SEQUENCE_END) * 100_000,
            nested_defined(100_000),
        )
    ):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(dicom(head + nest, sop_class=SR))
        refused(watch("report", path))


def test_functional_groups_by_the_hundred_thousand(watch, tmp_path):
    """Per-frame items by the hundred thousand for one frame, and one for millions of frames."""
    groups = element(0x52009230, "SQ", item(b"") * 150_000)
    for reader, uid in (("volume", ENHANCED), ("segmentation", SEG), ("slide", SM), ("parametric_map", MAP)):
        for frames in (1, 1 << 31):
            bits = 32 if uid == MAP else 8
            body = image(
                16, 16, frames, bits, sop_class=uid, before=element(0x00620001, "CS", "BINARY") + groups,
                pixels=element(0x7FE00010, "OW", bytes(1024)),
            )  # fmt: skip
            path = tmp_path / "groups.dcm"
            path.write_bytes(dicom(body, sop_class=uid))
            refused(watch(reader, path))


def annotation_file(points: bytes, count: int, indices: bytes = b"", graphic: str = "POLYGON") -> bytes:
    code = item(
        element(0x00080100, "SH", "84640000") + element(0x00080102, "SH", "SCT") + element(0x00080104, "LO", "Nucleus")
    )
    group = (
        element(0x0040A180, "US", 1) + element(0x00660016, "OF", points) + element(0x00660040, "OL", indices)
        + element(0x006A0003, "UI", "1.2.9") + element(0x006A0005, "LO", "n") + element(0x006A0007, "CS", "AUTOMATIC")
        + element(0x006A0009, "SQ", code) + element(0x006A000A, "SQ", code) + element(0x006A000C, "UL", count)
        + element(0x006A000D, "CS", "1") + element(0x00700023, "CS", graphic)
    )  # fmt: skip
    body = (
        element(0x00080016, "UI", ANN) + element(0x00080018, "UI", "1.2.3.4") + element(0x00080060, "CS", "ANN")
        + element(0x0020000D, "UI", "1.2.3") + element(0x0020000E, "UI", "1.2.3.1")
        + element(0x006A0001, "CS", "2D") + element(0x006A0002, "SQ", item(group))
    )  # fmt: skip
    return dicom(body, sop_class=ANN)


def test_annotations_whose_counts_do_not_fit(watch, tmp_path):
    points = np.arange(60, dtype="<f4").tobytes()
    cases = {
        "4 billion of them": annotation_file(points, UNDEFINED, struct.pack("<3I", 1, 21, 41)),
        "indices outside": annotation_file(points, 3, struct.pack("<3I", 1, 0xFFFFFFF0, 41)),
        "indices backwards": annotation_file(points, 3, struct.pack("<3I", 41, 21, 1)),
        "index zero": annotation_file(points, 3, struct.pack("<3I", 0, 0, 0)),
        "points of half a number": annotation_file(points[:-3], 3, struct.pack("<3I", 1, 21, 41)),
        "no points": annotation_file(b"", 1 << 31, b"", "POINT"),
        "rectangles of five": annotation_file(points[:40], 1 << 20, b"", "RECTANGLE"),
    }
    for name, content in cases.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        refused(watch("annotations", path))


def test_tables_of_colours_and_values(watch, tmp_path):
    """LUT descriptors that announce more than there is, and ICC profiles that are none."""
    pixels = element(0x7FE00010, "OW", bytes(512))
    lut = item(element(0x00283002, "US", struct.pack("<3H", 0, 0, 16)) + element(0x00283006, "OW", bytes(8)))
    path = tmp_path / "lut.dcm"
    path.write_bytes(dicom(image(16, 16, pixels=pixels, before=element(0x00283000, "SQ", lut))))
    refused(watch("volume", path))
    icc = element(0x00282000, "OB", struct.pack(">I", 0xFFFFFFFF) + b"lcms" + b"\xff" * 200)
    size = element(0x00480006, "UL", 16) + element(0x00480007, "UL", 16)
    body = image(
        16, 16, 1, 8, 3, "RGB", sop_class=SM, modality="SM", kind="VOLUME\\NONE", before=size + icc,
        pixels=element(0x7FE00010, "OW", bytes(768)),
    )  # fmt: skip
    path.write_bytes(dicom(body, sop_class=SM))
    found = watch("slide", path)
    assert found.kind in ("read", "refused") and found.seconds < SECONDS, found
