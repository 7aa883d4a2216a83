"""The real cohort, as far as it goes without a network."""

from __future__ import annotations

import pytest

pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")
pytest.importorskip("jsonargparse")

from dicom_ml.errors import SeriesError
from recipes.common.manifest import read_manifest
from recipes.common.run import Run
from recipes.common.settings import config_file, load_settings
from recipes.pathology.recipe import RECIPE


def small(folder, *more: str) -> Run:
    return Run(RECIPE, folder, load_settings(config_file("pathology", "small"), more), size="small", quiet=True)


def test_few_frozen_slides_are_chosen_from_the_manifest(tmp_path):
    run = small(tmp_path)
    run.do("cohort")
    rows = read_manifest(tmp_path / "cohort" / "manifest.csv")
    assert 60 < len(rows) < 250
    assert {row.preparation for row in rows} == {"frozen", ""}
    assert all(row.collection.startswith("cptac") for row in rows if not row.preparation)
    assert {row.split for row in rows} == {"train", "val", "test", "external"}
    assert {row.label for row in rows} == {"normal", "luad", "lscc"}
    patients = {(row.collection, row.split, row.patient) for row in rows}
    assert len(patients) == 6 * (2 * 3 + 2)
    assert max(row.size for row in rows) <= 250_000_000


def test_what_the_store_lacks_is_said(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    run = small(tmp_path / "out", f"--recipe.fetch.store={store}", "--recipe.cohort.patients=1")
    run.do("cohort")
    with pytest.raises(SeriesError, match="none of"):
        run.do("fetch")
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "not fetched: FileError" in log and "TCGA" not in log


def test_without_its_client_idc_is_not_fetched_from(tmp_path, monkeypatch):
    import sys

    from dicom_ml.errors import MissingPackageError

    monkeypatch.setitem(sys.modules, "idc_index", None)
    run = small(tmp_path, "--recipe.cohort.patients=1")
    run.do("cohort")
    with pytest.raises(MissingPackageError, match="pip install idc-index"):
        run.do("fetch")


def test_the_client_of_idc_is_asked_for_each_series(tmp_path, monkeypatch):
    """What a client with the interface of idc-index is asked, and that its failure is told."""
    import sys
    from types import SimpleNamespace

    asked = []

    class IDCClient:
        def download_dicom_series(self, seriesInstanceUID, downloadDir, **options):
            asked.append((seriesInstanceUID, options))
            raise RuntimeError("no network")

    monkeypatch.setitem(sys.modules, "idc_index", SimpleNamespace(IDCClient=IDCClient))
    run = small(tmp_path, "--recipe.cohort.patients=1")
    run.do("cohort")
    with pytest.raises(SeriesError, match="none of"):
        run.do("fetch")
    rows = read_manifest(tmp_path / "cohort" / "manifest.csv")
    assert {series for series, _ in asked} == {row.series for row in rows}
    assert all(options["dirTemplate"] is None for _, options in asked), "files come straight into the folder"
