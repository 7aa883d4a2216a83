"""Stand-in slides: never flattering, the same for the same seed, and put together right from real tiles."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import dicom_ml as dml
from recipes.common.fetch import LocalStore, fetch_series
from recipes.pathology.classes import class_of_specimen, preparation_of
from recipes.pathology.standin import plan_generated, plan_real_tiles, write_store


def test_plans_are_mixed_and_depend_on_the_seed_alone():
    planned = plan_generated(40, 3)
    assert planned == plan_generated(40, 3) != plan_generated(40, 4)
    kinds = Counter(one.label for one in planned)
    assert kinds == {"luad": 20, "lscc": 20, "normal": 20}
    tumours = [dict(one.textures) for one in planned if one.label != "normal"]
    assert all(1 in shares for shares in tumours), "normal tissue on every tumour slide"
    assert 5 < sum(len(shares) == 3 for shares in tumours) < 25, "some with the other tumour's texture, too"
    assert sum(len(one.textures) > 1 for one in planned if one.label == "normal") > 0
    assert {one.patient for one in planned if not one.frozen} == {planned[-1].patient}


def test_a_store_is_a_bucket_that_is_fetched_from(tmp_path):
    planned = [one for one in plan_generated(4, 0, size=640) if one.label != "normal"][:3]
    rows = write_store(planned, tmp_path / "store", 0)
    again = write_store(planned, tmp_path / "store", 0)
    assert rows == again
    found = fetch_series(rows, LocalStore(tmp_path / "store"), tmp_path / "here")
    assert all(one.new and not one.problem for one in found)
    for row in rows:
        slide = dml.open_slide(tmp_path / "here" / row.series)
        assert class_of_specimen(slide.source, row.collection).name == row.label
        assert preparation_of(slide.source) == "frozen"
        assert [level.spacing[0] for level in slide.levels] == pytest.approx([0.001, 0.002, 0.004])


def test_slides_of_real_tiles(shared_data, tmp_path):
    """Every tile is where it was put; tiles of a cluster are of one class, and on one slide."""
    from PIL import Image

    folder = shared_data / "c_histo" / "lc25000_lung224"
    if not folder.is_dir():
        pytest.skip("no real tiles")
    planned = plan_real_tiles(folder)
    assert len(planned) == 150 and sum(len(one.tiles) for one in planned) == 750
    assert len({tile for one in planned for tile in one.tiles}) == 750
    assert Counter(one.label for one in planned).keys() == {"normal", "luad", "lscc"}
    few = [next(one for one in planned if one.label == label) for label in ("normal", "luad", "lscc")]
    for one, row in zip(few, write_store(few, tmp_path, 0), strict=True):
        slide = dml.open_slide(tmp_path / row.url.split("/")[3])
        assert class_of_specimen(slide.source, row.collection).name == row.label == one.label
        first = slide.read_region((0, 0), (224, 224))
        with Image.open(one.tiles[0]) as picture:
            truth = np.asarray(picture.convert("RGB"))
        assert np.abs(first.astype(int) - truth).mean() < 6, "but for the second JPEG compression"
