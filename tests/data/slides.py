"""Slides that the tests of tiles share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset

import dicom_ml as dml
from tests.reading.slides._make import picture, pyramid

TUMOUR = dml.Segment("Tumour", type="SCT:108369006", category="SCT:49755003", algorithm="manual")
STROMA = dml.Segment("Stroma", type="SCT:85756007", category="SCT:91723000", algorithm="manual")


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def specimen(modifier: tuple[str, str, str]) -> list[Dataset]:
    """A specimen description with a structure and its modifier."""
    item, structure = Dataset(), coded("39607008", "SCT", "Lung")
    item.SpecimenIdentifier, item.SpecimenUID = "S1", "1.2.3.4"
    structure.PrimaryAnatomicStructureModifierSequence = [coded(*modifier)]
    item.PrimaryAnatomicStructureSequence = [structure]
    item.SpecimenPreparationSequence = []
    return [item]


def make(folder: Path, number: int, shape=(300, 420), *, patient: str = "P", modifier=None, **options):
    """A slide in a folder of its own, and its pixels: the right half is white."""
    pixels = picture(shape, seed=number)
    pixels[:, shape[1] // 2 :] = 255
    attributes = {"PatientID": patient}
    if modifier is not None:
        attributes["SpecimenDescriptionSequence"] = specimen(modifier)
    options = {"spacing": (0.0005, 0.0005), "series": number, "attributes": attributes, **options}
    return pyramid(folder / str(number), pixels, **options), np.asarray(pixels)
