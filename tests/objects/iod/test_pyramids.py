"""Levels of one slide against each other, and what was made of them."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from tests.reading.slides._make import pyramid

SEGMENT = dml.Segment("Tumor", type="SCT:108369006", category="SCT:49755003", algorithm="manual")


@pytest.fixture
def slide(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (256, 192, 3)).astype(np.uint8)
    attributes = {"PyramidUID": "1.2.3.77", "PatientID": "S5"}
    return pyramid(tmp_path / "slide", pixels, series=5, attributes=attributes, tile=(64, 64))


def levels(folder):
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda ds: -ds.TotalPixelMatrixRows)


def told(found):
    words = ("largest level", "Pyramid", "lies elsewhere", "made from")
    return [f for f in found if any(word in f.path + f.message for word in words) and f.severity != "info"]


def test_true_pyramids(slide):
    assert told(dml.validate(slide)) == []
    base, _, coarse = levels(slide)
    assert told(dml.validate(coarse, sources=[base])) == []


def spacing(ds):
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.0007, 0.0007]


def origin(ds):
    ds.TotalPixelMatrixOriginSequence[0].XOffsetInSlideCoordinateSystem = "11.0"


CHANGES = {
    "size": (spacing, "mm high, the largest level"),
    "place": (origin, "mm from that of the largest level"),
    "turned": (lambda ds: setattr(ds, "ImageOrientationSlide", [1, 0, 0, 0, 1, 0]), "is not that of the largest level"),
    "frame": (lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.3.4"), "nothing can be overlaid"),
    "pyramid": (lambda ds: setattr(ds, "PyramidUID", "1.2.3.78"), "PyramidUID"),
    "label": (lambda ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]), "no level"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_levels_that_do_not_belong_together(change, slide):
    base, middle, coarse = levels(slide)
    changing, words = CHANGES[change]
    changing(coarse)
    text = "\n".join(map(str, told(dml.validate(coarse, sources=[base, middle]))))
    assert words in text, text or "nothing was found"
    coarse.save_as(slide / "coarse.dcm")
    assert words in "\n".join(map(str, told(dml.validate(slide))))


def test_objects_made_of_a_level(slide, tmp_path):
    opened = dml.open_slide(slide)
    for level, shape in ((0, (256, 192)), (1, (128, 96))):
        mask = np.zeros(shape, np.uint8)
        mask[10:60, 20:70] = 1
        path = tmp_path / f"{level}.seg.dcm"
        dml.Segmentation.from_array(mask, source=opened.source, segments=[SEGMENT], level=level).save(path)
        for sources in (slide, opened):
            assert told(dml.validate(path, sources=sources)) == []
        ds = pydicom.dcmread(path)
        origin(ds)
        for sources in (slide, opened):
            assert any("lies elsewhere" in f.message for f in dml.validate(ds, sources=sources)), level
