"""RT structure sets as labels: through the same transforms and datasets as segmentations, with equal results."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, Orientationd
from pydicom import Dataset

import dicom_ml as dml
from dicom_ml.data import VolumeDataModule, VolumeDataset, find_series
from dicom_ml.errors import CodeError, EncodingError, GeometryError, SeriesError
from dicom_ml.transforms import LoadDicomd, LoadSegmentation, LoadSegmentationd
from tests.objects.structure_set.contours import on_slice, ring, structure_set
from tests.series import write_series


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A series, its contours, and the same labels as a segmentation."""
    folder = tmp_path_factory.mktemp("rt")
    grid = write_series(folder / "ct")
    volume = dml.read_volume(folder / "ct")
    regions = {
        ("Liver", 4): [on_slice(grid, d, ring((6, 6), 4)) for d in range(2, 8)],
        ("Spleen", 7): [on_slice(grid, d, ring((14, 10), 3)) for d in range(4, 9)],
        ("PTV", 8): [on_slice(grid, d, ring((14, 9), 2)) for d in range(5, 8)],
        ("Isocentre", 9): [("POINT", on_slice(grid, 5, [(3, 3)]))],
    }
    ds = structure_set(regions, frame=volume.source.frame_of_reference_uid)
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = volume.source.series_instance_uid
    study.RTReferencedSeriesSequence = [series]
    ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence = [study]
    ds.save_as(folder / "rt.dcm", enforce_file_format=True)
    found = dml.read_structure_set(folder / "rt.dcm")
    found.to_segmentation(volume, ["Liver", "Spleen"]).save(folder / "seg.dcm")
    return folder, volume, found


def test_a_structure_set_loads_as_a_segmentation_does(case):
    folder, volume, found = case
    both = {}
    for name in ("rt.dcm", "seg.dcm"):
        load = [LoadDicomd("image"), LoadSegmentationd("label", segments=["Liver", "Spleen"])]
        turn = [EnsureChannelFirstd(["image", "label"]), Orientationd(["image", "label"], axcodes="RAS")]
        both[name] = Compose([*load, *turn])({"image": str(folder / "ct"), "label": str(folder / name)})
    label, same = both["rt.dcm"]["label"], both["seg.dcm"]["label"]
    assert torch.equal(label, same) and torch.equal(label.affine, same.affine)
    assert label.shape == both["rt.dcm"]["image"].shape and set(label.unique().tolist()) == {0, 1, 2}
    expected = found.label_map(volume, {"Liver": 1, "Spleen": 2})
    loaded = LoadSegmentation(["Liver", "Spleen"])(folder / "rt.dcm", volume)
    assert np.array_equal(np.asarray(loaded)[0].transpose(2, 1, 0), expected)


def test_numbers_classes_and_channels(case):
    folder, volume, found = case

    def load(*arguments, source=folder / "rt.dcm", **options):
        return np.asarray(LoadSegmentation(*arguments, **options)(source, volume)).transpose(0, 3, 2, 1)

    liver, spleen, ptv = found.channels(volume, ["Liver", "Spleen", "PTV"])
    assert np.array_equal(load([4, 7])[0], liver * 1 + spleen * 2)
    assert np.array_equal(load({"Liver": 3, "Spleen": 5})[0], liver * 3 + spleen * 5)
    with pytest.raises(EncodingError, match="overlap"):
        load()
    assert set(np.unique(load(overlap="last"))) == {0, 4, 7, 8}  # the file's own ROI Numbers
    assert np.array_equal(load(["Spleen", "PTV", "Liver"], kind="channels"), [spleen, ptv, liver])
    assert np.array_equal(load(["Liver"], source=found)[0], liver)
    assert not load(["Kidney"], missing="empty").any()
    with pytest.raises(CodeError, match="no segment is 'Kidney'; there are 4: 'Liver'"):
        load(["Kidney"])
    with pytest.raises(CodeError, match="no segment is 'Isocentre'"):
        load(["Isocentre"])


def test_policies_for_contours(case, tmp_path):
    folder, volume, _ = case
    ds = structure_set({"Liver": [on_slice(volume.grid, d + 0.4, ring((6, 6), 4)) for d in range(2, 8)]},
                       frame=volume.source.frame_of_reference_uid)  # fmt: skip
    ds.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    with pytest.raises(GeometryError, match="between='nearest'"):
        LoadSegmentation(["Liver"])(tmp_path / "rt.dcm", volume)
    load = pickle.loads(pickle.dumps(LoadSegmentation(["Liver"], contours={"between": "nearest"})))
    assert load(tmp_path / "rt.dcm", volume).any()


def test_a_dataset_of_structure_sets(case):
    folder, volume, found = case
    records = [{"image": str(folder / "ct"), "label": str(folder / "rt.dcm")}]
    data = VolumeDataset(records, labels={"segments": ["Liver", "Spleen"]}, monai=False)
    expected = found.label_map(volume, {"Liver": 1, "Spleen": 2})
    assert np.array_equal(data[0]["label"][0].numpy(), expected)
    loader = torch.utils.data.DataLoader(data, num_workers=1)
    assert np.array_equal(next(iter(loader))["label"][0, 0].numpy(), expected)


def test_structure_sets_are_found_in_folders(case):
    folder, volume, found = case
    (record,) = find_series(folder, labels="structure_sets")
    assert record["label"] == [str(folder / "rt.dcm")]
    assert find_series(folder)[0]["label"] == [str(folder / "seg.dcm")]
    with pytest.raises(SeriesError, match="labels are True"):
        find_series(folder, labels="contours")
    options = {"labels": {"segments": ["PTV"], "contours": {}}, "monai": False}
    module = VolumeDataModule(predict=folder, dataset=options)
    module.setup("predict")
    label = module.datasets["predict"][0]["label"][0].numpy()
    assert np.array_equal(label == 1, found.mask("PTV", volume))
