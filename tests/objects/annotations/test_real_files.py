"""Every real file of bulk annotations at hand: read as pydicom and highdicom read it."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from tests.conftest import data_folder
from tests.judges import need

#: File (under the data folder) -> number of items of each group, by its label.
TABLE = {"d_derived/highdicom/sm_annotations.dcm": {"nuclei": 2}}


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_the_table_is_complete(shared_data):
    lines = (shared_data / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    listed = {path for path, _, _, kind, *_ in rows if kind.startswith("ANN/") or "Bulk Simple Annotations" in kind}
    assert listed == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_file_reads_as_pydicom_reads_it(shared_data, name):
    ann = dml.read_annotations(shared_data / name)
    ds = pydicom.dcmread(shared_data / name)
    assert {g.label: len(g) for g in ann.groups} == TABLE[name]
    assert ann.coordinate_type == ds.AnnotationCoordinateType
    assert ann.referenced_images == [i.ReferencedSOPInstanceUID for i in ds.ReferencedImageSequence]
    for group, item in zip(ann.groups, ds.AnnotationGroupSequence, strict=True):
        assert (group.label, group.uid, group.graphic) == (
            item.AnnotationGroupLabel, item.AnnotationGroupUID, item.GraphicType,
        )  # fmt: skip
        assert group.type.value == item.AnnotationPropertyTypeCodeSequence[0].CodeValue
        assert group.category.value == item.AnnotationPropertyCategoryCodeSequence[0].CodeValue
        double = "DoublePointCoordinatesData" in item
        raw = item.DoublePointCoordinatesData if double else item.PointCoordinatesData
        np.testing.assert_array_equal(group.points.ravel(), np.frombuffer(raw, "<f8" if double else "<f4"))
        for measured, given in zip(group.measurements, item.MeasurementsSequence, strict=True):
            assert measured.concept.value == given.ConceptNameCodeSequence[0].CodeValue
            assert measured.unit.value == given.MeasurementUnitsCodeSequence[0].CodeValue
            values = np.frombuffer(given.MeasurementValuesSequence[0].FloatingPointValues, "<f4")
            np.testing.assert_array_equal(measured.values[~np.isnan(measured.values)], values)


@pytest.mark.judge
@pytest.mark.parametrize("name", TABLE)
def test_items_are_those_of_highdicom(shared_data, name):
    hd = need("highdicom", "highdicom")
    ann = dml.read_annotations(shared_data / name)
    theirs = hd.ann.annread(str(shared_data / name))
    for group, other in zip(ann.groups, theirs.get_annotation_groups(), strict=True):
        items = other.get_graphic_data(coordinate_type=ann.coordinate_type)
        assert len(items) == len(group) and group.type == other.annotated_property_type
        for own, item in zip(group, items, strict=True):
            np.testing.assert_array_equal(own, item)
        names, values, units = other.get_measurements()
        assert [m.concept for m in group.measurements] == names and [m.unit for m in group.measurements] == units
        np.testing.assert_array_equal(np.stack([m.values for m in group.measurements], axis=1), values)
