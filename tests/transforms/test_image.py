"""Images arrive in MONAI's convention, whole or not at all."""

from __future__ import annotations

import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.data.image_writer import ImageWriter
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, Orientationd, SaveImage

import dicom_ml as dml
from dicom_ml.errors import GeometryError, SeriesError
from dicom_ml.source import SourceSeries
from dicom_ml.transforms import DicomReader, LoadDicom, LoadDicomD, LoadDicomd, LoadDicomDict
from tests.series import rotated_grid, write_series

LPS_RAS = np.diag([-1, -1, 1, 1])


def check_same_place(tensor: MetaTensor, volume: dml.Volume) -> None:
    """A voxel (w, h, d) of the tensor is the volume's (d, h, w), at the same point of the patient."""
    w, h, d = 3, 5, 2
    array = tensor.as_tensor().numpy().reshape(tensor.shape[-3:])
    assert array[w, h, d] == volume.array[d, h, w]
    ras = tensor.affine.numpy() @ [w, h, d, 1]
    lps = volume.affine @ [d, h, w, 1]
    np.testing.assert_allclose(LPS_RAS @ ras, lps, atol=1e-9)


def test_loader_gives_monais_convention(case):
    image = LoadDicom()(str(case.series))
    assert image.shape == (1, 16, 20, 12) and image.dtype == torch.float32
    check_same_place(image, case.volume)
    assert image.meta["space"] == "RAS" and image.meta["modality"] == "CT"
    assert image.meta["filename_or_obj"] == str(case.series)
    assert torch.equal(image.meta["original_affine"], image.affine)
    assert image.meta["spatial_shape"].tolist() == [16, 20, 12]
    source = SourceSeries.from_string(image.meta["dicom_source"])
    assert source == case.volume.source and source.grid == case.volume.grid


def test_series_in_folders_written_with_a_slash_do_not_share_a_file(case, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(case.series, tmp_path / name)
    save = SaveImage(output_dir=tmp_path / "out", output_ext=".npy", separate_folder=False, print_log=False, writer=Npy)
    for name in ("one", "two"):
        image = LoadDicom()(f"{tmp_path / name}/")
        assert image.meta["filename_or_obj"] == str(tmp_path / name)
        save(image)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one_trans.npy", "two_trans.npy"]


class Npy(ImageWriter):
    """Writes no more than the name."""

    def set_data_array(self, *_, **__):
        pass

    def set_metadata(self, *_, **__):
        pass

    def write(self, filename, **_):
        open(filename, "wb").close()


def test_reader_gives_the_same(case):
    ours = LoadDicom()(str(case.series))
    flat = LoadImage(reader=DicomReader())(str(case.series))
    assert flat.shape == (16, 20, 12)
    check_same_place(flat, case.volume)
    first = LoadImage(reader=DicomReader(), ensure_channel_first=True)(str(case.series))
    assert torch.equal(first.as_tensor(), ours.as_tensor()) and torch.equal(first.affine, ours.affine)
    assert first.meta["dicom_source"] == ours.meta["dicom_source"]
    piped = Compose([LoadImaged("image", reader=DicomReader()), EnsureChannelFirstd("image")])({"image": case.series})
    assert torch.equal(piped["image"].as_tensor(), ours.as_tensor())


def test_reader_by_name_or_class(case):
    by_name = LoadImage(reader="dicom_ml.transforms.DicomReader", gaps="fill")(str(case.series))
    by_class = LoadImage(reader=DicomReader)(case.series)
    assert torch.equal(by_name.as_tensor(), by_class.as_tensor())


def test_zip_files_and_folder_are_one_series(case, tmp_path):
    files = sorted(case.series.iterdir())
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    reader = LoadImage(reader=DicomReader())
    for source in (case.series, tmp_path / "series.zip", files, [str(f) for f in files[::-1]]):
        assert np.array_equal(reader(source).numpy().transpose(2, 1, 0), case.volume.array)
        assert np.array_equal(LoadDicom()(source).numpy()[0].transpose(2, 1, 0), case.volume.array)


def test_several_series_become_channels(case, tmp_path):
    write_series(tmp_path / "second", name="second")
    image = LoadImage(reader=DicomReader(), ensure_channel_first=True)([case.series, tmp_path / "second"])
    assert image.shape == (2, 16, 20, 12)
    assert np.array_equal(image.numpy()[0].transpose(2, 1, 0), case.volume.array)
    write_series(tmp_path / "elsewhere", rotated_grid(origin=(0, 0, 0)), name="elsewhere")
    with pytest.raises(GeometryError, match="two grids"):
        LoadImage(reader=DicomReader())([case.series, tmp_path / "elsewhere"])


def test_what_the_reader_refuses_no_other_reader_takes(tmp_path):
    """LoadImage falls back on readers that stretch a series over its gaps; the true error has to come out."""
    write_series(tmp_path)
    positions = sorted(tmp_path.iterdir(), key=lambda f: float(pydicom_position(f)))
    positions[5].unlink()
    with pytest.raises(SeriesError, match="missing"):
        LoadImage(reader=DicomReader())(tmp_path)
    assert LoadImage(reader=DicomReader(gaps="fill"))(tmp_path).shape == (16, 20, 12)
    assert LoadDicom(gaps="fill")(tmp_path).meta["filled_slices"] == 1


def pydicom_position(file):
    import pydicom

    return pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2]


