"""The pathology recipe from end to end, as small as it goes; what it writes, and that a killed run loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")
pytest.importorskip("jsonargparse")

import dicom_ml as dml
from dicom_ml.cli import main
from recipes.common.manifest import read_manifest
from recipes.common.run import Run
from recipes.common.settings import config_file, load_settings
from recipes.pathology.classes import CLASSES, QUESTION
from recipes.pathology.data import slides_of
from recipes.pathology.evaluation import slide_results
from recipes.pathology.learning import predicted_slides, slide_report, tile_pixels
from recipes.pathology.model import TileClassifier
from recipes.pathology.recipe import RECIPE
from tests import judges
from tests.recipes.runs import ROOT, copied, kill_while_it_predicts, run_bundle

TINY = [
    "--recipe.cohort.patients=9",
    "--recipe.cohort.size=640",
    "--recipe.cohort.workers=0",
    "--recipe.evaluate.bootstraps=50",
    "--recipe.predict.untrained=1",
    "--trainer.max_epochs=2",
    "--data.init_args.batch_size=4",
    "--model.init_args.network.init_args.block_config=[1, 1]",
]


def tiny(folder: Path, *more: str) -> Run:
    return Run(RECIPE, folder, load_settings(config_file("pathology", "stand-in"), [*TINY, *more]), quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Run:
    """A run that was done, by the command line."""
    folder = tmp_path_factory.mktemp("pathology")
    assert main(["recipe", "run", "pathology", "--output", str(folder), *TINY]) == 0
    return tiny(folder)


def test_all_steps_are_done_and_known_as_such(done, capsys):
    assert main(["recipe", "status", "pathology", "--output", str(done.output), *TINY]) == 0
    assert capsys.readouterr().out.count("done in") == 7
    assert main(["recipe", "list"]) == 0
    assert "pathology" in capsys.readouterr().out


def test_labels_come_from_the_specimen_by_way_of_a_report(done):
    slides = slides_of(done.output)
    rows = {row.series: row for row in read_manifest(done.path("cohort", "manifest.csv"))}
    (left,) = done.facts("labels")["left_out"].items()
    assert left[0] == "the tissue is ffpe, wanted is frozen"
    assert len(slides) == len(rows) - left[1]
    for one in slides:
        row = rows[Path(one["image"]).name]
        assert CLASSES[one["label"]].name == row.label and one["part"] == row.split


def test_what_is_written_agrees(done):
    results = slide_results(done)
    assert {one.series for one in results} == {
        Path(one["image"]).name for one in slides_of(done.output, ("test", "external"))
    }
    for one in results:
        total = one.tiles.sum(axis=0)
        assert one.seen.any() and total[one.seen] == pytest.approx(1, abs=0.01)
        assert (one.classes > 0).tolist() == one.seen.tolist(), "a class wherever there are probabilities"
        best = np.sort(one.tiles, axis=0)
        clear = one.seen & (best[-1] - best[-2] > 0.01)
        assert (one.tiles.argmax(axis=0)[clear] == one.classes[clear] - 1).all()
        assert one.predicted == int(one.scores.argmax())
        means = one.tiles[:, one.seen].mean(axis=1)
        assert one.scores == pytest.approx(means / means.sum(), abs=0.005)


def test_regions_lie_where_the_tiles_do(done):
    """The area that a report states, and encloses, is that of the tiles of the slide's tumour."""
    seen = 0
    for one in slide_results(done):
        report = dml.read_report(done.path("predict", "reports", f"{one.series}.sr.dcm"))
        slide = dml.open_slide(done.path("fetch", one.series))
        seg = dml.read_segmentation(predicted_slides(done)[one.series])
        assert tile_pixels(slide, seg) == pytest.approx((256, 256)), "128 pixels of 0.002 mm"
        regions = [group for group in report.groups if group.region is not None]
        tiles = int((one.classes == one.predicted + 1).sum()) if one.predicted else 0
        stated = sum(group.value("SCT:42798000") for group in regions)
        assert stated == pytest.approx(tiles * 0.256**2, rel=1e-3)
        into = np.linalg.inv(slide.levels[0].affine)
        for group in regions:
            assert group.region.space == "mm"
            points = np.c_[group.region.points, np.ones(len(group.region.points))]
            row, column = (into @ points.T)[1:3] + 0.5
            assert row.min() > -0.1 and column.min() > -0.1
            assert row.max() < slide.levels[0].shape[0] + 0.1 and column.max() < slide.levels[0].shape[1] + 0.1
            inside = outline_mask(row / 256, column / 256, one.classes.shape)
            own = one.classes == one.predicted + 1
            assert (inside & own).sum() * 0.256**2 == pytest.approx(group.value("SCT:42798000"), rel=1e-3)
            seen += 1
    assert seen == sum(one.regions for one in slide_results(done))


