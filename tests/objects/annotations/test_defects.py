"""Defects of other writers and readers of annotations, each shown not to be ours."""

from __future__ import annotations

import pickle

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

import dicom_ml as dml
from dicom_ml.errors import SeriesError
from dicom_ml.rasterize import rasterize_polygons
from tests.judges import dciodvfy, need
from tests.objects.annotations.test_annotations import AREA, CASES, NUCLEUS, group, same, slide_source
from tests.reading.slides._make import pyramid

SPARSE = np.where(np.arange(50) % 4, 2.5, np.nan)


@pytest.fixture(params=["2D", "3D"])
def file(request, tmp_path):
    dims = int(request.param[0])
    groups = [
        group(dims=dims, measurements={AREA: SPARSE, ("SCT:81827009", "um"): np.arange(50.0)}),
        group("polyline", dims, label="Lines", seed=1),
        group("point", dims, label="Points", seed=2),
    ]
    source = slide_source()
    dml.Annotations.from_groups(groups, source=source).save(tmp_path / "a.dcm")
    return pydicom.dcmread(tmp_path / "a.dcm"), groups, source


# ---------------------------------------------------------------------- patient, study and referenced image
def test_whose_annotations_they_are_is_written(file):
    ds, _, source = file
    assert (ds.PatientID, str(ds.PatientName), ds.StudyDate) == ("S1", "Slide^Test", "20240102")
    assert {"PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName"} <= set(ds.dir())
    assert ds.StudyInstanceUID == source.study_instance_uid
    assert ds.SeriesInstanceUID != source.series_instance_uid


def test_the_image_they_lie_on_is_named_and_is_evidence(file):
    ds, _, source = file
    (named,) = ds.ReferencedImageSequence
    base = source.levels[0]
    assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (
        base.sop_class_uids[0],
        base.sop_instance_uids[0],
    )
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.series_instance_uid
    assert named.ReferencedSOPInstanceUID in [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence]
    if ds.AnnotationCoordinateType == "3D":
        assert ds.FrameOfReferenceUID == source.frame_of_reference_uid
    else:
        assert ds.PixelOriginInterpretation == "VOLUME"


def test_images_without_identity_are_refused():
    nameless = slide_source()
    object.__setattr__(nameless, "problems", ("SOPInstanceUID is missing",))
    with pytest.raises(SeriesError, match="SOPInstanceUID is missing"):
        dml.Annotations.from_groups([group()], source=nameless)


