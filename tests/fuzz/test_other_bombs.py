"""Indices, handles, profiles and weights that someone else made."""

from __future__ import annotations

import base64
import json
import sqlite3
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from tests.fuzz.bombs import dicom, element, image, item
from tests.reading.slides import _make as make

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches memory by Linux's limits")
SECONDS = 10.0
SM = "1.2.840.10008.5.1.4.1.1.77.1.6"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A good index over one file."""
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(dicom(image(16, 16, pixels=element(0x7FE00010, "OW", bytes(512)))))
    with dml.scan(folder, index=tmp_path / "index.sqlite", workers=1):
        pass
    return tmp_path / "index.sqlite"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.pyramid(tmp_path_factory.mktemp("slide") / "sm", make.smooth((40, 50), 1), (1,))


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'version' AS key, sum(i) AS value FROM n"
)
CRAFTED = {
    "a view for a table": f"ALTER TABLE about RENAME TO x; CREATE VIEW about AS {ENDLESS};",
    "a view without end": f"DROP VIEW series; CREATE VIEW series AS {ENDLESS};",
    "a trigger": "CREATE TRIGGER t AFTER DELETE ON files BEGIN DELETE FROM instances; END;",
    "a table more": "CREATE TABLE more (x);",
    "paths that leave": "UPDATE files SET folder = '../../../etc', name = 'passwd';",
    "paths from the root": "UPDATE files SET folder = '/etc', name = 'passwd';",
    "names that leave": "UPDATE files SET name = '../../x.dcm';",
    "another version": "UPDATE about SET value = '99' WHERE key = 'version';",
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_indices_of_others(watch, index, kind):
    assert watch("stored index", index).kind == "read"
    connection = sqlite3.connect(index)
    connection.executescript(CRAFTED[kind])
    connection.commit()
    connection.close()
    found = watch("stored index", index)
    assert found.kind == "refused" and found.seconds < SECONDS, found


def test_damaged_indices(watch, index):
    content = index.read_bytes()
    rng = np.random.default_rng(0)
    ends = set()
    for number in range(40):
        damaged = bytearray(content[: None if number % 4 else int(rng.integers(len(content)))])
        for _ in range(int(rng.choice([1, 8, 64]))):
            if damaged:
                damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        index.write_bytes(damaged)
        found = watch("stored index", index)
        assert found.kind in ("read", "refused") and found.seconds < SECONDS, found
        ends.add(found.kind)
    assert "refused" in ends


def handle(record: object, zeros: int = 0) -> str:
    packed = zlib.compress(json.dumps(record).encode() + b" " * zeros, 9)
    return "dml1:" + base64.b85encode(packed).decode()


def test_handles_of_others(watch, tmp_path):
    many = {
        "modality": "CT", "uids": ["1.2", "1.3", "1.4"], "classes": [["1.2", 10**12]], "instances": [["1.2", 10**12]],
        "frames": None, "attributes": {}, "problems": [],
    }  # fmt: skip
    deep = "dml1:" + base64.b85encode(zlib.compress(b"[" * 500_000)).decode()
    for text in (handle(many), handle({}, (1 << 28) + 9), deep, "dml1:", "dml1:" + "0" * 1000):
        path = tmp_path / "handle.txt"
        path.write_text(text)
        found = watch("handle", path)
        assert found.kind == "refused" and found.seconds < SECONDS, found
        assert "Memory" not in found.cause + found.message, found


def test_broken_colour_profiles(watch, tmp_path):
    """Profiles whose tables lie outside, announce billions of entries, or are none."""
    head = (
        struct.pack(">I4sI4s4s4s", 200, b"lcms", 0x04000000, b"mntr", b"RGB ", b"XYZ ")
        + bytes(12)
        + b"acsp"
        + bytes(88)
    )
    profiles = [
        b"\0" * 128, b"\xff" * 4000, head + struct.pack(">I", 0xFFFFFFFF), b"",
        head + struct.pack(">I4sII", 1, b"A2B0", 132, 0xFFFFFFF0) + b"\xff" * 99,
        head + struct.pack(">I", 100) + struct.pack(">4sII", b"A2B0", 0x7FFFFFFF, 16) * 100,
    ]  # fmt: skip
    size = element(0x00480006, "UL", 16) + element(0x00480007, "UL", 16)
    for profile in profiles:
        profile += b"\0" * (len(profile) % 2)
        path_item = item(element(0x00282000, "OB", profile) + element(0x00480106, "SH", "1"))
        body = image(
            16, 16, 1, 8, 3, "RGB", sop_class=SM, modality="SM", kind="VOLUME\\NONE",
            before=size + element(0x00480105, "SQ", path_item), pixels=element(0x7FE00010, "OW", bytes(768)),
        )  # fmt: skip
        path = tmp_path / "profile.dcm"
        path.write_bytes(dicom(body, sop_class=SM))
        found = watch("slide in sRGB", path)
        assert found.kind in ("read", "refused") and found.seconds < SECONDS, found


class Evil:
    """What a pickle may do when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("escaped-from-a-pickle"),))


