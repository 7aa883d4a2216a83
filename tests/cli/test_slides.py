"""The command line on slides: facts, and pictures with results over them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import dicom_ml as dml
from dicom_ml.cli import main
from tests.objects.segmentation.scenes import segments


@pytest.fixture
def slide(shared_data):
    folder = shared_data / "b_wsi/cmu1_he_pyramid_jpeg"
    return folder, dml.open_slide(folder)


def test_info_lists_levels_and_quantities(slide, tmp_path, capsys):
    folder, opened = slide
    values = np.zeros(opened.levels[2].shape, np.float32)
    values[100:200] = 0.5
    pm = dml.ParametricMap.from_array(values, source=opened, quantity=("2931005", "SCT", "Probability"))
    pm.save(tmp_path / "a.pm.dcm")
    points = np.array([[10, 20], [30, 40]], np.float32)
    nuclei = dml.AnnotationGroup("Nuclei", type="SCT:84640000", graphic="point", points=points, algorithm="manual")
    dml.Annotations.from_groups([nuclei], source=opened).save(tmp_path / "b.ann.dcm")
    assert main(["info", str(folder), str(tmp_path / "a.pm.dcm"), str(tmp_path / "b.ann.dcm"), "--json"]) == 0
    slide_item, map_item, annotations = json.loads(capsys.readouterr().out)["items"]
    assert [level["rows x columns"] for level in slide_item["levels"]][:2] == ["2967 x 2220", "1484 x 1110"]
    assert slide_item["associated images"] == "label, overview"
    assert map_item["quantities"][0]["label"] == "Probability"
    assert annotations["groups"][0]["items"] == "2 points"


def test_render_draws_where_things_lie(slide, tmp_path):
    folder, opened = slide
    rows, columns = opened.levels[0].shape
    mask = np.zeros((rows, columns), np.uint8)
    mask[rows // 4 : rows // 2, columns // 4 : columns // 2] = 1
    seg = dml.Segmentation.from_array(mask, source=opened, segments=segments(1, color="#00ff00"))
    seg.save(tmp_path / "a.seg.dcm")
    common = ["render", str(folder), "--size", "400"]
    assert main([*common, "--output", str(tmp_path / "plain.png")]) == 0
    assert main([*common, "--seg", str(tmp_path / "a.seg.dcm"), "--output", str(tmp_path / "over.png")]) == 0
    plain, over = (np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("plain", "over"))
    changed = np.abs(over - plain).sum(axis=2) > 0
    height, width = changed.shape
    expected = np.zeros_like(changed)
    expected[round(height / 4) : round(height / 2), round(width / 4) : round(width / 2)] = True
    assert (changed & expected).sum() / (changed | expected).sum() > 0.97
    assert main([*common, "--seg", str(tmp_path / "a.seg.dcm"), "--output", str(tmp_path / "page.html")]) == 0
    assert "Part 1" in (tmp_path / "page.html").read_text()
    assert main([*common, "--output", str(tmp_path / "a.gif")]) == 2
