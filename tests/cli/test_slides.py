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
    assert len(over) > len(plain)  # a legend below
    changed = np.abs(over[: len(plain)] - plain).sum(axis=2) > 0
    height, width = changed.shape
    expected = np.zeros_like(changed)
    expected[round(height / 4) : round(height / 2), round(width / 4) : round(width / 2)] = True
    assert (changed & expected).sum() / (changed | expected).sum() > 0.97
    assert main([*common, "--seg", str(tmp_path / "a.seg.dcm"), "--output", str(tmp_path / "page.html")]) == 0
    assert "Part 1" in (tmp_path / "page.html").read_text()
    assert main([*common, "--output", str(tmp_path / "a.gif")]) == 2


def test_masks_and_pictures(slide, tmp_path):
    folder, opened = slide
    rows, columns = opened.levels[2].shape
    mask = np.zeros((rows, columns), np.uint8)
    mask[100:300, 50:200], mask[400:500, 300:350] = 1, 2
    Image.fromarray(mask).save(tmp_path / "mask.png")
    named = ["--segment", "1=Tumour|SCT:108369006", "--segment", "2=Nucleus|SCT:84640000", "--algorithm", "manual"]
    seg = str(tmp_path / "a.seg.dcm")
    assert main(["convert", str(tmp_path / "mask.png"), seg, "--source", str(folder), *named]) == 0
    np.testing.assert_array_equal(dml.read_segmentation(seg).label_map(on=opened), mask)
    assert main(["convert", seg, str(tmp_path / "back.png")]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "back.png")), mask)
    tifffile = pytest.importorskip("tifffile")
    assert main(["convert", seg, str(tmp_path / "back.ome.tif")]) == 0
    with tifffile.TiffFile(tmp_path / "back.ome.tif") as tiff:
        np.testing.assert_array_equal(tiff.asarray().reshape(rows, columns), mask)
        assert 'PhysicalSizeX="1.996' in tiff.ome_metadata
    values = np.random.default_rng(0).random((rows, columns)).astype(np.float32)
    pm = dml.ParametricMap.from_array(values, source=opened, quantity=("2931005", "SCT", "Probability"))
    pm.save(tmp_path / "a.pm.dcm")
    assert main(["convert", str(tmp_path / "a.pm.dcm"), str(tmp_path / "pm.ome.tif")]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "pm.ome.tif").reshape(rows, columns), values)
    assert main(["convert", seg, str(tmp_path / "a.nii.gz")]) == 2


def test_every_quantity_of_a_map_is_drawn(slide, tmp_path):
    folder, opened = slide
    values = np.zeros((2, *opened.levels[3].shape), np.float32)
    values[0, :100], values[1, 200:300] = 0.5, 0.8
    values[1, 0, 0] = np.nan
    named = [dml.Quantity(("2931005", "SCT", "Probability"), label=name) for name in ("upper", "lower")]
    pm = dml.ParametricMap.from_array(values, source=opened, quantity=named, padding=-1.0)
    path = tmp_path / "a.pm.dcm"
    pm.save(path)
    common = ["render", str(folder), "--size", "200", "--seg", str(path)]
    changed = {}
    assert main([*common[:4], "--output", str(tmp_path / "plain.png")]) == 0
    plain = np.asarray(Image.open(tmp_path / "plain.png")).astype(int)
    for name, more in (("both", []), ("upper", ["--segments", "upper"]), ("lower", ["--segments", "lower"])):
        assert main([*common, *more, "--output", str(tmp_path / f"{name}.png")]) == 0
        picture = np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int)[: len(plain)]
        changed[name] = np.abs(picture - plain).sum(axis=2) > 0
    assert changed["upper"].any() and changed["lower"].any() and not (changed["upper"] & changed["lower"]).any()
    np.testing.assert_array_equal(changed["both"], changed["upper"] | changed["lower"])
