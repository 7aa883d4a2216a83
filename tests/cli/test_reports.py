"""Reports, annotations, structure sets and presentation states at the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.objects.report import Person
from dicom_ml.view import PALETTE

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow")


@pytest.fixture(scope="module")
def report(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box of whole slices, a polygon, and a group about an image."""
    groups = [
        dml.MeasurementGroup(
            finding="SCT:27925004",
            site=dml.Site("SCT:39607008", "SCT:7771000"),
            region=dml.Box((1, 4, 3), (4, 12, 9)),
            tracking_id="Nodule A",
            measurements=[dml.Measurement("SCT:81827009", 7.25, "mm")],
            evaluations=[dml.Evaluation("RADLEX:RID36042", "99LIDCQIICR:903")],
        ),
        dml.MeasurementGroup(
            finding="SCT:4147007|Mass",
            region=dml.Polygon([(14, 10), (14, 16), (20, 16)], slice=4),
            evaluations=[dml.Evaluation("DCM:121106|Comment", text="Secret remark")],
        ),
        dml.MeasurementGroup(finding="SCT:17621005", images=[0]),
    ]
    path = tmp_path_factory.mktemp("report") / "nodules.sr.dcm"
    made = dml.Report(
        dml.read_volume(series), groups, dml.Algorithm("NoduleNet", "1.0"), observers=[Person("Secret^Doctor")]
    )
    made.save(path)
    return path


