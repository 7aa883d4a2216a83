"""Masks on the image's own voxels, in and out."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate, set_track_meta
from monai.transforms import (
    Compose,
    CropForegroundd,
    DivisiblePadd,
    EnsureChannelFirstd,
    Flipd,
    Invertd,
    Orientationd,
    RandFlipd,
    RandRotate90d,
    Spacingd,
    SpatialCropd,
)

import dicom_ml as dml
from dicom_ml.errors import CodeError, DicomMLWarning, EncodingError, GeometryError, SeriesError
from dicom_ml.geometry import to_monai
from dicom_ml.source import SourceSeries
from dicom_ml.transforms import (
    LoadDicom,
    LoadDicomd,
    LoadSegmentation,
    LoadSegmentationd,
    LoadSegmentationDict,
    SaveSegmentation,
    SaveSegmentationd,
    SaveSegmentationDict,
)
from tests.series import blobs

BOTH = ["image", "label"]


def loading(*more) -> Compose:
    first = [LoadDicomd("image"), LoadSegmentationd("label", on="image"), EnsureChannelFirstd(BOTH)]
    return Compose([*first, *more])


def as_pred(case, array) -> MetaTensor:
    """An array (C, D, H, W) on the source's grid as a prediction."""
    image = LoadDicom()(str(case.series))
    moved, _ = to_monai(np.ascontiguousarray(array), np.eye(4))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(moved)), meta=dict(image.meta))


# ---------------------------------------------------------------------- loading
def test_label_lies_on_the_image(case):
    item = loading()(case.record)
    assert item["label"].shape == item["image"].shape == (1, 16, 20, 12)
    assert torch.equal(item["label"].affine, item["image"].affine)
    assert np.array_equal(item["label"].numpy()[0].transpose(2, 1, 0), case.labels)
    assert item["label"].meta["dicom_source"] == item["image"].meta["dicom_source"]


def test_sparse_file_fills_the_whole_image(case):
    assert (case.labels == 0).all(axis=(1, 2)).any()  # empty slices, which the file leaves out
    frames = pydicom.dcmread(case.seg, stop_before_pixels=True).NumberOfFrames
    assert frames < 2 * case.grid.shape[0]
    assert LoadSegmentation()(case.seg, case.volume).shape == (1, 16, 20, 12)


def test_channels_classes_and_values(case):
    image = LoadDicom()(str(case.series))
    channels = LoadSegmentation(kind="channels")(case.seg, image)
    assert channels.shape == (2, 16, 20, 12) and channels.dtype == torch.bool
    turned = LoadSegmentation(["SCT:78961009", "Liver"])(case.seg, image).numpy()[0].transpose(2, 1, 0)
    assert np.array_equal(turned, np.array([0, 2, 1])[case.labels])
    only = LoadSegmentation(["Spleen"])(case.seg, image).numpy()[0].transpose(2, 1, 0)
    assert np.array_equal(only, case.labels == 2)
    named = LoadSegmentation({"Spleen": 300})(case.seg, image)
    assert named.dtype == torch.int32 and set(named.unique().tolist()) == {0, 300}
    both = LoadSegmentation({"Liver": 1, "SCT:78961009": 1})(case.seg, image).numpy()[0].transpose(2, 1, 0)
    assert np.array_equal(both, case.labels > 0)


def test_missing_classes(case):
    image = LoadDicom()(str(case.series))
    with pytest.raises(CodeError, match=r"Kidney.*Liver.*missing='empty'"):
        LoadSegmentation(["Liver", "Kidney"])(case.seg, image)
    empty = LoadSegmentation(["Kidney", "Liver"], missing="empty")(case.seg, image)
    assert set(empty.unique().tolist()) == {0, 2}
    channels = LoadSegmentation(["Kidney", "Liver"], "channels", missing="empty")(case.seg, image)
    assert not channels[0].any() and channels[1].any()