def test_weights_run_no_code(tmp_path, monkeypatch):
    """Every place that loads weights loads tensors only."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("monai")
    from dicom_ml.cli.prediction import _load
    from dicom_ml.cohorts.bundles import _weights

    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "models" / "model.pt")
    with pytest.raises(dml.FileError):
        _load(torch.nn.Linear(1, 1), tmp_path / "models" / "model.pt")
    with pytest.raises(dml.FileError):
        _weights(tmp_path)
    assert not (tmp_path / "escaped-from-a-pickle").exists()


def feature(kind: str, coordinates: str) -> bytes:
    """One feature of QuPath's."""
    text = f'{{"type": "Feature", "geometry": {{"type": "{kind}", "coordinates": {coordinates}}}, "properties": '
    return f'{{"type": "FeatureCollection", "features": [{text}{{"classification": {{"name": "a"}}}}}}]}}'.encode()


SQUARE = "[[[1, 1], [9, 1], [9, 9], [1, 9], [1, 1]]]"
OUTLINES = {
    "nested arrays.geojson": b"[" * 500_000,
    "nested objects.geojson": b'{"features":' * 100_000,
    "nested coordinates.geojson": feature("Polygon", "[" * 900 + "]" * 900),
    "infinite.geojson": feature("Polygon", "[[[1, 1], [1e999, 1], [9, 9], [1, 1]]]"),
    "no number.geojson": feature("Polygon", "[[[1, 1], [NaN, 1], [9, 9], [1, 1]]]"),
    "a giant number.geojson": feature("Polygon", "[[[1, 1], [" + "9" * 100_000 + ", 1], [9, 9], [1, 1]]]"),
    "a large number.geojson": feature("Polygon", "[[[1, 1], [" + "9" * 400 + ", 1], [9, 9], [1, 1]]]"),
    "texts.geojson": feature("Polygon", '[[["a", "b"]]]'),
    "nothing.geojson": b"",
    "not UTF-8.geojson": b"\xff\xfe" * 99,
    "features of none.geojson": b'{"type": "FeatureCollection", "features": [1, null, "x", {}]}',
    "a huge field.csv": b"x,y\n" + b"9" * 2_000_000 + b",1\n",
    "many columns.csv": b",".join(b"c%d" % i for i in range(200_000)) + b"\n1\n",
    "nul.csv": b"x,y\n\0,\0\n",
    "infinite.csv": b"x,y\n1e999,inf\n",
    "no number.csv": b"x,y\nnan,nan\n",
    "an open quote.csv": b'x,y\n"' + b"1,2\n" * 500_000,
    "not UTF-8.csv": b"x,y\n\xff,\xfe\n",
}


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_of_others(watch, slide, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(OUTLINES[name])
    found = watch("outlines", f"{slide}|{path}")
    assert found.kind == "refused" and found.seconds < SECONDS, found
    assert "Memory" not in found.cause + found.message, found


def test_good_outlines(watch, slide, tmp_path):
    path = tmp_path / "good.geojson"
    path.write_bytes(feature("Polygon", SQUARE))
    found = watch("outlines", f"{slide}|{path}")
    assert (found.kind, found.value) == ("read", "[1]"), found
