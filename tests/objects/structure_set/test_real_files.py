"""Every real structure set at hand: equal to what pydicom reads, and its masks to what matplotlib says."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from tests.conftest import data_folder
from tests.real_files import named

pytestmark = [pytest.mark.real_data, pytest.mark.filterwarnings("ignore::UserWarning")]

#: File (under the data folder) -> number and name of regions, contours, points.
TABLE = {
    "d_derived/dicom_swift_synthetic/ClinicalInterop/rtstruct_contour.dcm": ({1: "PTV"}, 1, 3),
    "d_derived/pydicom_rt_sr/rtstruct.dcm": ({1: "patient", 2: "Isocenter 1", 3: "Isocenter 2"}, 5, 19),
    "d_derived/rtutils/empty/dummy_rt.dcm": ({i: f"ROI-{i}" for i in (1, 2, 3, 4)}, 12, 2104),
    "d_derived/rtutils/mock_data/invalid_reference_rt.dcm": ({i: f"ROI-{i}" for i in (1, 2, 3, 4)}, 12, 2104),
    "d_derived/rtutils/mock_data/non_existent_reference_rt.dcm": ({i: f"ROI-{i}" for i in (1, 2, 3, 4)}, 12, 2104),
    "d_derived/rtutils/mock_data/rt.dcm": ({1: "ROI-1"}, 2, 12),
    "e_edge/pydicom/test_files/rtstruct.dcm": ({1: "patient", 2: "Isocenter 1", 3: "Isocenter 2"}, 5, 19),
}


@pytest.mark.parametrize("name", TABLE)
def test_it_reads_as_pydicom_reads_it(name):
    path = data_folder() / name
    names, contours, points = TABLE[name]
    found = dml.read_structure_set(path)
    ds = pydicom.dcmread(path, force=True)
    assert {r.number: r.name for r in found.regions} == names
    assert sum(len(r.contours) for r in found.regions) == contours
    assert sum(len(c) for r in found.regions for c in r.contours) == points
    drawn = {int(i.ReferencedROINumber): i for i in ds.ROIContourSequence}
    for item in ds.StructureSetROISequence:
        region = found.region(int(item.ROINumber))
        assert (region.name, region.generation) == (item.ROIName, item.ROIGenerationAlgorithm)
        assert region.frame_of_reference_uid == item.ReferencedFrameOfReferenceUID
        assert region.color == tuple(drawn[region.number].ROIDisplayColor)
        for mine, theirs in zip(region.contours, drawn[region.number].ContourSequence, strict=True):
            assert mine.geometric_type == theirs.ContourGeometricType
            np.testing.assert_array_equal(mine.points.ravel(), np.array(theirs.ContourData, dtype=float))
            images = theirs.get("ContourImageSequence") or []
            assert mine.referenced_instances == tuple(i.ReferencedSOPInstanceUID for i in images)
    for item in ds.get("RTROIObservationsSequence") or []:
        assert found.region(int(item.ReferencedROINumber)).interpreted_type == (item.RTROIInterpretedType or "")


def test_every_structure_set_is_in_the_table():
    found = named(data_folder(), lambda head: head.sop_class == "1.2.840.10008.5.1.4.1.1.481.3", forced=True)
    assert found == set(TABLE)


@pytest.mark.parametrize("file", ["rt.dcm", "invalid_reference_rt.dcm"])
def test_masks_on_their_ct(file):
    """Where a contour runs through centres of pixels, either side may have them."""
    path = pytest.importorskip("matplotlib.path")
    folder = data_folder() / "d_derived/rtutils/mock_data"
    slices = [pydicom.dcmread(folder / f"ct_{i}.dcm") for i in (1, 2)]
    volume = dml.read_volume([folder / "ct_1.dcm", folder / "ct_2.dcm"])
    found = dml.read_structure_set(folder / file)
    for region in found.regions:
        mask = found.mask(region, on=volume, outside="drop")
        assert mask.any()
        for ds in slices:
            d = int(np.rint(volume.grid.to_index(np.array(ds.ImagePositionPatient, float))[0]))
            low, high = (volume.grid.to_index(b)[1:] for b in region.bounds)
            first, last = np.floor(low).astype(int) - 2, np.ceil(high).astype(int) + 3
            assert not np.delete(mask[d], np.s_[first[0] : last[0]], axis=0).any()
            assert not np.delete(mask[d], np.s_[first[1] : last[1]], axis=1).any()
            rows, columns = np.mgrid[first[0] : last[0], first[1] : last[1]]
            spacing = np.array(ds.PixelSpacing, float)
            x = float(ds.ImagePositionPatient[0]) + columns * spacing[1]
            y = float(ds.ImagePositionPatient[1]) + rows * spacing[0]
            centres = np.stack([x.ravel(), y.ravel()], axis=1)
            expected = np.zeros((3, rows.size), bool)
            for contour in region.contours:
                if abs(contour.points[0, 2] - float(ds.ImagePositionPatient[2])) < 0.1:
                    ring = path.Path(contour.points[:, :2])
                    for i, wider in enumerate((-1e-3, 0, 1e-3)):
                        expected[i] ^= ring.contains_points(centres, radius=wider) | (
                            ring.contains_points(centres, radius=-wider) if i == 2 else False
                        )
            sure = (expected == expected[1]).all(axis=0).reshape(rows.shape)
            assert np.array_equal(mask[d][rows, columns][sure], expected[1].reshape(rows.shape)[sure])
            assert (~sure).sum() <= 300