def test_several_files_and_overlap(case, segments, tmp_path):
    moved = np.roll(case.labels == 1, 1, axis=1)
    dml.Segmentation.from_array(moved[None], source=case.volume, segments=[segments[0]]).save(tmp_path / "b.dcm")
    files = [case.seg, tmp_path / "b.dcm"]
    merged = LoadSegmentation(["Liver"])(files, case.volume).numpy()[0].transpose(2, 1, 0)
    assert np.array_equal(merged, (case.labels == 1) | moved)
    with pytest.raises(EncodingError, match="segments="):
        LoadSegmentation()(files, case.volume)
    assert (moved & (case.labels == 2)).any()
    with pytest.raises(EncodingError, match="overlap"):
        LoadSegmentation(["Liver", "Spleen"])(files, case.volume)
    first = LoadSegmentation(["Spleen", "Liver"], overlap="first")(files, case.volume).numpy()[0].transpose(2, 1, 0)
    assert np.array_equal(first == 1, case.labels == 2)
    channels = LoadSegmentation(["Spleen", "Liver"], "channels")(files, case.volume)
    assert (channels[0] & channels[1]).any()
    assert LoadSegmentation(kind="channels")(files, case.volume).shape[0] == 3


def test_order_of_overlapping_classes_is_the_callers(case, segments, tmp_path):
    liver, spleen = case.labels == 1, np.roll(case.labels == 1, 1, axis=1)
    dml.Segmentation.from_array(np.stack([liver, spleen]), source=case.volume, segments=segments).save(tmp_path / "o")
    for order, winner in ((["Liver", "Spleen"], liver), (["Spleen", "Liver"], spleen)):
        labels = LoadSegmentation(order, overlap="first")(tmp_path / "o", case.volume).numpy()[0].transpose(2, 1, 0)
        assert np.array_equal(labels == 1, winner)


def test_image_must_be_untouched(case):
    after = Compose([LoadDicomd("image"), Flipd("image", 0), LoadSegmentationd("label", on="image")])
    with pytest.raises(RuntimeError) as caught:
        after(case.record)
    assert isinstance(caught.value.__cause__, GeometryError) and "directly after LoadDicomd" in str(
        caught.value.__cause__
    )
    with pytest.raises(EncodingError, match="which series"):
        LoadSegmentation()(case.seg, torch.zeros(1, 16, 20, 12))


# ---------------------------------------------------------------------- there and back
def there_and_back(case, segments, folder, *transforms, **options):
    pre = loading(*transforms)
    item = pre(case.record)
    item["pred"] = item["label"].clone()  # a model that is always right
    post = Compose(
        [
            Invertd("pred", transform=pre, orig_keys="image", nearest_interp=True),
            SaveSegmentationd("pred", segments=segments, output_dir=folder, **options),
        ]
    )
    return post(item)["pred"].meta["saved_to"]


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [Orientationd(BOTH, axcodes="RAS", labels=None)],
        [Orientationd(BOTH, axcodes="PIL", labels=None), CropForegroundd(BOTH, source_key="label", margin=1)],
        [Flipd(BOTH, spatial_axis=(0, 2)), DivisiblePadd(BOTH, k=16)],
        [RandFlipd(BOTH, prob=1, spatial_axis=1), RandRotate90d(BOTH, prob=1, spatial_axes=(0, 2))],
        # finer than the source along every axis: each source voxel finds its own value again
        [Orientationd(BOTH, axcodes="RAS", labels=None), Spacingd(BOTH, (0.5, 0.5, 0.5), mode=("bilinear", "nearest"))],
    ],
    ids=["plain", "oriented", "cropped", "padded", "random", "finer"],
)
def test_to_the_voxel(case, segments, tmp_path, transforms, kind):
    path = there_and_back(case, segments, tmp_path, *transforms, kind=kind)
    assert np.array_equal(case.read(path), case.labels)


