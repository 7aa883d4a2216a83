"""What is found on slides to bulk annotations, all at once or tile after tile."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")

import torch
from monai.transforms import Compose, Lambdad

import dicom_ml as dml
from dicom_ml.data import TileDataset
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.rasterize import polygon_mask
from dicom_ml.transforms import SaveAnnotations, SaveAnnotationsd, SaveReportd
from tests.judges import dciodvfy
from tests.reading.slides._make import pyramid

CELL, MADE_BY = {"label": "Cells", "type": "SCT:84640000"}, {"name": "CellNet", "version": "1"}
SQUARES = [(10, 20, 8), (50, 57, 12), (58, 120, 14), (110, 100, 10)]


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    pixels = np.full((140, 170, 3), 240, np.uint8)
    for row, column, side in SQUARES:
        pixels[row : row + side, column : column + side] = 10
    folder = tmp_path_factory.mktemp("slide") / "s"
    return dml.open_slide(pyramid(folder, pixels, series=5, attributes={"PatientID": "S5"}, tile=(64, 64)))


def truth(shape=(140, 170)):
    labels = np.zeros(shape, np.int32)
    for number, (row, column, side) in enumerate(SQUARES, start=1):
        labels[row : row + side, column : column + side] = number
    return labels


def only(folder, pattern="*.ann.dcm"):
    (file,) = folder.glob(pattern)
    return file


def boxes_in(file):
    (group,) = dml.read_annotations(file).groups
    return sorted((float(low[1]), float(low[0]), float(high[1] - low[1])) for low, high in group.boxes)


def test_a_whole_slide_at_once(slide, tmp_path):
    save = SaveAnnotations(CELL, tmp_path, algorithm=MADE_BY)
    save(torch.tensor(truth()), slide)
    assert boxes_in(only(tmp_path)) == sorted(SQUARES) and dciodvfy(only(tmp_path)) == []
    polygons = [np.array([[c, r], [c + s, r], [c + s, r + s], [c, r + s]], float) for r, c, s in SQUARES]
    given = {"polygons": polygons, "scores": [0.5, 0.6, 0.7, 0.8]}
    out = SaveAnnotationsd("pred", CELL, tmp_path / "d", algorithm=MADE_BY, min_score=0.55)(
        {"pred": given, "dicom_source": slide.source.to_string()}
    )
    file = only(tmp_path / "d")
    assert out["pred_meta_dict"]["saved_to"] == str(file)
    assert boxes_in(file) == sorted(SQUARES[1:])
    (group,) = dml.read_annotations(file).groups
    np.testing.assert_allclose(group.measurement("DCM:111012"), [60, 70, 80])
    coarse = SaveAnnotations(CELL, tmp_path / "c", algorithm=MADE_BY, level=1)
    coarse(truth()[::2, ::2], slide)
    (group,) = dml.read_annotations(only(tmp_path / "c")).groups
    for outline in group:
        mask = polygon_mask(np.asarray(outline)[:, ::-1] / 2, (70, 85))
        assert len(np.unique(truth()[::2, ::2][mask])) == 1


def find(image):
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, _ = ndimage.label(np.asarray(image[0]) < 60)
    return {"instances": torch.tensor(labels)}


def test_tile_after_tile(slide, tmp_path):
    """The object is there after the last tile; a saver that was pickled half way goes on."""
    data = TileDataset([slide], 64, overlap=20)
    save = SaveAnnotationsd("pred", CELL, tmp_path, algorithm=MADE_BY)
    chain = Compose([Lambdad("image", find, overwrite="pred"), save])
    order = np.random.default_rng(0).permutation(len(data)).tolist()
    for i in order[:5]:
        chain(data[i])
    assert not list(tmp_path.glob("*.dcm"))
    chain = pickle.loads(pickle.dumps(chain))
    for i in order[3:]:
        last = chain(data[i])
    assert last["pred_meta_dict"]["saved_to"] == str(only(tmp_path))
    assert boxes_in(only(tmp_path)) == sorted(SQUARES) and not list(tmp_path.glob(".*"))
    written = only(tmp_path).stat().st_mtime_ns
    chain(data[0])
    assert only(tmp_path).stat().st_mtime_ns == written


def test_reports_of_tiles(slide, tmp_path):
    data = TileDataset([slide], 64, overlap=20)
    boxes = SaveReportd("pred", tmp_path / "boxes", classes="SCT:84640000", algorithm=MADE_BY)
    classes = ["SCT:17621005", "SCT:263654008"]
    kinds = SaveReportd("kind", tmp_path / "kinds", "classification", classes=classes, algorithm=MADE_BY)
    for i in range(len(data) - 1):
        ndimage = pytest.importorskip("scipy.ndimage")
        places = ndimage.find_objects(find(data[i]["image"])["instances"].numpy())
        found = torch.tensor([[float(v) for v in (c.start, r.start, c.stop, r.stop)] for r, c in places]).reshape(-1, 4)
        pred = {"boxes": found, "scores": torch.full((len(found),), 0.5)}
        kinds(boxes({**data[i], "pred": pred, "kind": torch.tensor([i / 20])}))
    assert not list(tmp_path.glob("*/*.dcm"))
    assert len(boxes.finish()) == len(kinds.finish()) == 1
    report = dml.read_report(only(tmp_path / "boxes", "*.sr.dcm"), source=slide)
    got = sorted([*g.region.start, *g.region.stop] for g in report.groups)
    np.testing.assert_allclose(got, sorted([r, c, r + s, c + s] for r, c, s in SQUARES), atol=0.01)
    (group,) = dml.read_report(only(tmp_path / "kinds", "*.sr.dcm")).groups
    expected = np.mean([i / 20 for i in range(len(data) - 1)])
    assert [m.value / 100 for m in group.measurements] == pytest.approx([1 - expected, expected], abs=1e-6)


def test_what_is_refused(slide, tmp_path):
    save = SaveAnnotationsd("pred", CELL, tmp_path, algorithm=MADE_BY)
    with pytest.raises(EncodingError, match="which slide"):
        save({"pred": truth()})
    with pytest.raises(EncodingError, match="levels 0 to"):
        SaveAnnotations(CELL, tmp_path, algorithm=MADE_BY, level=7)(truth(), slide)
    with pytest.raises(EncodingError, match="no tile"):
        SaveAnnotations(CELL, tmp_path, algorithm=MADE_BY)(truth(), {"image": 1})
    with pytest.raises(EncodingError, match="is a slide"):
        SaveReportd("pred", tmp_path, classes="SCT:84640000")(
            {"pred": {"boxes": torch.zeros(0, 4)}, "dicom_source": slide.source.to_string()}
        )
    with pytest.warns(DicomMLWarning, match="nothing was found"):
        assert SaveAnnotations(CELL, tmp_path, algorithm=MADE_BY).write(truth() * 0, slide) is None
    assert not list(tmp_path.iterdir())


def test_volumes_have_none(case, tmp_path):
    with pytest.raises(EncodingError, match="volume"):
        SaveAnnotations(CELL, tmp_path, algorithm=MADE_BY)(truth(), case.volume)
