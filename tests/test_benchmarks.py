"""The benchmark harness measures, checks and reports. Nothing here looks at a time: benchmarks are not tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("imagecodecs")

pytest.importorskip("PIL")

from benchmarks import (
    datasets,  # noqa: F401  registers the generators
    growth,
    judge,
    page,
    page_cache,
    readme,
    report,
    slide_judge,
)
from benchmarks.__main__ import main
from benchmarks.cache import Cache
from benchmarks.measure import Outcome, RowResult, Settings, measure
from benchmarks.processes import Hatcheries
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Row, Size, WrongResult, load_rows

TINY = Size.parse("tiny")
ROWS = load_rows()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("benchmarks")
    return Settings(TINY, 1, Cache(folder / "cache"), folder, say=lambda text: None)


@pytest.mark.parametrize(
    "name",
    [name for name, row in ROWS.items() if row.listed and row.datasets and row.competitors[0].name == FLOOR],
)
def test_the_floor_does_the_job(name: str, settings: Settings) -> None:
    (floor,) = measure(ROWS[name].limited_to({FLOOR}), settings).outcomes
    if floor.status == "not installed":
        pytest.skip(f"the floor needs {floor.error}")
    assert (floor.status, floor.error) == ("ok", "")
    assert floor.runs[0]["checked"]
    assert floor.ratio_wall == floor.ratio_cpu == 1


@pytest.mark.parametrize(
    "name",
    [
        "ct-raw",
        "seg-binary-read-20",
        "seg-binary-write-20",
        "seg-labelmap-write-rle",
        "sm-tiles-2",
        "sm-patches",
        "sm-open",
        "seg-tiled-write",
        "seg-tiled-stream",
        "seg-tiled-read",
        "sr-write",
        "sr-read",
        "ann-write",
        "ann-read",
        "transcode-htj2k",
    ],
)
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


def test_a_changed_pixel_of_a_slide_is_a_wrong_result(settings: Settings, tmp_path: Path) -> None:
    folders = {name: settings.cache.get(name, TINY) for name in ("slide", "slide-labels")}
    case = Case(TINY, folders, tmp_path / "none.dcm")
    layout = slide_judge.layout(case)
    pixels = case.array("slide", "tiles.npy")
    record = slide_judge.TileRecord(case)
    for index, which in enumerate(layout.which().tolist()):
        record.add(index, pixels[which].copy())
    slide_judge.check_tiles(case, record)
    record.lines[5][7] ^= 64
    with pytest.raises(WrongResult, match="tile 5 is off by 64"):
        slide_judge.check_tiles(case, record)
    patch = layout.whole(pixels)[30:542, 60:572]
    slide_judge.check_patches(case, {(30, 60): patch})
    with pytest.raises(WrongResult, match="30, 61"):
        slide_judge.check_patches(case, {(30, 61): patch})
    labels = layout.whole(case.array("slide-labels", "tiles.npy"))
    slide_judge.compare_labels(case, labels)
    labels[-1, -1] += 1
    with pytest.raises(WrongResult, match="row 512, column 512"):
        slide_judge.compare_labels(case, labels)
    with pytest.raises(WrongResult, match="no file"):
        slide_judge.check_seg(case, None)


def test_a_changed_finding_is_a_wrong_result(settings: Settings, tmp_path: Path) -> None:
    from benchmarks import finding_judge, plain_sr

    folders = {name: settings.cache.get(name, TINY) for name in ("findings", "report")}
    case = Case(TINY, folders, tmp_path / "a.dcm")
    found, images = finding_judge.truth(case), case.info("findings")["images"]
    check = finding_judge.check_file(evidence=False)
    with pytest.raises(WrongResult, match="no file"):
        check(case, None)
    case.output.write_bytes(plain_sr.report_bytes(found, images))
    check(case, None)
    with pytest.raises(WrongResult, match="not listed as evidence"):
        finding_judge.check_file()(case, None)
    for change, what in (
        ({"area": 1.0}, "measures"),
        ({"slice": (found[3]["slice"] + 1) % 16}, "image"),
        ({"points": found[2]["points"]}, "outline"),
        ({"answer": (found[3]["answer"] + 1) % 3}, "evaluated"),
        ({"uid": "1.2"}, "missing"),
    ):
        case.output.write_bytes(plain_sr.report_bytes([*found[:3], {**found[3], **change}, *found[4:]], images))
        with pytest.raises(WrongResult, match=what):
            check(case, None)
    # what the readers are given is what pydicom reads
    rows: list[finding_judge.Row] = []
    finding_judge.find_groups(pydicom.dcmread(case.path("report", "report.dcm")), rows)
    finding_judge.check_groups(case, rows)


def test_a_changed_outline_is_a_wrong_result(settings: Settings, tmp_path: Path) -> None:
    from benchmarks import outlines

    case = Case(TINY, {n: settings.cache.get(n, TINY) for n in ("outlines", "annotations")}, tmp_path / "a.dcm")
    points, areas = (case.array("outlines", f"{name}.npy") for name in ("points", "areas"))
    starts = np.arange(0, len(points), outlines.CORNERS)
    outlines.check_arrays(case, (points, starts, areas))
    case.output.write_bytes(case.path("annotations", "nuclei.ann.dcm").read_bytes())
    outlines.check_file(case, None)
    moved = points.copy()
    moved[70, 1] += 1
    for wrong in ((moved, starts, areas), (points, starts + 1, areas), (points, starts, areas[::-1])):
        with pytest.raises(WrongResult):
            outlines.check_arrays(case, wrong)


def test_the_items_of_sparse_frames_are_what_pydicom_reads(settings: Settings) -> None:
    folder = settings.cache.get("slide-seg", TINY)
    ds = pydicom.dcmread(folder / "tiled.seg.dcm")
    frames = np.load(folder / "frames.npy")
    assert len(ds.PerFrameFunctionalGroupsSequence) == ds.NumberOfFrames == len(frames)
    for group, (number, row, column) in zip(ds.PerFrameFunctionalGroupsSequence, frames.tolist(), strict=True):
        place = group.PlanePositionSlideSequence[0]
        assert group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        assert group.FrameContentSequence[0].DimensionIndexValues == [number, column + 1, row + 1]
        assert place.RowPositionInTotalImagePixelMatrix == 256 * row + 1
        assert place.ColumnPositionInTotalImagePixelMatrix == 256 * column + 1
        assert float(place.XOffsetInSlideCoordinateSystem) == pytest.approx(20 - 0.128 * row)
        assert float(place.YOffsetInSlideCoordinateSystem) == pytest.approx(40 - 0.128 * column)


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
    in_seconds = replace(result.row, goal=0.5, goal_text="< 0.5 s", goal_unit="seconds")
    assert "class='unmet'>, here 2.000 s" in page.page([RowResult(in_seconds, outcomes)], machine)
    record = json.loads(json.dumps(report.to_json([result], machine)))
    assert record["rows"][0]["competitors"][0]["median"]["wall"] == 2.0


@pytest.mark.parametrize("name", ["train-tiles-htj2k"])  # starting torch takes a while
def test_an_epoch_of_training_is_measured_and_right(name: str, settings: Settings) -> None:
    pytest.importorskip("lightning")
    # without a worker, which would be one more process that starts
    (own,) = measure(ROWS[name].limited_to({"dicom_ml-here"}), settings).outcomes
    assert (own.status, own.error) == ("ok", "")
    assert own.runs[0]["per_second"] > 0 and own.runs[0]["checked"]
    assert "a second" in report.remark(own)


def test_growth_is_drawn_with_its_exponent() -> None:
    names = {name for curve in growth.CURVES for name, _, _ in curve.steps}
    assert names <= ROWS.keys()
    full = Size.parse("full")
    for curve in growth.CURVES:
        counts = [curve.count(name, growth.sized(full, slices, plane)) for name, slices, plane in curve.steps]
        assert counts == sorted(set(counts)) and len(counts) == 3 and counts[-1] > 4 * counts[0]
    curve = growth.CURVES[0]
    points = []
    for count, wall in ((10, 0.1), (30, 0.9), (100, 10.0)):
        run = {"wall": wall, "cpu": wall, "memory": 0, "memory_total": 0}
        points.append(growth.Point(count, RowResult(ROWS["ct-raw"], [Outcome(OURS, runs=[run])])))
    assert growth.slope(growth.series(points)[OURS]) == pytest.approx(2.0)
    assert growth.slope([(5, 1.0)]) is None
    machine = report.environment(Settings(TINY, 3, Cache(Path("unused")), Path("unused")))
    html = page.page([], machine, [(curve, points)])
    assert html.count("<polyline") == 1 and "dicom_ml 2.00" in html and "100 slices" in html
    assert "exponent 2.00" in growth.text([(curve, points)])
    assert json.loads(json.dumps(growth.to_json([(curve, points)])))[0]["lines"][OURS]["points"][0] == [10, 0.1]


def test_growth_is_measured(settings: Settings) -> None:
    rows = {"sr-read": ROWS["sr-read"]}
    ours = {"sr-read": rows["sr-read"].limited_to({FLOOR, OURS})}
    at = replace(settings, size=Size(48, 64, 64))
    *_, ((curve, points),) = growth.grow(ours, at)
    assert curve.axis == "groups" and [len(line) for line in growth.series(points).values()] == [3, 3]
    # what is known is not measured again
    known = growth.from_json(json.loads(json.dumps(growth.to_json([(curve, points)]))), ROWS)
    *_, ((_, again),) = growth.grow(ours, replace(at, cache=Cache(Path("unused"))), known)
    assert growth.series(again) == growth.series(points)


def test_quick_forks_and_sees_what_is_wrong_or_breaks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hatcheries() as shared:
        quick = replace(settings, hatcheries=shared, quick=True, probed={})
        for name in ("sr-read", "seg-binary-write-20"):
            outcomes = measure(ROWS[name].limited_to({FLOOR, OURS}), quick).outcomes
            assert [(one.status, one.error) for one in outcomes] == [("ok", ""), ("ok", "")]
            assert all(one.runs[0]["checked"] for one in outcomes)
        # the truth of another size
        row = ROWS["sr-read"].limited_to({OURS})
        wrong = Case(TINY, {n: settings.cache.get(n, TINY) for n in row.datasets}, Path("unused"))
        other = settings.cache.get("findings", Size(48, 64, 64))
        case = replace(wrong, folders={**wrong.folders, "findings": other}).to_json()
        request = {"action": "run", "row": "sr-read", "competitor": OURS, "case": case, "warm_up": None}
        answer = shared.ask(quick.python(OURS), ("dicom_ml",), request, 60)
        assert answer["status"] == "wrong" and "groups" in answer["error"]
        answer = shared.ask(quick.python(OURS), ("dicom_ml",), {**request, "row": "none"}, 60)
        assert answer["status"] == "failed"
        assert shared.ask(quick.python(OURS), ("dicom_ml",), request, 0.001)["status"] == "too slow"


def test_a_run_goes_on_where_it_was(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, page_file = tmp_path / "new" / "tiny.json", tmp_path / "new" / "tiny.html"
    common = ["--only", OURS, "--size", "tiny", "--runs", "1", "--cache", str(settings.cache.root)]
    common += ["--output", str(kept.parent), "--resume"]
    assert main(["--rows", "sr-read", *common]) == 0
    first = json.loads(kept.read_text())
    assert main(["--rows", "sr-read,sr-write", *common]) == 0
    again = json.loads(kept.read_text())
    assert [row["name"] for row in again["rows"]] == ["sr-write", "sr-read"]
    assert again["rows"][1] == first["rows"][0]  # not measured again
    assert "sr-read" in page_file.read_text() and "sr-read" in capsys.readouterr().out
    first["environment"]["processor"] = "another"
    kept.write_text(json.dumps(first))
    with pytest.raises(SystemExit, match="another processor"):
        main(["--rows", "sr-write", *common])


def test_slow_peers_run_once_and_what_takes_too_long_is_ended(settings: Settings) -> None:
    row = ROWS["ct-raw"].limited_to({FLOOR, OURS, "pydicom"})
    outcomes = measure(row, replace(settings, runs=2, slow=0.0)).outcomes
    assert [len(one.runs) for one in outcomes] == [2, 2, 1]
    ended = measure(row.limited_to({"pydicom"}), replace(settings, timeout=0.01)).outcomes
    assert [(one.status, one.runs) for one in ended] == [("too slow", [])]
    assert len(measure(replace(row, long=True), replace(settings, runs=9, row_seconds=0.0)).outcomes[0].runs) == 1


def test_the_readme_gets_its_table_from_what_was_measured(tmp_path: Path) -> None:
    def outcome(name: str, wall: float, **more: object) -> Outcome:
        run = {"wall": wall, "cpu": wall, "memory": 300, "memory_total": 400, "checked": True, **more}
        return Outcome(name, runs=[run] * 3, ratio_wall=wall, ratio_cpu=wall)

    machine = report.environment(Settings(TINY, 3, Cache(Path("unused")), Path("unused")))
    measured = "2024-01-02T03:04:05+00:00"
    row = replace(ROWS["ct-raw"], competitors=(Competitor(OURS, lambda case: lambda: None),))
    broken = Outcome("broken", status="wrong", error="off", runs=outcome("x", 0.1).runs, ratio_wall=0.1)
    results = [
        RowResult(
            row,
            [outcome(FLOOR, 1.0), outcome(OURS, 1.5), outcome("slow", 29.4), outcome("good", 2.0), broken],
            "16x64x64",
            measured,
            200,
        ),
        RowResult(
            ROWS["train-ct-raw"], [outcome(OURS, 1.0, per_second=12.34), outcome("dicom_ml-cold", 1.0, per_second=4)]
        ),
    ]
    kept, target = tmp_path / "a.json", tmp_path / "README.md"
    kept.write_text(json.dumps(report.to_json(results, machine)))
    target.write_text(f"before\n{readme.BEGIN}\nstale\n{readme.END}\nafter\n")
    assert readme.main([str(target), str(kept)]) == 0
    text = target.read_text()
    assert text.startswith("before\n") and text.endswith(f"{readme.END}\nafter\n") and "stale" not in text
    assert "| 1.50 | <= 1.8 | 1.000 s | good 2.00 | slow 29 | 1.50 |" in text  # the wrong one is no peer
    assert "| 12.3 | - | 4 |" in text and "2024-01-02" in text and "ct-raw 1.50" in text
    target.write_text("no place")
    with pytest.raises(SystemExit, match="no <!--"):
        readme.main([str(target), str(kept)])


def test_files_leave_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(1 << 20))
    if page_cache.share_in_memory([path]) != 1:
        pytest.skip("this system does not tell what is in memory")
    page_cache.drop(page_cache.files_below([tmp_path]))
    share = page_cache.share_in_memory([path])
    if share == 1:
        pytest.skip("the temporary folder lies in memory")
    assert share == 0


@pytest.mark.parametrize("text", ["huge", "10x20", "2x64x64", "16x60x60"])
def test_sizes_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        Size.parse(text)


def test_the_command_lists_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "seg-binary-write-104" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no row is named"):
        main(["--rows", "nothing-*"])