def test_the_whole_pipeline_lands_on_the_source(case, segments, tmp_path):
    path = there_and_back(
        case,
        segments,
        tmp_path,
        Orientationd(BOTH, axcodes="RAS", labels=None),
        Spacingd(BOTH, (1.1, 1.1, 2.0), mode=("bilinear", "nearest")),
        CropForegroundd(BOTH, source_key="label", margin=2),
        RandFlipd(BOTH, prob=1, spatial_axis=0),
    )
    found = case.read(path)  # raises where the grids differ
    for label in (1, 2):
        a, b = found == label, case.labels == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.75
    # a shift by one voxel along any axis fits worse: no half-voxel error hides in the tolerance
    best = (found == case.labels).sum()
    for axis in range(3):
        for step in (-1, 1):
            assert (np.roll(found, step, axis) == case.labels).sum() < best
    ds = pydicom.dcmread(path)
    assert ds.FrameOfReferenceUID == case.volume.source.frame_of_reference_uid
    held = {i.ReferencedSOPInstanceUID for i in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert held == set(case.volume.source.sop_instance_uids)


@pytest.mark.parametrize(
    "transforms",
    [
        [Orientationd(BOTH, axcodes="LAI", labels=None)],
        [Orientationd(BOTH, axcodes="RAS", labels=None), CropForegroundd(BOTH, source_key="label")],
        [DivisiblePadd(BOTH, k=16), Flipd(BOTH, spatial_axis=2)],
        [SpatialCropd(BOTH, roi_start=(0, 0, 5), roi_end=(16, 20, 6))],  # one slice
    ],
    ids=["oriented", "cropped", "padded", "slice"],
)
def test_same_voxels_need_no_inversion(case, segments, tmp_path, transforms):
    """What only permutes, flips, crops or pads is put on the source's grid by its affine alone."""
    item = loading(*transforms)(case.record)
    saved = SaveSegmentation(segments, tmp_path)(item["label"]).meta["saved_to"]
    wanted = case.labels
    if isinstance(transforms[0], SpatialCropd):
        wanted = np.where(np.arange(12)[:, None, None] == 5, case.labels, 0)
    assert np.array_equal(case.read(saved), wanted)


def test_batch_of_two_sources(case, other, segments, tmp_path):
    pre = loading(Orientationd(BOTH, axcodes="RAS", labels=None), RandFlipd(BOTH, prob=0.5, spatial_axis=0))
    batch = list_data_collate([pre(case.record), pre(other.record)])
    batch["pred"] = batch["label"] * 1.0  # what a network returns
    with pytest.raises(GeometryError, match="decollate_batch"):
        SaveSegmentationd("pred", segments=segments, output_dir=tmp_path)(batch)
    post = Compose([Invertd("pred", transform=pre, orig_keys="image"), SaveSegmentationd("pred", segments, tmp_path)])
    done = [post(item)["pred"].meta["saved_to"] for item in decollate_batch(batch)]
    for one, path in zip((case, other), done, strict=True):
        assert np.array_equal(one.read(path), one.labels)
        assert pydicom.dcmread(path).PatientID == one.volume.source.attributes["PatientID"]["Value"][0]


# ---------------------------------------------------------------------- what a prediction may be
def test_forms_of_predictions(case, segments, tmp_path):
    channels = np.stack([case.labels == 1, case.labels == 2])
    background = np.concatenate([(case.labels == 0)[None], channels])
    for name, array in {
        "uint8": case.labels[None],
        "int64": case.labels[None].astype(np.int64),
        "float": case.labels[None].astype(np.float32),
        "bool channels": channels,
        "float channels": channels.astype(np.float32),
        "one-hot with background": background.astype(np.float32),
    }.items():
        for kind in ("binary", "labelmap"):
            saved = SaveSegmentation(segments, tmp_path / name, kind)(as_pred(case, array)).meta["saved_to"]
            assert np.array_equal(case.read(saved), case.labels), (name, kind)
    half = as_pred(case, case.labels[None]).to(torch.bfloat16)
    assert np.array_equal(case.read(SaveSegmentation(segments, tmp_path)(half).meta["saved_to"]), case.labels)


def test_labels_beyond_255(case, tmp_path):
    many = [
        dml.Segment(f"S{i}", "SCT:10200004", "SCT:123037004", algorithm="manual", number=i) for i in (5, 7, 299, 300)
    ]
    labels = np.array([0, 5, 300])[case.labels]
    saved = SaveSegmentation(many, tmp_path, "labelmap")(as_pred(case, labels[None])).meta["saved_to"]
    assert np.array_equal(case.read(saved), labels)
    again = LoadSegmentation()(saved, case.volume)
    assert set(again.unique().tolist()) == {0, 5, 300}


def test_probabilities(case, segments, tmp_path):
    rng = np.random.default_rng(1)
    soft = rng.random((2, *case.grid.shape)).astype(np.float32)
    saved = SaveSegmentation(segments, tmp_path, "fractional")(as_pred(case, soft)).meta["saved_to"]
    assert np.abs(dml.read_segmentation(saved).channels(on=case.volume) - soft).max() <= 0.5 / 255 + 1e-6
    with pytest.raises(EncodingError, match="sigmoid or softmax"):
        SaveSegmentation(segments, tmp_path, "fractional")(as_pred(case, soft * 9 - 4))
    with pytest.raises(EncodingError, match="argmax or a threshold"):
        SaveSegmentation(segments, tmp_path)(as_pred(case, soft))
    fractions = LoadSegmentation(kind="channels")(saved, case.volume)
    assert fractions.dtype == torch.float32


@pytest.mark.parametrize("channels", [4, 5])
def test_channels_that_do_not_fit(case, segments, tmp_path, channels):
    with pytest.raises(EncodingError, match=f"{channels} channels, 2 segments"):
        SaveSegmentation(segments, tmp_path)(as_pred(case, np.zeros((channels, *case.grid.shape), bool)))


def test_other_lattice(case, segments, tmp_path):
    item = loading(Spacingd(BOTH, (1.1, 1.1, 2.0), mode=("bilinear", "nearest")))(case.record)
    with pytest.raises(GeometryError, match=r"Invertd.*on_mismatch"):
        SaveSegmentation(segments, tmp_path)(item["label"])
    assert not list(tmp_path.iterdir())
    own = SaveSegmentation(segments, tmp_path / "own", on_mismatch="own-grid")(item["label"]).meta["saved_to"]
    seg = dml.read_segmentation(own)
    assert sorted(np.round(seg.grid.spacing, 6)) == [1.1, 1.1, 2.0]
    assert (seg.label_map(on=case.volume, resample=True) == case.labels).mean() > 0.93
    resampled = SaveSegmentation(segments, tmp_path / "re", on_mismatch="resample")(item["label"]).meta["saved_to"]
    assert (case.read(resampled) == case.labels).mean() > 0.93


def test_what_lies_outside_is_cut_off_with_a_warning(case, segments, tmp_path):
    item = loading(DivisiblePadd(BOTH, k=16))(case.record)
    item["label"][...] = 1
    with pytest.warns(DicomMLWarning, match="cut off"):
        SaveSegmentation(segments, tmp_path)(item["label"])


def test_wrong_shapes_and_lost_meta(case, segments, tmp_path):
    save = SaveSegmentation(segments, tmp_path)
    pred = as_pred(case, case.labels[None])
    with pytest.raises(GeometryError, match="single slice keeps its axis"):
        save(pred[0])
    with pytest.raises(GeometryError, match="no affine"):
        save(pred.as_tensor())
    with pytest.raises(EncodingError, match="which series"):
        save(MetaTensor(pred.as_tensor(), affine=pred.affine))
    save(pred.as_tensor(), source=pred.meta["dicom_source"], affine=pred.affine)
    lent = SaveSegmentationd("pred", segments, tmp_path / "lent")
    done = lent({"image": LoadDicom()(case.series), "pred": pred.as_tensor()})
    assert np.array_equal(case.read(done["pred_meta_dict"]["saved_to"]), case.labels)
    with pytest.raises(GeometryError, match="cannot lend"):
        lent({"image": LoadDicom()(case.series), "pred": pred.as_tensor()[:, :5]})


def test_without_tracked_meta(case, segments, tmp_path):
    set_track_meta(False)
    try:
        item = loading_plain(case)
        done = SaveSegmentationd("label", segments, tmp_path)(item)
    finally:
        set_track_meta(True)
    assert np.array_equal(case.read(done["label_meta_dict"]["saved_to"]), case.labels)


def loading_plain(case):
    return LoadSegmentationd("label", on="image")(LoadDicomd("image")(case.record))


def test_source_that_cannot_be_one(case, segments, tmp_path):
    pred = as_pred(case, case.labels[None])
    source = SourceSeries.from_string(pred.meta["dicom_source"])
    object.__setattr__(source, "problems", ("SOPInstanceUID is missing in 3 files",))
    with pytest.raises(SeriesError, match="SOPInstanceUID is missing"):
        SaveSegmentation(segments, tmp_path)(pred, source=source)


# ---------------------------------------------------------------------- files
def test_the_same_result_has_the_same_uids_and_name(case, segments, tmp_path):
    pred = as_pred(case, case.labels[None])
    uids = []
    for folder, options in (
        ("a", {}),
        ("b", {}),
        ("c", {"model": "other weights"}),
        ("d", {"kind": "labelmap"}),
        ("e", {"series_description": "else"}),
    ):
        saved = SaveSegmentation(segments, tmp_path / folder, **options)(pred.clone()).meta
        ds = pydicom.dcmread(saved["saved_to"], stop_before_pixels=True)
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == saved["saved_sop_instance_uid"]
        uids.append((ds.SOPInstanceUID, ds.SeriesInstanceUID, os.path.basename(saved["saved_to"])))
    assert uids[0] == uids[1]
    assert len({u[0] for u in uids}) == len({u[1] for u in uids}) == len({u[2] for u in uids}) == 4


def test_names_hold_uids_only(case, segments, tmp_path):
    pred = as_pred(case, case.labels[None])
    name = os.path.basename(SaveSegmentation(segments, tmp_path)(pred).meta["saved_to"])
    assert name.startswith(case.volume.source.series_instance_uid) and name.endswith(".seg.dcm")
    source = SourceSeries.from_string(pred.meta["dicom_source"])
    object.__setattr__(source, "series_instance_uid", "../../etc/pass wd")
    path = SaveSegmentation(segments, tmp_path / "deep").output.path(source, tmp_path / "deep")
    assert path.parent == tmp_path / "deep" and " " not in path.name
    saved = SaveSegmentation(segments, tmp_path, filename="{study}/{algorithm}-{sop}.dcm")(pred).meta["saved_to"]
    assert os.path.relpath(saved, tmp_path).startswith(f"{case.volume.source.study_instance_uid}/TestNet-2.25.")
    for bad in ("{patient}.dcm", "../{series}.dcm", "/tmp/{series}.dcm"):
        with pytest.raises(EncodingError, match="filename"):
            SaveSegmentation(segments, tmp_path, filename=bad)


def test_a_failed_write_leaves_nothing_and_raises(case, segments, tmp_path, monkeypatch):
    import dicom_ml.objects.segmentation.made as module

    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    save = SaveSegmentation(segments, tmp_path)
    before = save(as_pred(case, case.labels[None])).meta["saved_to"]
    content = Path(before).read_bytes()
    monkeypatch.setattr(module, "write_frames", broken)
    with pytest.raises(OSError, match="No space"):
        save(as_pred(case, case.labels[None]))
    assert os.listdir(tmp_path) == [os.path.basename(before)]
    assert Path(before).read_bytes() == content


def test_segments_from_configuration(case, tmp_path):
    described = [
        {"label": "Liver", "type": "SCT:10200004", "category": "SCT:123037004", "color": [200, 100, 50]},
        {"label": "Spleen", "type": "SCT:78961009", "category": "SCT:123037004", "algorithm": "manual"},
    ]
    (tmp_path / "segments.json").write_text(json.dumps(described))
    made_by = {"name": "TestNet", "version": "3"}
    for segments in (described, str(tmp_path / "segments.json")):
        saved = SaveSegmentation(segments, tmp_path, algorithm=made_by)(as_pred(case, case.labels[None])).meta[
            "saved_to"
        ]
        read = dml.read_segmentation(saved).segments
        assert read[0].algorithm.version == "3" and read[1].algorithm.is_manual
    with pytest.raises(EncodingError, match="does not say how it was made"):
        SaveSegmentation(described, tmp_path)
    for wrong in ([], None, [1]):
        with pytest.raises(EncodingError, match="segments"):
            SaveSegmentation(wrong, tmp_path)


def test_two_predictions_of_one_image_are_two_results(case, segments, tmp_path):
    item = {"a": as_pred(case, case.labels[None]), "b": as_pred(case, (case.labels > 0)[None].astype(np.uint8))}
    done = SaveSegmentationd(["a", "b"], segments, tmp_path)(item)
    assert done["a"].meta["saved_to"] != done["b"].meta["saved_to"]
    assert np.array_equal(case.read(done["a"].meta["saved_to"]), case.labels)


def test_aliases_and_pickling(segments, tmp_path):
    assert LoadSegmentationDict is LoadSegmentationd and SaveSegmentationDict is SaveSegmentationd
    pickle.loads(pickle.dumps(SaveSegmentationd("pred", segments, tmp_path)))
    pickle.loads(pickle.dumps(LoadSegmentationd("label", segments=["Liver"])))


@pytest.mark.parametrize("compression", ["rle", "jpeg-ls", "deflate"])
def test_compression(case, segments, tmp_path, compression):
    kind = "binary" if compression == "deflate" else "labelmap"
    saved = SaveSegmentation(segments, tmp_path, kind, compression=compression)(as_pred(case, case.labels[None]))
    assert np.array_equal(case.read(saved.meta["saved_to"]), case.labels)


def test_seed_of_blobs_is_asymmetric(case):
    """A flip that goes unnoticed would make every test above worthless."""
    for axis in range(3):
        assert not np.array_equal(np.flip(case.labels, axis), case.labels)
    assert not np.array_equal(blobs(case.grid, seed=1), case.labels)