@pytest.fixture(scope="module")
def structures(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contour on the slices 1 to 3, and a point."""
    grid = dml.read_volume(series).grid
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.4", "RTSTRUCT"
    ds.StructureSetLabel = "TEST"
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    frame = dml.read_volume(series).source.frame_of_reference_uid
    corners = np.array([(4, 3), (4, 9), (12, 9), (12, 3)]) - 0.5
    outlines = [np.column_stack([np.full(4, d), corners]) for d in (1.0, 2.0, 3.0)]
    for number, (name, kind, contours) in enumerate(
        [("Target", "CLOSED_PLANAR", outlines), ("Isocentre", "POINT", [np.array([[2.0, 15.0, 15.0]])])], start=1
    ):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber, drawn.ROIDisplayColor, drawn.ContourSequence = number, [255, 0, 255], []
        for index in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(index)
            contour.ContourData = [f"{v:.6f}" for v in grid.to_lps(index).ravel()]
            drawn.ContourSequence.append(contour)
        seen.ObservationNumber, seen.ReferencedROINumber, seen.RTROIInterpretedType = number, number, "PTV"
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
        ds.RTROIObservationsSequence.append(seen)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path_factory.mktemp("structures") / "rt.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def slide(shared_data: Path) -> Path:
    return shared_data / "b_wsi/cmu1_he_pyramid_jpeg"


# ---------------------------------------------------------------------- info
def test_info_shows_a_report_as_a_tree(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(report)]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    group = next(i for i, line in enumerate(lines) if line.strip() == "Measurement Group: TID 1411")
    depth = len(lines[group]) - len(lines[group].lstrip())
    assert lines[group + 1] == " " * (depth + 2) + "Tracking Identifier: Nodule A"
    assert "Finding: Nodule (SCT:27925004)" in text and "    Laterality: Left (SCT:7771000)" in text
    assert "Diameter: 7.25 mm" in text and "Algorithm Name: NoduleNet" in text
    assert "Image Region: polyline (10, 14) (16, 14) (16, 20) (10, 14) column, row" in text
    assert "complete, unverified" in text and "measurement groups  3" in text
    assert "... and 3 more images" in text
    assert "Secret" not in text and "(a text; --phi shows it)" in text and "(a name; --phi shows it)" in text
    assert main(["info", str(report), "--phi", "--all"]) == 0
    text = capsys.readouterr().out
    assert "Secret remark" in text and "Person Observer Name: Secret^Doctor" in text and "more images" not in text


def test_info_as_json_and_of_a_folder(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(report), "--json", "--all"]) == 0
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert len(item["content"]) == len(list(dml.read_sr_tree(report).walk()))
    assert {row["depth"] for row in item["content"]} >= {0, 1, 2, 3}
    assert next(row for row in item["content"] if row["name"] == "Diameter")["type"] == "NUM"
    assert main(["info", str(report.parent), "--json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert item["measurement groups"] == 3 and "content" not in item


FACTS = {
    "highdicom/sr_document_with_multiple_groups.dcm": ("measurement groups  4", "Diameter: 20.0 mm", "partial"),
    "dcmqi/sr-example/sr.dcm": ("Referenced Segment", "SUVbw: 6.01529 {SUVbw}g/ml", "193 objects"),
    "dicom_swift_synthetic/StructuredReports/kos_key_object_selection.dcm": ("selected objects    1", "Of Interest"),
    "pydicom_rt_sr/test-SR.dcm": ("-> item 1.3.2", "verified by 2 persons"),
    "pydicom_rt_sr/rtstruct.dcm": ("name patient, type EXTERNAL, contours 3 closed planar, points 17",),
    "rtutils/mock_data/rt.dcm": ("(2 images)", "name ROI-1"),
    "weasis_pr_hp/prOverlay.dcm": ("overlays            2", "LAYER6", "OVLY_P01"),
    "weasis_pr_hp/prLUTs.dcm": ("window              table",),
    "dicom_swift_synthetic/ClinicalInterop/gsps_annotation.dcm": ("1 polyline", "MEASUREMENTS"),
    "highdicom/sm_annotations.dcm": ("nuclei", "2 points", "Area [um2]"),
}


@pytest.mark.parametrize("name", FACTS)
def test_info_of_real_files(shared_data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(shared_data / "d_derived" / name)]) == 0
    text = capsys.readouterr().out
    for fact in FACTS[name]:
        assert fact in text, text


# ---------------------------------------------------------------------- convert
def test_a_report_becomes_a_table(report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = dml.read_report(report).to_records()
    assert main(["convert", str(report), str(tmp_path / "deep" / "a.json")]) == 0
    assert json.loads((tmp_path / "deep" / "a.json").read_text(encoding="utf-8")) == expected
    assert main(["convert", str(report), str(tmp_path / "a.csv")]) == 0
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in expected]
    assert [r["name"] for r in rows] == ["Diameter", "Malignancy", "Comment", ""] and rows[0]["value"] == "7.25"
    capsys.readouterr()
    for command, what in (
        ([str(report), str(tmp_path / "a.nii.gz")], ".csv or .json"),
        ([str(report), str(tmp_path / "a.csv"), "--source", "x"], "input is DICOM"),
    ):
        assert main(["convert", *command]) == 2
        error = capsys.readouterr().err
        assert what in error and error.count("\n") == 1


def test_a_report_without_groups_says_so(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data / "d_derived/dicom_swift_synthetic/StructuredReports/kos_key_object_selection.dcm"
    assert main(["convert", str(path), str(tmp_path / "a.csv")]) == 2
    assert "dicom-ml info" in capsys.readouterr().err and not (tmp_path / "a.csv").exists()


def test_annotations_to_geojson_and_csv_and_back(
    slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    points = np.round(rng.uniform(10, 2000, (12, 2)), 1).astype(np.float32)
    areas = {("SCT:42798000", "um2"): np.array([1.5, 2.5, 3.5])}
    nuclei = dml.AnnotationGroup("Nuclei", type="SCT:84640000", graphic="polygon", points=points, offsets=[0, 4, 8],
                                 measurements=areas, algorithm=dml.Algorithm("Net", "1"))  # fmt: skip
    first = tmp_path / "a.ann.dcm"
    with dml.open_slide(slide) as opened:
        dml.Annotations.from_groups([nuclei], source=opened).save(first)
    for name, more in (("a.geojson", []), ("a.csv", ["--algorithm", "Net:1"])):
        assert main(["convert", str(first), str(tmp_path / name)]) == 0
        back = tmp_path / f"{name}.dcm"
        assert main(["convert", str(tmp_path / name), str(back), "--source", str(slide), *more]) == 0
        (group,) = dml.read_annotations(back).groups
        np.testing.assert_array_equal(group.points, points)
        np.testing.assert_array_equal(group.offsets, [0, 4, 8])
        assert (group.label, group.type.value, group.algorithm.name) == ("Nuclei", "84640000", "Net")
        np.testing.assert_array_equal(group.measurement("SCT:42798000"), [1.5, 2.5, 3.5])


def test_what_qupath_writes_needs_meanings(slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring = [[100.5, 100], [200, 100], [200, 200], [100.5, 100]]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"objectType": "annotation", "classification": {"name": name}, "measurements": {"Size": 3.0}},
        }
        for name in ("Tumor", "Ignore*")
    ]
    path, out = tmp_path / "q.geojson", tmp_path / "q.dcm"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    common = ["convert", str(path), str(out), "--source", str(slide)]
    said = ["--type", "Tumor=SCT:108369006", "--type", "Ignore*=", "--measurement", "Size=SCT:42798000,um2"]
    assert main([*common, *said, "--algorithm", "manual"]) == 0
    (group,) = dml.read_annotations(out).groups
    assert (group.label, group.type.value, len(group)) == ("Tumor", "108369006", 1)
    assert group.algorithm.is_manual and group.measurement("SCT:42798000").tolist() == [3.0]
    assert main([*common, "--type", "SCT:108369006", "--measurement", "Size=", "--algorithm", "manual"]) == 0
    assert len(dml.read_annotations(out).groups) == 2
    out.unlink()
    capsys.readouterr()
    for command, what in (
        (["convert", str(path), str(out)], "--source SLIDE"),
        ([*common[:2], str(tmp_path / "a.nii"), *common[3:]], ".dcm"),
        ([*common, "--type", "Tumor"], "code"),
        ([*common, "--type", "Tumor=SCT:108369006", "--type", "x"], "CLASS=CODE"),
        ([*common, *said[:4], "--measurement", "Size=SCT:42798000"], "NAME=CONCEPT,UNIT"),
        ([*common, *said[:2], "--algorithm", "manual"], "Ignore"),
        ([*common[:4], str(tmp_path)], "is none"),
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert what.lower() in error.lower() and error.count("\n") == 1, error
    assert not out.exists()


# ---------------------------------------------------------------------- render
def difference(a: Path, b: Path) -> np.ndarray:
    """Where two pictures differ; a legend below one of them does not count."""
    left, right = (np.asarray(Image.open(p).convert("RGB")).astype(int) for p in (a, b))
    rows = min(len(left), len(right))
    return np.abs(left[:rows] - right[:rows]).sum(axis=2) > 0


def test_render_draws_regions_on_their_slices(series: Path, report: Path, tmp_path: Path) -> None:
    over, page = tmp_path / "over.png", tmp_path / "over.html"
    common = ["render", str(series), "--height", "240", "--planes"]
    assert main([*common, "axial=6", "--over", str(report), "--output", str(over)]) == 0
    picture = np.asarray(Image.open(over).convert("RGB"))[:240]
    tiles = np.array_split(picture, 4, axis=1)  # slices 1 to 4: of the six only these show anything
    box, polygon = PALETTE[:2]
    assert [bool((t == box).all(axis=2).any()) for t in tiles] == [True, True, True, False]
    assert [bool((t == polygon).all(axis=2).any()) for t in tiles] == [False, False, False, True]
    assert main([*common, "axial=6", "--over", str(report), "--output", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    for shown in ("Nodule A", "box from slice 1 to 4", "polygon on slice 4", "whole images", "Diameter 7.25 mm"):
        assert shown in text
    assert "Left Lung" in text and "Secret" not in text and "1 of 3 findings have no region" in text


def test_render_chooses_groups(series: Path, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["render", str(series), "--over", str(report), "--output", str(tmp_path / "a.html"), "--segments"]
    for name in ("Nodule", "Nodule A", "1"):
        assert main([*common, name]) == 0
        text = (tmp_path / "a.html").read_text(encoding="utf-8")
        assert "Nodule A" in text and "polygon on slice" not in text
    capsys.readouterr()
    assert main([*common, "Spleen"]) == 2
    error = capsys.readouterr().err
    assert "'Nodule A'" in error and "'Mass'" in error and error.count("\n") == 1


def test_render_draws_on_slides(slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ann, sr = tmp_path / "a.ann.dcm", tmp_path / "a.sr.dcm"
    with dml.open_slide(slide) as opened:
        rows, columns = opened.levels[0].shape
        box = np.array([[600, 500], [900, 500], [900, 800], [600, 800]], np.float32)  # x, y
        field = dml.AnnotationGroup("Field", type="SCT:85756007", graphic="rectangle", points=box, algorithm="manual")
        dml.Annotations.from_groups([field], source=opened).save(ann)
        region = dml.Box((1000, 1200), (1300, 1500))
        group = dml.MeasurementGroup(finding="SCT:108369006", region=region)
        dml.Report(opened, [group], dml.Algorithm("N", "1")).save(sr)
    common = ["render", str(slide), "--size", "500"]
    assert main([*common, "--output", str(tmp_path / "plain.png")]) == 0
    for file, (top, left) in ((ann, (500, 600)), (sr, (1000, 1200))):
        chosen = ["--over", str(file), "--segments", "Field", "Neoplasm"]
        assert main([*common, *chosen, "--output", str(tmp_path / "o.png")]) == 0
        found = difference(tmp_path / "plain.png", tmp_path / "o.png")
        scale = found.shape[0] / rows
        y, x = np.nonzero(found[:, : round((left + 305) * scale)])
        for got, expected in ((y.min(), top), (y.max(), top + 300), (x.min(), left), (x.max(), left + 300)):
            assert abs(got - expected * scale) <= (9 if file == sr else 3)  # a report's groups have their number beside
    part = [*common, "--region", "450,550,400,400"]
    assert main([*part, "--output", str(tmp_path / "plain.png")]) == 0
    assert main([*part, "--over", str(ann), "--output", str(tmp_path / "o.png")]) == 0
    y, x = np.nonzero(difference(tmp_path / "plain.png", tmp_path / "o.png"))
    scale = 500 / 400
    for got, expected in ((y.min(), 50), (y.max(), 350), (x.min(), 50), (x.max(), 350)):
        assert abs(got - expected * scale) <= 3
    assert main([*part, "--over", str(ann), str(sr), "--output", str(tmp_path / "o.html")]) == 0
    text = (tmp_path / "o.html").read_text(encoding="utf-8")
    assert "1 rectangles, 1 shown" in text and "Rows 450 to 850" in text and "Findings" in text
    capsys.readouterr()
    for wrong, what in (("1,2,3", "ROW,COLUMN"), ("99999,0,5,5", "beside the slide"), ("0,0,0,4", "ROW,COLUMN")):
        assert main([*common, "--region", wrong, "--output", str(tmp_path / "x.png")]) == 2
        assert what in capsys.readouterr().err


def test_render_draws_structure_sets(series: Path, structures: Path, report: Path, tmp_path: Path) -> None:
    assert main(["info", str(structures)]) == 0
    common = ["render", str(series), "--over", str(structures), "--height", "240", "--planes", "axial=3", "--output"]
    assert main([*common, str(tmp_path / "a.png")]) == 0
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))[:240]
    assert (picture == (255, 0, 255)).all(axis=2).any()
    assert main([*common, str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    voxels = 3 * 8 * 6
    assert "Target" in text and "ptv" in text and f"<td class=number>{voxels}</td>" in text and "Isocentre" in text
    assert main([*common, str(tmp_path / "b.html"), "--segments", "Isocentre"]) == 0
    assert "Target" not in (tmp_path / "b.html").read_text(encoding="utf-8")


def test_render_refuses_what_does_not_belong(
    series: Path, report: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = shared_data / "d_derived/highdicom/sm_annotations.dcm"
    for command, what in (
        (["--over", str(ann)], "annotations of a slide"),
        (["--over", str(report), "--region", "1,2,3,4"], "part of a slide"),
    ):
        assert main(["render", str(series), "--output", str(tmp_path / "x.png"), *command]) == 2
        error = capsys.readouterr().err
        assert what in error and error.count("\n") == 1
