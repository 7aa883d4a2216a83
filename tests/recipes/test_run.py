from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_ml.errors import EncodingError, FileError, SeriesError
from dicom_ml.view.page import Page
from recipes.common.run import Done, Recipe, Run, Step
from recipes.common.seeds import note_seed, seeds_on_page
from recipes.common.settings import apply_overrides

SETTINGS = {"seed_everything": 3, "recipe": {"data": "toy", "cohort": {"count": 2}, "train": {"rate": 0.1}}}


class Toy:
    """A recipe of three steps that counts how often each is done."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail = False
        self.recipe = Recipe(
            "toy",
            "A toy",
            (
                Step("cohort", self.cohort, settings=("recipe.cohort",)),
                Step("train", self.train, needs=("cohort",), settings=("recipe.train",)),
                Step("report", self.report, needs=("train",)),
            ),
            {"toy": "nothing"},
            lambda folder: [],
        )

    def cohort(self, run: Run) -> Done:
        self.calls.append("cohort")
        path = run.path("cohort", "list.txt")
        path.write_text("x" * run.setting("recipe.cohort.count"))
        return Done([path], {"count": 1})

    def train(self, run: Run) -> Done:
        self.calls.append("train")
        pieces = run.path("train", "pieces.txt")
        with open(pieces, "a") as file:
            file.write("piece\n")
        if self.fail:
            raise KeyboardInterrupt
        return Done([pieces], {"seed": run.seed})

    def report(self, run: Run) -> Done:
        self.calls.append("report")
        return Done()


def run_of(toy: Toy, folder: Path, *overrides: str) -> Run:
    return Run(toy.recipe, folder, apply_overrides(SETTINGS, overrides), quiet=True)


def test_what_is_done_is_not_done_again(tmp_path):
    toy = Toy()
    run_of(toy, tmp_path).do_all()
    run_of(toy, tmp_path).do_all()
    assert toy.calls == ["cohort", "train", "report"]


def test_only_what_depends_on_a_change_is_done_again(tmp_path):
    toy = Toy()
    run_of(toy, tmp_path).do_all()
    run_of(toy, tmp_path, "--recipe.train.rate", "0.2").do_all()
    assert toy.calls == ["cohort", "train", "report", "train"], "what came of training is the same, so the report stays"
    run_of(toy, tmp_path, "--recipe.train.rate=0.2", "--recipe.cohort.count", "3").do_all()
    assert toy.calls[4:] == ["cohort", "train"]
    run_of(toy, tmp_path, "--recipe.train.rate=0.2", "--recipe.cohort.count", "3", "--seed_everything", "4").do_all()
    assert toy.calls[6:] == ["cohort", "train", "report"]


def test_a_killed_step_goes_on_in_its_folder(tmp_path):
    toy = Toy()
    toy.fail = True
    with pytest.raises(KeyboardInterrupt):
        run_of(toy, tmp_path).do_all()
    assert run_of(toy, tmp_path).marker("train").status == "begun"
    toy.fail = False
    run_of(toy, tmp_path).do_all()
    assert (tmp_path / "train" / "pieces.txt").read_text() == "piece\npiece\n"
    assert run_of(toy, tmp_path).marker("train").starts == 2


def test_halves_that_a_killed_step_left_are_removed(tmp_path):
    toy = Toy()
    toy.fail = True
    with pytest.raises(KeyboardInterrupt):
        run_of(toy, tmp_path).do_all()
    half = tmp_path / "train" / "deep" / ".x.seg.dcm.0.part"
    half.parent.mkdir()
    half.write_bytes(b"x")
    series = tmp_path / "train" / ".1.2.3.part"
    series.mkdir()
    toy.fail = False
    run_of(toy, tmp_path).do_all()
    assert not half.exists() and series.is_dir(), "folders that fill up over several starts stay"


def test_a_killed_step_begins_anew_where_its_inputs_changed(tmp_path):
    toy = Toy()
    toy.fail = True
    with pytest.raises(KeyboardInterrupt):
        run_of(toy, tmp_path).do_all()
    toy.fail = False
    run_of(toy, tmp_path, "--recipe.train.rate", "0.3").do_all()
    assert (tmp_path / "train" / "pieces.txt").read_text() == "piece\n"


def test_a_step_whose_files_were_touched_is_done_again(tmp_path):
    toy = Toy()
    run_of(toy, tmp_path).do_all()
    (tmp_path / "cohort" / "list.txt").write_text("other")
    again = run_of(toy, tmp_path)
    assert not again.is_done(toy.recipe.step("cohort"))
    with pytest.raises(SeriesError, match="needs the step 'cohort'"):
        again.do("train", force=True)
    again.do_all()
    assert toy.calls[3:] == ["cohort"]


def test_a_step_says_what_it_needs(tmp_path):
    with pytest.raises(SeriesError, match="dicom-ml recipe cohort toy"):
        run_of(Toy(), tmp_path).do("train")


def test_state_that_is_none_is_an_error(tmp_path):
    toy = Toy()
    run_of(toy, tmp_path).do_all()
    (tmp_path / "state" / "train.json").write_text("{")
    with pytest.raises(FileError, match="remove it"):
        run_of(toy, tmp_path).do_all()


def test_facts_do_not_hold_times(tmp_path):
    toy = Toy()
    run_of(toy, tmp_path / "a").do_all()
    run_of(toy, tmp_path / "b").do_all()
    for name in ("cohort", "train", "report"):
        one, other = (json.loads((tmp_path / x / "state" / f"{name}.json").read_text()) for x in "ab")
        assert (one["input"], one["facts"], one["outputs"]) == (other["input"], other["facts"], other["outputs"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [(["x"], "--NAME VALUE"), (["--a"], "no value"), (["--nothing.b", "1"], "no part 'nothing'")],
)
def test_changes_that_are_none(overrides, said):
    with pytest.raises(EncodingError, match=said):
        apply_overrides(SETTINGS, overrides)


def test_data_that_the_recipe_does_not_know(tmp_path):
    with pytest.raises(EncodingError, match="runs on toy"):
        run_of(Toy(), tmp_path, "--recipe.data", "other")


def test_figures_of_seeds_stand_beside_each_other(tmp_path):
    toy = Toy()
    pages = []
    for seed, area in ((3, 0.7), (10, 0.9), (4, None)):
        run = run_of(toy, tmp_path, f"--seed_everything={seed}")
        page = Page("toy")
        seeds_on_page(page, note_seed(run, {"area": area}))
        pages.append(page.html())
    assert "seeds" not in pages[0] and "2 seeds" in pages[1]
    assert pages[2].index("seed 3") < pages[2].index("seed 4") < pages[2].index("seed 10")
    assert "0.800" in pages[2] and "0.200" in pages[2] and "not defined" in pages[2]
    others = run_of(toy, tmp_path, "--recipe.train.rate=9")
    assert list(note_seed(others, {"area": 0.1})) == [3], "other settings are another table"
