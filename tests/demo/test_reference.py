"""References are placed by their own affine, and those of another place are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.demo.reference import dice, read_reference
from dicom_ml.phantom import axial_affine, write_ct_series

nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel")

SHAPE = (8, 20, 24)


@pytest.fixture
def volume(tmp_path: Path) -> dml.Volume:
    affine = axial_affine(SHAPE, (3.0, 1.5, 1.5), (0.0, 0.0, 0.0))
    write_ct_series(tmp_path / "ct", np.zeros(SHAPE, np.float32), affine, "reference tests")
    return dml.read_volume(tmp_path / "ct")


@pytest.fixture
def labels() -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    out[2:6, 4:16, 3:9], out[2:6, 4:16, 14:20], out[0, 0, 0] = 12, 11, 5
    return out


def test_dice() -> None:
    a = np.array([True, True, False, False])
    assert dice(a, a) == 1.0 and dice(a, ~a) == 0.0 and dice(a, np.array([True] * 4)) == pytest.approx(2 / 3)
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1.0


def test_flipped_nifti_with_a_label_table(volume: dml.Volume, labels: np.ndarray, tmp_path: Path) -> None:
    image = dml.Volume(labels, volume.affine).flip((0, 1)).to_nibabel()
    table = "".join(f'<Label Key="{k}"><![CDATA[{n}]]></Label>' for k, n in
                    [(5, "liver"), (11, "lung_lower_lobe_left"), (12, "lung_upper_lobe_right")])  # fmt: skip
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", table.encode()))
    nibabel.save(image, tmp_path / "l.nii.gz")
    found = read_reference(tmp_path / "l.nii.gz", volume)
    assert found.same_lattice and set(found.masks) == {"Lungs", "Right lung", "Left lung"}
    np.testing.assert_array_equal(found.masks["Lungs"], labels > 5)
    np.testing.assert_array_equal(found.masks["Right lung"], labels == 12)
    chosen = read_reference(tmp_path / "l.nii.gz", volume, [5])
    np.testing.assert_array_equal(chosen.masks["Lungs"], labels == 5)


def test_nrrd(volume: dml.Volume, labels: np.ndarray, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="NRRD needs SimpleITK")
    sitk.WriteImage(dml.Volume(labels, volume.affine).to_sitk(), str(tmp_path / "l.nrrd"))
    np.testing.assert_array_equal(read_reference(tmp_path / "l.nrrd", volume).masks["Lungs"], labels > 0)


def test_segmentation(volume: dml.Volume, labels: np.ndarray, tmp_path: Path) -> None:
    def segment(number: int, label: str, kind: str, modifiers: tuple[str, ...] = ()) -> dml.Segment:
        return dml.Segment(label, kind, "SCT:123037004", "manual", modifiers, number=number)

    segments = [
        segment(5, "Liver", "SCT:10200004"),
        segment(11, "L", "SCT:39607008", ("SCT:7771000",)),
        segment(12, "Right lung", "SCT:3341006"),
    ]
    path = tmp_path / "l.dcm"
    dml.Segmentation.from_array(labels, source=volume, segments=segments, kind="labelmap").save(path)
    found = read_reference(path, volume)
    np.testing.assert_array_equal(found.masks["Lungs"], labels > 5)
    np.testing.assert_array_equal(found.masks["Left lung"], labels == 11)
    np.testing.assert_array_equal(found.masks["Right lung"], labels == 12)


def test_another_place_is_refused(volume: dml.Volume, labels: np.ndarray, tmp_path: Path) -> None:
    affine = np.array(volume.affine)
    affine[2, 3] += 500
    nibabel.save(dml.Volume(labels, affine).to_nibabel(), tmp_path / "far.nii.gz")
    with pytest.raises(dml.GeometryError, match="lies beside"):
        read_reference(tmp_path / "far.nii.gz", volume)
    with pytest.raises(dml.FileError, match="does not exist"):
        read_reference(tmp_path / "none.nii.gz", volume)
    (tmp_path / "bad.nii").write_bytes(b"not an image")
    with pytest.raises(dml.FileError, match="NIfTI"):
        read_reference(tmp_path / "bad.nii", volume)