def test_report_of_known_probabilities(done):
    """Two parts of tumour, of which one touches the slide's edge: two outlines where they are, and the mean."""
    series, file = next(iter(predicted_slides(done).items()))
    slide, seg = dml.open_slide(done.path("fetch", series)), dml.read_segmentation(file)
    grid = np.zeros((3, *seg.grid.shape[1:]))
    grid += np.array([0.4, 0.2, 0.4])[:, None, None] + np.array([0.05, 0, -0.05])[:, None, None]
    tumour = np.zeros(grid.shape[1:], dtype=bool)
    tumour[0, 0] = tumour[1:, 1:] = True
    grid[:, tumour] = np.array([0.02, 0.08, 0.9])[:, None]
    made = known(slide, seg, grid)
    report = slide_report(slide, made, dml.Algorithm("Known", "1"))
    first, *regions = report.groups
    assert first.evaluation(QUESTION).value == CLASSES[2].code
    areas = sorted(group.value("SCT:42798000") / 0.256**2 for group in regions)
    assert areas == pytest.approx([1, (grid[2] > 0.5).sum() - 1])
    assert all(group.value("DCM:111012") == pytest.approx(90, abs=0.3) for group in regions)
    assert np.asarray(regions[0].region.points).min() == 0


def known(slide, seg, grid):
    """A fractional segmentation of these probabilities, on the same tiles."""
    segments = [one.segment(dml.Algorithm("Known", "1")) for one in CLASSES]
    return dml.Segmentation.from_array(grid, source=slide, segments=segments, kind="fractional", affine=seg.grid.affine)


def outline_mask(row, column, shape):
    """Which tiles have their middle within an outline."""
    from matplotlib.path import Path as Outline

    middles = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1)
    return Outline(np.c_[row, column]).contains_points(middles.reshape(-1, 2)).reshape(shape)


def test_judges(done):
    series, file = next(iter(predicted_slides(done).items()))
    written = [
        file,
        predicted_slides(done, "classes")[series],
        done.path("predict", "reports", f"{series}.sr.dcm"),
        done.path("labels", f"{series}.sr.dcm"),
    ]
    for path in written:
        assert judges.dciodvfy(path) == [], path.name
        assert dml.validate(path) == [], path.name
    for path in written[2:]:
        assert judges.highdicom_read_sr(path) is not None
    seg = judges.highdicom_read_seg(written[1])
    assert [seg.get_segment_description(n).segment_label for n in (1, 2, 3)] == [one.label for one in CLASSES]
    assert seg.get_segment_description(1).algorithm_identification[0].AlgorithmName == "dicom_ml lung tiles"


def test_algorithm_says_what_the_card_says(done):
    card = json.loads(done.path("train", "model-card.json").read_text())
    report = dml.read_report(next(done.path("predict", "reports").glob("*.sr.dcm")))
    algorithm = report.algorithm or report.groups[0].algorithm
    assert (algorithm.name, algorithm.version) == (card["name"], card["version"])
    seg = dml.read_segmentation(next(iter(predicted_slides(done).values())))
    said = seg.segments[0].algorithm
    assert (said.name, said.version) == (card["name"], card["version"])
    assert "seed=0" in (said.parameters or "") and "128 px at 0.002 mm" in said.parameters
    assert done.path("report", "model-card.md").read_text().startswith("# dicom_ml lung tiles")


def test_page_says_that_it_is_a_stand_in(done):
    page = done.path("report.html").read_text()
    assert "These figures test the software only" in page
    assert page.count("<img") >= 4 and "random weights" in page and "10.1016/j.cmpb.2023.107839" in page


def test_log_names_no_patient(done):
    said = done.path("log.txt").read_text()
    assert "STANDIN" not in said and "2.25." not in said and str(done.output) not in said


