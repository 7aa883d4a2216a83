"""Generated series of every orientation, modality and layout, as SimpleITK (GDCM) and highdicom read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_ml import Volume, read_volume
from tests.reading import _make as make
from tests.reading._make import Series, ramp

SLOPES = [(0.25 + d / 8, 0.0) for d in range(6)]
CASES = {
    "axial": Series(ramp((6, 5, 7))),
    "sagittal": Series(ramp((6, 5, 7)), orientation=make.SAGITTAL, syntax=make.IMPLICIT),
    "oblique": Series(ramp((6, 5, 7)), orientation=make.OBLIQUE, pixel_spacing=(3.5, 0.4), step=1.2),
    "left-handed row": Series(ramp((6, 5, 7)), orientation=(-1.0, 0, 0, 0, 1, 0)),
    "pet": Series(ramp((6, 5, 7), np.uint16), modality="PT", rescale=SLOPES, attributes={"Units": "BQML"}),
    "mr": Series(ramp((6, 5, 7), np.uint16), modality="MR", rescale=None, orientation=make.OBLIQUE, syntax=make.BIG),
    "12 bits": Series(ramp((6, 40, 40), np.uint16), bits_stored=12, syntax=make.RLE, rescale=(1.5, -100.25)),
}


def assert_alike(ours: Volume, array: np.ndarray, affine: np.ndarray) -> None:
    theirs = Volume(np.asarray(array, np.float32), affine)
    if theirs.affine[:3, 0] @ ours.affine[:3, 0] < 0:
        theirs = theirs.flip(0)
    np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-5)
    np.testing.assert_allclose(theirs.array, ours.array, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_series_as_simpleitk_reads_it(tmp_path: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    folder = CASES[name].write(tmp_path)
    ours = read_volume(folder)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)), sitk.sitkFloat64)
    theirs = Volume.from_sitk(image)
    assert_alike(ours, theirs.array, theirs.affine)


@pytest.mark.parametrize("name", CASES)
def test_series_as_highdicom_reads_it(tmp_path: Path, name: str) -> None:
    highdicom = pytest.importorskip("highdicom")
    folder = CASES[name].write(tmp_path)
    theirs = highdicom.get_volume_from_series([pydicom.dcmread(file) for file in folder.iterdir()])
    assert_alike(read_volume(folder), theirs.array, theirs.affine)


@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique"])
def test_enhanced_as_highdicom_reads_it(tmp_path: Path, name: str) -> None:
    highdicom = pytest.importorskip("highdicom")
    ds = make.enhanced(CASES[name], [5, 2, 0, 1, 4, 3])
    ds.DimensionOrganizationSequence = make.item(DimensionOrganizationUID="1.2.3")
    index = pydicom.Dataset()
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    index.DimensionOrganizationUID = "1.2.3"
    ds.DimensionIndexSequence = pydicom.Sequence([index])
    for groups in ds.PerFrameFunctionalGroupsSequence:
        content = groups.FrameContentSequence[0]
        content.DimensionIndexValues = content.InStackPositionNumber
    path = make.write(ds, tmp_path / "mf")
    theirs = highdicom.imread(path).get_volume()
    assert_alike(read_volume(path), theirs.array, theirs.affine)
