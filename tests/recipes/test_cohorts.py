"""The committed cohorts: what they hold, and that they come out of the index of IDC as they are, byte for byte."""

from __future__ import annotations

import importlib
import json
from collections import Counter

import pytest

from dicom_ml.errors import FileError
from recipes import load_recipe
from recipes.common.manifest import Row, chosen_rows, read_manifest, write_manifest


def manifest_of(name: str):
    return importlib.import_module(f"recipes.{name}.cohort").MANIFEST


@pytest.mark.parametrize("name", ["pathology", "radiology"])
def test_manifests_come_out_of_the_index_byte_for_byte(name, tmp_path):
    pytest.importorskip("idc_index_data")
    pytest.importorskip("pyarrow")
    from recipes.common.idc import idc_version

    committed = manifest_of(name)
    said = json.loads(committed.with_name(committed.name.split(".")[0] + ".json").read_text())
    if said["index"] != idc_version()["index"]:
        pytest.skip(f"the manifest is of {said['index']}, installed is {idc_version()['index']}")
    build = importlib.import_module(f"recipes.{name}.cohort").build_manifest
    for path in build(tmp_path):
        assert path.read_bytes() == committed.with_name(path.name).read_bytes(), path.name


def test_slides_are_split_by_patient_and_stratified():
    rows = read_manifest(manifest_of("pathology"))
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row.patient, set()).add(row.split)
    assert all(len(own) == 1 for own in parts.values()), "no patient is in two parts"
    for collection in ("tcga_luad", "tcga_lusc"):
        own = {row.patient: row.split for row in rows if row.collection == collection}
        shares = Counter(own.values())
        assert shares["train"] / len(own) == pytest.approx(0.7, abs=0.01)
        assert shares["val"] / len(own) == pytest.approx(0.15, abs=0.01)
        normal = {r.patient for r in rows if r.collection == collection and r.label == "normal"}
        with_normal = Counter(own[p] for p in normal)
        assert with_normal["test"] / len(normal) == pytest.approx(0.15, abs=0.015)
    assert {row.split for row in rows if row.collection.startswith("cptac")} == {"external"}
    frozen = [r for r in rows if r.preparation == "frozen"]
    assert Counter(r.label for r in frozen)["normal"] == 591
    assert all(row.url.startswith("s3://") and row.instances and row.size for row in rows)


def test_nodules_have_both_objects_of_every_mark():
    rows = read_manifest(manifest_of("radiology"))
    marks = {
        role: {(r.study, r.group, r.annotation) for r in rows if r.role == role} for role in ("segmentation", "report")
    }
    assert marks["segmentation"] == marks["report"] and len(marks["report"]) == 6859
    assert len({r.patient for r in rows if r.role == "report"}) == 875
    assert len({(r.patient, r.group) for r in rows if r.role == "segmentation"}) >= 2600
    folds = {r.patient: r.fold for r in rows}
    sizes = Counter(folds.values())
    assert set(sizes) == set(range(10)) and max(sizes.values()) - min(sizes.values()) <= 1
    excluded = {r.patient for r in rows if r.excluded}
    assert "LIDC-IDRI-0262" in excluded and "LIDC-IDRI-0001" not in excluded
    studies = {r.study for r in rows if r.role == "image"}
    assert {r.study for r in rows if r.role != "image"} <= studies


def test_a_changed_manifest_is_noticed(tmp_path):
    rows = [Row("c", "p", "1.2", "1.3", "slide", size=5), Row("c", "p", "1.2", "1.1", "slide", excluded="bad, very")]
    path, beside = write_manifest(tmp_path / "x.csv.gz", rows, {"idc_version": "v1"})
    assert read_manifest(path) == sorted(rows)
    assert json.loads(beside.read_text())["series"] == {"excluded": 1, "slide": 1}
    write_manifest(path, rows[:1])
    with pytest.raises(FileError, match="build it anew"):
        read_manifest(path)
    (tmp_path / "y.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match="no manifest"):
        read_manifest(tmp_path / "y.csv")


def test_few_patients_are_chosen_by_hash_whatever_the_order():
    rows = read_manifest(manifest_of("pathology"))
    few = chosen_rows(rows, patients=4, most_bytes=300_000_000)
    assert few == sorted(chosen_rows(rows[::-1], patients=4, most_bytes=300_000_000))
    held = {
        (r.collection, r.split): {x.patient for x in few if (x.collection, x.split) == (r.collection, r.split)}
        for r in few
    }
    assert {len(v) for v in held.values()} == {4} and len(held) == 8
    assert max(r.size for r in few) <= 300_000_000


def test_recipes_say_who_they_follow():
    from recipes import recipe_names

    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.modelled_on and recipe.data and recipe.title