def test_bundle_predicts_as_the_recipe_does(done, tmp_path):
    series, file = next(iter(predicted_slides(done).items()))
    run_bundle(done, slide=str(done.path("fetch", series)), output=str(tmp_path / "p.seg.dcm"))
    own, recipes = (dml.read_segmentation(path) for path in (tmp_path / "p.seg.dcm", file))
    shape = recipes.grid.shape[1:]
    assert own.grid.shape == recipes.grid.shape
    one, other = (seg.read_region((0, 0), shape, channels=True) for seg in (own, recipes))
    assert np.abs(one - other).max() <= 0.006


def test_training_that_was_stopped_ends_as_one_that_was_not(done, tmp_path, monkeypatch):
    """The same weights, and a learning curve of all epochs."""
    copied(done, tmp_path / "whole", {"train", "predict"})
    copied(done, tmp_path / "parts", {"train", "predict"})
    whole = tiny(tmp_path / "whole", "--trainer.max_epochs=3")
    whole.do("train")

    def stop(self) -> None:
        if self.current_epoch == 2:
            raise RuntimeError("the power went out")

    with monkeypatch.context() as patch:
        patch.setattr(TileClassifier, "on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="power"):
            tiny(tmp_path / "parts", "--trainer.max_epochs=3").do("train")
    parts = tiny(tmp_path / "parts", "--trainer.max_epochs=3")
    parts.do("train")
    assert parts.marker("train").starts == 2
    assert parts.facts("train") == whole.facts("train")
    assert parts.path("train", "curve.csv").read_text() == whole.path("train", "curve.csv").read_text()


@pytest.mark.ddp
def test_two_processes_train_and_predict_together(done, tmp_path):
    """The settings alone make it distributed; the first process does the rest, and every slide is there once."""
    folder = tmp_path / "two"
    copied(done, folder, {"train", "predict"})
    arguments = ["recipe", "run", "pathology", "--output", str(folder), *TINY]
    arguments += ["--until", "predict", "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("LOCAL_RANK", None)
    ended = subprocess.run(
        [sys.executable, "-m", "dicom_ml.cli", *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    run = tiny(folder, *arguments[-3:])
    assert all(run.is_done(step) for step in RECIPE.steps if step.name not in ("evaluate", "report"))
    assert predicted_slides(run).keys() == predicted_slides(done).keys()
    assert len(list(folder.glob("predict/probabilities/*.dcm"))) == done.facts("predict")["slides"]
    assert run.path("log.txt").read_text().count("train: begins") == 1


def test_same_seed_same_figures(done, tmp_path):
    again = tiny(tmp_path)
    again.do_all()
    assert again.facts("evaluate") == done.facts("evaluate")
    assert again.facts("train") == done.facts("train")
    other = tiny(tmp_path, "--seed_everything=1")
    kept = [step.name for step in RECIPE.steps if other.is_done(step)]
    assert kept == ["cohort", "fetch", "labels"], "another seed is another training on the same slides"


def test_prediction_that_was_killed_goes_on(done, tmp_path):
    """SIGKILL in the middle of predict, then the same command again: each object once, none missing, all the same."""
    folder = tmp_path / "killed"
    copied(done, folder, {"predict"})
    arguments = ["recipe", "run", "pathology", "--output", str(folder), *TINY]

    def has_begun():  # the first tiles wait on disk, and some more
        waiting = list(folder.glob("predict/probabilities/.*"))
        if len(list(folder.glob("predict/probabilities/*"))) + len(waiting) > 1:
            time.sleep(0.2)
            return True
        return False

    kill_while_it_predicts(arguments, TileClassifier, has_begun, 300)
    assert tiny(folder).marker("predict").status == "begun"
    assert len(list(folder.glob("predict/probabilities/*.dcm"))) < done.facts("predict")["slides"]
    assert main(arguments) == 0
    finished = tiny(folder)
    assert finished.marker("predict").starts == 2
    for what in ("probabilities", "classes", "reports"):
        own = {path.name: path for path in finished.path("predict", what).glob("*.dcm")}
        whole = {path.name: path for path in done.path("predict", what).glob("*.dcm")}
        assert own.keys() == whole.keys() and len(own) == done.facts("predict")["slides"]
        assert not [path for path in finished.path("predict", what).iterdir() if path.name.startswith(".")]
        for name, path in own.items():
            one, other = pydicom.dcmread(path), pydicom.dcmread(whole[name])
            assert one.SOPInstanceUID == other.SOPInstanceUID
            assert one.get("PixelData") == other.get("PixelData")
    assert finished.facts("evaluate") == done.facts("evaluate")
