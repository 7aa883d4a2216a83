"""The transforms can be named in the configuration of a MONAI bundle."""

from __future__ import annotations

import numpy as np
from monai.bundle import ConfigParser


def test_pipeline_from_configuration(case, tmp_path):
    config = {
        "device": "cpu",
        "pre": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "dicom_ml.transforms.LoadDicomd", "keys": "image", "gaps": "error"},
                {"_target_": "dicom_ml.transforms.LoadSegmentationd", "keys": "label", "segments": ["Liver", "Spleen"]},
                {"_target_": "Orientationd", "keys": ["image", "label"], "axcodes": "RAS", "labels": None},
            ],
        },
        "post": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Invertd", "keys": "label", "transform": "@pre", "orig_keys": "image"},
                {
                    "_target_": "dicom_ml.transforms.SaveSegmentationd",
                    "keys": "label",
                    "output_dir": str(tmp_path),
                    "kind": "labelmap",
                    "algorithm": {"name": "BundleNet", "version": "0.1"},
                    "segments": [
                        {"label": "Liver", "type": "SCT:10200004", "category": "SCT:123037004"},
                        {"label": "Spleen", "type": "SCT:78961009", "category": "SCT:123037004"},
                    ],
                },
            ],
        },
    }
    parser = ConfigParser(config)
    parser.parse()
    item = parser.get_parsed_content("post")(parser.get_parsed_content("pre")(case.record))
    assert np.array_equal(case.read(item["label"].meta["saved_to"]), case.labels)


def test_reader_from_configuration(case):
    parser = ConfigParser(
        {"load": {"_target_": "LoadImaged", "keys": "image", "reader": {"_target_": "dicom_ml.transforms.DicomReader"}}}
    )
    parser.parse()
    assert parser.get_parsed_content("load")({"image": str(case.series)})["image"].shape == (16, 20, 12)
