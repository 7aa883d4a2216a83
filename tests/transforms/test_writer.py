"""MONAI's own SaveImage, and the traps that lie in it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor, image_writer
from monai.transforms import Compose, SaveImage, SaveImaged

import dicom_ml as dml
from dicom_ml.errors import EncodingError
from dicom_ml.transforms import (
    DicomSegmentationWriter,
    LoadDicomd,
    LoadSegmentationd,
    register_segmentation_writer,
    series_name_formatter,
)


@pytest.fixture
def item(case):
    return Compose([LoadDicomd("image"), LoadSegmentationd("label", on="image")])(case.record)


@pytest.fixture
def table():
    """MONAI's table of writers, put back afterwards."""
    before = dict(image_writer.SUPPORTED_WRITERS)
    yield image_writer.SUPPORTED_WRITERS
    image_writer.SUPPORTED_WRITERS.clear()
    image_writer.SUPPORTED_WRITERS.update(before)


def saver(folder, segments, *, writer_options=None, **options):
    writer = DicomSegmentationWriter.configured(segments=segments, **(writer_options or {}))
    return SaveImage(folder, "seg", ".dcm", writer=writer, savepath_in_metadict=True, print_log=False, **options)


def test_saves_on_the_source(case, item, segments, tmp_path):
    done = saver(tmp_path, segments)(item["label"])
    path = done.meta["saved_to"]
    assert path.endswith("_seg.dcm") and np.array_equal(case.read(path), case.labels)
    assert pydicom.dcmread(path, stop_before_pixels=True).Modality == "SEG"


def test_labels_are_not_squeezed_into_uint8(case, item, tmp_path):
    many = [dml.Segment(f"S{i}", "SCT:10200004", "SCT:123037004", algorithm="manual", number=i) for i in (1, 300)]
    label = MetaTensor(item["label"].as_tensor().int() * 150, meta=dict(item["label"].meta))
    label[label == 150] = 1
    done = saver(tmp_path, many, writer_options={"kind": "labelmap"}, output_dtype=np.uint8)(label)
    assert np.array_equal(case.read(done.meta["saved_to"]), np.array([0, 1, 300])[case.labels])


def test_probabilities_are_not_squeezed_either(case, item, segments, tmp_path):
    soft = np.random.default_rng(0).random((2, 16, 20, 12)).astype(np.float32)
    pred = MetaTensor(torch.from_numpy(soft), meta=dict(item["label"].meta))
    path = saver(tmp_path, segments, writer_options={"kind": "fractional"})(pred).meta["saved_to"]
    found = dml.read_segmentation(path).channels(on=case.volume)
    assert np.abs(found - soft.transpose(0, 3, 2, 1)).max() <= 0.5 / 255 + 1e-6
    with pytest.raises(RuntimeError, match="scale="):
        saver(tmp_path, segments, scale=255)(pred)


def test_the_true_error_is_quoted_and_no_file_left(case, item, segments, tmp_path):
    pred = MetaTensor(item["label"].as_tensor() + 7, meta=dict(item["label"].meta))
    with pytest.raises(RuntimeError, match="EncodingError"):
        saver(tmp_path, segments)(pred)
    assert not [f for _, _, files in os.walk(tmp_path) for f in files]
    lost = MetaTensor(item["label"].as_tensor(), affine=item["label"].affine)
    with pytest.raises(RuntimeError, match="which series it was made from"):
        saver(tmp_path, segments)(lost)


def test_resample_of_save_image(case, item, segments, tmp_path):
    from monai.transforms import Spacing

    coarse = Spacing((1.1, 1.1, 2.0), mode="nearest")(item["label"])
    with pytest.raises(RuntimeError, match="does not lie on its source's voxels"):
        saver(tmp_path, segments)(coarse)
    path = saver(tmp_path, segments, resample=True)(coarse).meta["saved_to"]
    assert (case.read(path) == case.labels).mean() > 0.93


def test_registering_leaves_other_formats_alone(segments):
    """In a process of its own: MONAI's table of writers must be untouched before."""
    code = """
import numpy as np, torch
from monai.data import image_writer
from dicom_ml.transforms import DicomSegmentationWriter, register_segmentation_writer
assert not image_writer.SUPPORTED_WRITERS
register_segmentation_writer(segments=[{"label": "L", "type": "SCT:10200004", "category": "SCT:123037004",
                                        "algorithm": "manual"}])
print([w.__name__ for w in image_writer.resolve_writer("nii.gz")][0])
print([getattr(w, "func", w).__name__ for w in image_writer.resolve_writer("dcm")])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert out[0] == "NibabelWriter" and out[1] == "['DicomSegmentationWriter']"


def test_registered_writer_is_the_only_one(case, item, segments, tmp_path, table):
    """Another DICOM writer behind it would write a secondary capture where this one refuses."""
    register_segmentation_writer(segments=segments)
    assert len(table["dcm"]) == 1
    save = SaveImaged("label", output_dir=tmp_path, output_ext=".dcm", savepath_in_metadict=True, print_log=False)
    assert np.array_equal(case.read(save(item)["label"].meta["saved_to"]), case.labels)


def test_names_by_series(case, other, segments, tmp_path):
    """Folders named by UIDs that agree up to their last dot get one name from SaveImage."""
    load = Compose([LoadDicomd("image"), LoadSegmentationd("label", on="image")])
    paths = []
    for one in (case, other):
        label = load(one.record)["label"]
        label.meta["filename_or_obj"] = f"/data/1.2.3.{one.series.name[-1]}"
        saver(tmp_path / "plain", segments)(label)
        named = saver(tmp_path / "named", segments, output_name_formatter=series_name_formatter)(label)
        paths.append(named.meta["saved_to"])
    assert len([f for _, _, files in os.walk(tmp_path / "plain") for f in files]) == 1  # the trap
    for one, path in zip((case, other), paths, strict=True):
        assert os.path.basename(path).startswith(one.volume.source.series_instance_uid.replace(".", "_"))
        assert np.array_equal(one.read(path), one.labels)


def test_channels_that_are_no_first_axis(case, item, segments, tmp_path):
    writer = DicomSegmentationWriter(segments)
    writer.set_data_array(item["label"][0].as_tensor(), channel_dim=None)
    writer.set_metadata(item["label"].meta)
    writer.write(tmp_path / "a.dcm", verbose=False)
    assert np.array_equal(case.read(tmp_path / "a.dcm"), case.labels)
    assert writer.written.written and writer.written.path == tmp_path / "a.dcm"


def test_needs_segments_and_pickles(segments):
    with pytest.raises(EncodingError, match="configured"):
        DicomSegmentationWriter()
    made = pickle.loads(pickle.dumps(DicomSegmentationWriter.configured(segments=segments)))()
    assert made.output.segments == tuple(segments)