# ---------------------------------------------------------------------- lists
def test_index_lists_count_from_one_and_rise(file):
    ds, groups, _ = file
    for item, made in zip(ds.AnnotationGroupSequence, groups, strict=True):
        assert item.NumberOfAnnotations == len(made)
        width = 3 if ds.AnnotationCoordinateType == "3D" else 2
        points = np.frombuffer(item.PointCoordinatesData, "<f4").reshape(-1, width)
        if made.graphic == "POINT":
            assert "LongPrimitivePointIndexList" not in item and len(points) == len(made)
            continue
        index = np.frombuffer(item.LongPrimitivePointIndexList, "<u4").astype(int)
        assert len(index) == len(made) and index[0] == 1 and (np.diff(index) > 0).all()
        for start, mine in zip((index - 1) // width, made, strict=True):
            np.testing.assert_array_equal(points[start : start + len(mine)], mine)


def test_measurements_are_as_many_as_their_items(file):
    ds, groups, _ = file
    sparse, dense = ds.AnnotationGroupSequence[0].MeasurementsSequence
    (values,) = sparse.MeasurementValuesSequence
    index = np.frombuffer(values.AnnotationIndexList, "<u4").astype(int)
    numbers = np.frombuffer(values.FloatingPointValues, "<f4")
    assert len(index) == len(numbers) == np.isfinite(SPARSE).sum()
    assert (np.diff(index) > 0).all()
    np.testing.assert_array_equal(index - 1, np.flatnonzero(np.isfinite(SPARSE)))
    (values,) = dense.MeasurementValuesSequence
    assert "AnnotationIndexList" not in values
    assert len(np.frombuffer(values.FloatingPointValues, "<f4")) == len(groups[0])
    with pytest.raises(dml.EncodingError, match="for each of 50 items"):
        group(measurements={AREA: np.ones(49)})


def test_groups_are_told_apart(file):
    ds, _, _ = file
    uids = [item.AnnotationGroupUID for item in ds.AnnotationGroupSequence]
    assert len(set(uids)) == 3 and all(UID(u).is_valid for u in uids)
    assert [item.AnnotationGroupNumber for item in ds.AnnotationGroupSequence] == [1, 2, 3]
    for item in ds.AnnotationGroupSequence:
        for code in (item.AnnotationPropertyTypeCodeSequence[0], item.AnnotationPropertyCategoryCodeSequence[0]):
            assert code.CodeMeaning
        assert item.AnnotationGroupGenerationType == "AUTOMATIC"
        assert item.AnnotationGroupAlgorithmIdentificationSequence[0].AlgorithmName == "NucleiNet"


# ---------------------------------------------------------------------- where they lie
def drawn(tmp_path):
    """A slide of several tiles with bright bodies, and their outlines, along edges of pixels."""
    pixels = np.full((150, 210, 3), 20, np.uint8)
    boxes = [(0, 0, 9, 7), (28, 20, 40, 30), (60, 95, 65, 110), (140, 200, 150, 210), (95, 23, 97, 25)]
    outlines = []
    for r0, c0, r1, c1 in boxes:
        pixels[r0:r1, c0:c1] = 250
        outlines.append([(c0, r0), (c1, r0), (c1, r1), (c0, r1)])
    folder = pyramid(tmp_path / "slide", pixels, factors=(1, 2))
    return folder, pixels, np.array(outlines, np.float32).reshape(-1, 2)


@pytest.mark.parametrize("space", ["pixels", "millimetres"])
def test_outlines_hold_the_pixels_they_were_drawn_round(tmp_path, space):
    """No pixel and no tile off, in pixels of the slide and in millimetres."""
    folder, pixels, outlines = drawn(tmp_path)
    with dml.open_slide(folder) as slide:
        points = outlines
        if space == "millimetres":
            grid = slide.source.levels[0].grid
            points = grid.to_lps(np.column_stack([np.zeros(len(points)), outlines[:, ::-1] - 0.5]))
        made = dml.AnnotationGroup("Bright", graphic="polygon", points=points, offsets=np.arange(5) * 4, **NUCLEUS)
        dml.Annotations.from_groups([made], source=slide).save(tmp_path / "a.dcm")
        ann = dml.read_annotations(tmp_path / "a.dcm")
        ann.to_geojson(tmp_path / "a.geojson", source=slide)
        back = dml.Annotations.from_geojson(tmp_path / "a.geojson", source=slide).groups[0]
        seen = slide.read_region((0, 0), pixels.shape[:2])
    mask = rasterize_polygons(np.round(back.points[:, ::-1], 3), back.offsets, 1, pixels.shape[:2])
    assert np.array_equal(mask == 1, pixels[..., 0] == 250)
    assert np.array_equal(mask == 1, seen[..., 0] > 135)


@pytest.mark.judge
@pytest.mark.parametrize("name", ["polygon", "point", "polyline", "double", "manual", "measured"])  # what it knows
def test_wsidicom_reads_the_same(tmp_path, name):
    graphical = need("wsidicom.graphical_annotations", "wsidicom")
    made = group(**CASES[name])
    dml.Annotations.from_groups([made], source=slide_source()).save(tmp_path / "a.dcm")
    (theirs,) = graphical.AnnotationInstance.open([str(tmp_path / "a.dcm")])
    (other,) = theirs.groups
    assert (other.label, other.type_code.value) == (made.label, made.type.value)
    for mine, item in zip(made, other.annotations, strict=True):
        got = [(p.x, p.y) for p in getattr(item.geometry, "points", None) or [item.geometry]]
        np.testing.assert_array_equal(mine, np.array(got, mine.dtype)[: len(mine)])
    if made.measurements:
        values = [a.measurements[0].value if a.measurements else np.nan for a in other.annotations]
        np.testing.assert_array_equal(values, made.measurements[0].values)


# ---------------------------------------------------------------------- handles
def test_what_was_read_can_be_sent_to_workers(tmp_path):
    made = group(measurements={AREA: SPARSE})
    dml.Annotations.from_groups([made], source=slide_source()).save(tmp_path / "a.dcm")
    ann = pickle.loads(pickle.dumps(dml.read_annotations(tmp_path / "a.dcm")))
    same(ann.groups[0], made)
    assert ann.referenced_images == list(slide_source().levels[0].sop_instance_uids)


@pytest.mark.judge
def test_what_was_read_is_written_again(tmp_path):
    """By way of other formats, too, nothing is lost that an object needs."""
    made = dml.Annotations.from_groups([group(measurements={AREA: SPARSE})], source=slide_source())
    made.to_geojson(tmp_path / "a.geojson")
    dml.Annotations.from_geojson(tmp_path / "a.geojson", source=slide_source()).save(tmp_path / "b.dcm")
    assert dciodvfy(tmp_path / "b.dcm") == []
    again = dml.read_annotations(tmp_path / "b.dcm")
    dml.Annotations.from_groups(again.groups, source=slide_source()).save(tmp_path / "c.dcm")
    same(dml.read_annotations(tmp_path / "c.dcm").groups[0], made.groups[0])
