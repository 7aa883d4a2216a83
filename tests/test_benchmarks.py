"""The benchmark harness measures, checks and reports. Nothing here looks at a time: benchmarks are not tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("imagecodecs")

from benchmarks import datasets, judge, page, report  # noqa: F401  datasets registers the generators
from benchmarks.__main__ import main
from benchmarks.cache import Cache
from benchmarks.measure import Outcome, RowResult, Settings, measure
from benchmarks.registry import FLOOR, OURS, Case, Row, Size, WrongResult, load_rows

TINY = Size.parse("tiny")
ROWS = load_rows()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("benchmarks")
    return Settings(TINY, 1, Cache(folder / "cache"), folder, say=lambda text: None)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.floor_text and row.datasets])
def test_the_floor_does_the_job(name: str, settings: Settings) -> None:
    (floor,) = measure(ROWS[name].limited_to({FLOOR}), settings).outcomes
    assert (floor.status, floor.error) == ("ok", "")
    assert floor.runs[0]["checked"]
    assert floor.ratio_wall == floor.ratio_cpu == 1


@pytest.mark.parametrize("name", ["ct-raw", "seg-binary-read-20", "seg-binary-write-20", "seg-labelmap-write-rle"])
def test_this_project_is_measured_and_right(name: str, settings: Settings) -> None:
    own = measure(ROWS[name].limited_to({FLOOR, OURS}), settings).outcomes[-1]
    assert (own.name, own.status, own.error) == (OURS, "ok", "")
    assert {"wall", "cpu", "memory", "memory_total", "checked"} <= own.runs[0].keys()


def test_a_peer_that_is_absent_is_reported(settings: Settings) -> None:
    absent = Settings(**{**vars(settings), "pythons": {"simpleitk": Path("/no/such/python")}, "probed": {}})
    outcome = measure(ROWS["ct-raw"].limited_to({"simpleitk"}), absent).outcomes[0]
    assert outcome.status == "not installed"
    assert "not installed" in report.remark(outcome)


def test_a_changed_voxel_is_a_wrong_result(settings: Settings, tmp_path: Path) -> None:
    folder = settings.cache.get("labels-20", TINY)
    case = Case(TINY, {"labels-20": folder}, tmp_path / "none.dcm")
    labels = case.array("labels-20", "labels.npy")
    judge.compare_labels(labels, labels.copy())
    labels[3, 4, 5] += 1
    with pytest.raises(WrongResult, match="1 of"):
        judge.compare_labels(labels, case.array("labels-20", "labels.npy"))
    with pytest.raises(WrongResult, match="no file"):
        judge.check_labels("labels-20")(case, None)


@pytest.mark.parametrize("count", [20, 104])
def test_label_maps_hold_every_segment_and_fill_a_seventh(count: int, settings: Settings) -> None:
    folder = settings.cache.get(f"labels-{count}", Size.parse("quick"))
    labels = np.load(folder / "labels.npy")
    assert set(np.unique(labels)) == set(range(count + 1))
    assert 0.12 < np.count_nonzero(labels) / labels.size < 0.18
    assert labels.any(axis=(1, 2)).all()


def test_reports_show_every_kind_of_outcome() -> None:
    runs = [{"wall": wall, "cpu": wall, "memory": 1 << 20, "memory_total": 1 << 21} for wall in (1.0, 3.0, 2.0)]
    outcomes = [
        Outcome(FLOOR, runs=runs, ratio_wall=1.0, ratio_cpu=1.0),
        Outcome(OURS, runs=runs, ratio_wall=1.5, ratio_cpu=1.4),
        Outcome("absent", status="not installed", error="no module 'absent'"),
        Outcome("broken", status="failed", error="ValueError: <oops>"),
        Outcome("mistaken", status="wrong", error="off by one", runs=runs, ratio_wall=9.0),
    ]
    result = RowResult(Row("made-up", "A made-up row", "nothing", (), goal=1.8, goal_text="<= 1.8"), outcomes)
    machine = report.environment(Settings(TINY, 3, Cache(Path("unused")), Path("unused")))
    text = report.text([result], machine)
    for shown in ("goal <= 1.8", "not installed", "FAILED: ValueError", "WRONG: off by one", "2.000 s"):
        assert shown in text
    html = page.page([result], machine)
    assert html.count("<svg") == 1
    assert "&lt;oops&gt;" in html and "<oops>" not in html
    record = json.loads(json.dumps(report.to_json([result], machine)))
    assert record["rows"][0]["competitors"][0]["median"]["wall"] == 2.0


@pytest.mark.parametrize("text", ["huge", "10x20", "2x64x64", "16x60x60"])
def test_sizes_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        Size.parse(text)


def test_the_command_lists_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "seg-binary-write-104" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no row is named"):
        main(["--rows", "nothing-*"])
