"""Savers write nothing under a final name that does not conform, unless they are told to."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")

import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged

import dicom_ml as dml
from dicom_ml.data import TileDataset
from dicom_ml.errors import EncodingError
from dicom_ml.transforms import (
    DicomSegmentationWriter,
    LoadDicomd,
    SaveAnnotationsd,
    SaveParametricMapd,
    SaveReportd,
    SaveSegmentationd,
)
from tests.reading.slides._make import pyramid

MADE_BY = {"name": "Net", "version": "1"}
CELL, NODULE = {"label": "Cells", "type": "SCT:84640000"}, "SCT:27925004"
#: Content labels are code strings, which have capitals only: every object with this one breaks the standard.
WRONG = {"content_label": "lower case"}


def volume_item(case):
    item = LoadDicomd("image")({"image": str(case.series)})
    image = item["image"]
    mask = torch.zeros(image.shape)
    mask[:, 2:6, 2:6, 2:6] = 1
    return {"image": image, "mask": MetaTensor(mask, meta=dict(image.meta)), "map": image / 1000}


SAVERS = {
    "mask": lambda folder, segments, **more: SaveSegmentationd("mask", segments, folder, **more),
    "map": lambda folder, segments, **more: SaveParametricMapd(
        "map", "DCM:113041", folder, unit="mm2/s", algorithm=MADE_BY, **more
    ),
}


@pytest.mark.parametrize("kind", SAVERS)
def test_volumes(kind, case, segments, tmp_path):
    item = volume_item(case)
    SAVERS[kind](tmp_path / "good", segments)(item)
    (name,) = (path.name for path in (tmp_path / "good").iterdir())
    with pytest.raises(EncodingError, match=r"is not written.*ContentLabel"):
        SAVERS[kind](tmp_path / "bad", segments, **WRONG)(item)
    assert list((tmp_path / "bad").iterdir()) == []
    # what had the name before stays
    (tmp_path / "bad" / name).write_bytes(b"before")
    with pytest.raises(EncodingError):
        SAVERS[kind](tmp_path / "bad", segments, filename=name, **WRONG)(item)
    assert [path.read_bytes() for path in (tmp_path / "bad").iterdir()] == [b"before"]
    # and who wants it all the same gets it
    SAVERS[kind](tmp_path / "told", segments, validate=False, **WRONG)(item)
    (path,) = (tmp_path / "told").iterdir()
    assert any("ContentLabel" in finding.path for finding in dml.validate(path))


def test_through_save_image(case, segments, tmp_path):
    item = volume_item(case)

    def save(folder, **more):
        writer = DicomSegmentationWriter.configured(segments=segments, **more)
        SaveImaged("mask", output_dir=folder, output_ext=".dcm", separate_folder=False, writer=writer)(item)
        return list(folder.iterdir())

    assert len(save(tmp_path / "good")) == 1
    (tmp_path / "bad").mkdir()
    with pytest.raises(RuntimeError, match="would not conform"):  # which MONAI makes of every error
        save(tmp_path / "bad", **WRONG)
    assert list((tmp_path / "bad").iterdir()) == []
    assert len(save(tmp_path / "told", validate=False, **WRONG)) == 1


def stop(monkeypatch):
    monkeypatch.setattr("dicom_ml.objects.iod.gate.findings_of", lambda *_: [dml.Finding("error", "", "is wrong")])


def test_reports(case, tmp_path, monkeypatch):
    item = volume_item(case)
    item["boxes"] = {"boxes": torch.tensor([[1.0, 1, 1, 4, 5, 6]]), "labels": torch.tensor([0]), "scores": [0.9]}
    common = {"classes": {0: NODULE}, "algorithm": MADE_BY}
    SaveReportd("boxes", tmp_path / "good", **common)(item)
    stop(monkeypatch)
    with pytest.raises(EncodingError, match="is wrong"):
        SaveReportd("boxes", tmp_path / "bad", **common)(item)
    assert list((tmp_path / "bad").iterdir()) == []
    SaveReportd("boxes", tmp_path / "told", validate=False, **common)(item)
    assert len(list((tmp_path / "told").iterdir())) == 1


def test_slides(tmp_path, monkeypatch):
    pixels = np.full((140, 170, 3), 240, np.uint8)
    slide = dml.open_slide(pyramid(tmp_path / "s", pixels, series=5, attributes={"PatientID": "S5"}, tile=(64, 64)))
    labels = np.zeros((140, 170), np.int32)
    labels[10:18, 20:30] = 1
    item = {"pred": labels, "dicom_source": slide.source.to_string()}
    tiles = list(TileDataset([slide], tile_size=64))
    found = {"boxes": np.array([[3.0, 3, 9, 9]]), "labels": [0], "scores": [0.9]}
    stop(monkeypatch)
    with pytest.raises(EncodingError, match="is wrong"):
        SaveAnnotationsd("pred", CELL, tmp_path / "whole", algorithm=MADE_BY)(item)
    assert list((tmp_path / "whole").iterdir()) == []
    for validate in (True, False):
        folder = tmp_path / f"tiles-{validate}"
        save = SaveAnnotationsd("pred", CELL, folder, algorithm=MADE_BY, validate=validate)
        if validate:
            with pytest.raises(EncodingError, match="is wrong"):
                for tile in tiles:
                    save({**tile, "pred": found})
        else:
            for tile in tiles:
                save({**tile, "pred": found})
        assert len(list(folder.glob("*.ann.dcm"))) == (not validate)
