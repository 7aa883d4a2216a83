"""Reports, annotations, structure sets and presentation states at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.objects.report import Person


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