def test_other_formats_are_left_to_other_readers(case, tmp_path):
    nib = pytest.importorskip("nibabel")
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4)), tmp_path / "label.nii.gz")
    loaded = LoadImaged(["image", "label"], reader=DicomReader())(
        {"image": case.series, "label": tmp_path / "label.nii.gz"}
    )
    assert loaded["label"].shape == (4, 5, 6) and loaded["image"].shape == (16, 20, 12)


def test_verify_suffix(case, tmp_path):
    reader = DicomReader()
    (tmp_path / "notes.txt").write_text("no image")
    assert reader.verify_suffix(case.series) and reader.verify_suffix(sorted(case.series.iterdir()))
    assert not reader.verify_suffix(tmp_path) and not reader.verify_suffix(tmp_path / "notes.txt")
    assert not reader.verify_suffix("somewhere/image.nii.gz") and reader.verify_suffix("somewhere/image.dcm")


def test_stateless_and_picklable(case):
    reader = pickle.loads(pickle.dumps(DicomReader(gaps="fill")))
    assert reader.policies == {"gaps": "fill"}
    loader = pickle.loads(pickle.dumps(LoadDicomd("image", units="stored")))
    assert loader({"image": case.series})["image"].dtype == torch.int16
    assert "dicom_source" in loader({"image": case.series})["image"].meta


def test_dictionary_forms(case):
    assert LoadDicomD is LoadDicomd and LoadDicomDict is LoadDicomd
    both = LoadDicomd(["image", "again"], allow_missing_keys=True)({"image": case.series, "kept": 1})
    assert both["kept"] == 1 and isinstance(both["image"], MetaTensor)
    with pytest.raises(KeyError):
        LoadDicomd(["image", "again"])({"image": case.series})
    loaded = LoadDicomd("image")(LoadDicomd("image")({"image": case.volume}))
    assert loaded["image"].shape == (1, 16, 20, 12)


def test_orientation_goes_by_the_affine(case):
    turned = Orientationd("image", axcodes="RAS", labels=None)(LoadDicomd("image")({"image": case.series}))["image"]
    rotated = turned.affine.numpy()[:3, :3]
    assert (np.diag(rotated) > 0).all()


def test_without_tracked_meta(case):
    set_track_meta(False)
    try:
        loaded = LoadDicomd("image")({"image": case.series})
        assert not isinstance(loaded["image"], MetaTensor)
        assert loaded["image_meta_dict"]["dicom_source"].startswith("dml1:")
    finally:
        set_track_meta(True)


def test_no_patient_data_in_plain_meta(case):
    meta = LoadDicom()(str(case.series)).meta
    text = " ".join(f"{k}={v}" for k, v in meta.items())
    assert "Doe" not in text and "19500101" not in text
