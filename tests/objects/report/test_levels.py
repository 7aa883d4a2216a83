"""Regions that others drew on a coarser level of a slide, and scores that they wrote as fractions."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.report import concepts as c
from tests.reading.slides import _make as make

MADE_BY = dml.Algorithm("Net", "1.0")


@pytest.fixture
def slide(tmp_path):
    return dml.open_slide(make.pyramid(tmp_path / "sm", make.smooth((200, 160), 1), (1, 4)))


def changed(report: dml.Report, change) -> bytes:
    """The report as a file, with its coordinate items changed."""
    ds = pydicom.dcmread(io.BytesIO(report.to_bytes()))

    def walk(items):
        for item in items:
            change(item)
            walk(item.get("ContentSequence") or [])

    walk(ds.ContentSequence)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def polygon(slide: dml.Slide) -> dml.Report:
    ring = dml.Polygon([[40, 20], [40, 60], [80, 60], [80, 20]])
    group = dml.MeasurementGroup(finding="SCT:108369006", tracking_id="Area", region=ring)
    return dml.Report(source=slide, algorithm=MADE_BY, groups=[group], coordinates="image")


def test_a_region_of_a_coarser_level_lies_where_it_was_drawn(slide):
    coarse = slide.levels[1].sop_instance_uids[0]

    def on_coarse(item):
        if item.ValueType == "IMAGE" and item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID != coarse:
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = coarse
        if item.ValueType == "SCOORD":
            item.GraphicData = [value / 4 for value in item.GraphicData]

    expected = polygon(slide).groups[0].region.bounds
    (group,) = dml.read_report(changed(polygon(slide), on_coarse), source=slide).groups
    np.testing.assert_allclose(group.region.bounds, expected, atol=1e-4)
    assert group.region.image is None or group.region.image.sop_instance_uid == slide.levels[0].sop_instance_uids[0]
    # and is written again where it lies
    again = dml.Report(source=slide, algorithm=MADE_BY, coordinates="image", groups=[dml.MeasurementGroup(
        finding="SCT:108369006", tracking_id="Area", region=group.region)])  # fmt: skip
    (back,) = dml.read_report(again.to_bytes(), source=slide).groups
    np.testing.assert_allclose(back.region.bounds, expected, atol=1e-4)


def test_coordinates_within_a_frame_are_not_taken_for_the_matrix(slide):
    def in_frame(item):
        if item.ValueType == "SCOORD":
            item.PixelOriginInterpretation = "FRAME"

    report = dml.read_report(changed(polygon(slide), in_frame), source=slide)
    assert report.groups[0].region is None
    assert any("corner of a frame" in problem for problem in report.problems)


def test_scores_in_percent_and_as_fractions(slide):
    box = dml.Box((10, 20), (30, 60))
    groups = [
        dml.MeasurementGroup(
            finding="SCT:108369006", tracking_id=f"Area {i}", region=box,
            measurements=[dml.Measurement(c.CERTAINTY, value, unit)],
        )
        for i, (value, unit) in enumerate([(87.5, "%"), (0.875, "1")])
    ]  # fmt: skip
    report = dml.Report(source=slide, algorithm=MADE_BY, groups=groups)
    np.testing.assert_allclose(report.boxes()[1], [0.875, 0.875])
