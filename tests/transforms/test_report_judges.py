"""Reports and annotations that another package wrote, as labels."""

from __future__ import annotations

import warnings

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.data import AnnotationLabels, TileDataset
from dicom_ml.transforms import LoadAnnotations, LoadReport
from tests.data.slides import make
from tests.judges import need

pytestmark = pytest.mark.judge
NODULE, CYST = "SCT:27925004", "SCT:367643001"


@pytest.fixture(scope="module")
def hd():
    return need("highdicom", "highdicom")


def coded(value: str, meaning: str, scheme: str = "SCT"):
    from pydicom.sr.coding import Code

    return Code(value, scheme, meaning)


def written(hd, case, tmp_path, groups) -> str:
    """A Comprehensive 3D SR of measurement groups."""
    images = sorted((pydicom.dcmread(p) for p in case.series.iterdir()), key=lambda ds: ds.InstanceNumber)
    seg = pydicom.dcmread(case.seg)
    person = hd.sr.PersonObserverIdentifyingAttributes(name="Doe^John")
    observer = hd.sr.ObserverContext(
        observer_type=coded("121006", "Person", "DCM"), observer_identifying_attributes=person
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=coded("25045-6", "CT unspecified body region", "LN"),
        imaging_measurements=groups,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = hd.sr.Comprehensive3DSR(
            evidence=[*images, seg],
            content=content,
            series_number=9,
            series_instance_uid=hd.UID(),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="highdicom",
        )
    document.save_as(tmp_path / "hd.sr.dcm")
    return str(tmp_path / "hd.sr.dcm")


def image_of(hd, case, d: int):
    source = case.volume.source
    return hd.sr.SourceImageForRegion(source.sop_class_uids[d], source.sop_instance_uids[d])


def planar(hd, number: int, region=None, segment=None, finding=("27925004", "Nodule")):
    tracking = hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"N{number}")
    regions = {"referenced_region": region} if region is not None else {"referenced_segment": segment}
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking, finding_type=coded(*finding), **regions
    )


def test_planar_regions(hd, case, tmp_path):
    """highdicom's numbers are column and row from the corner of the first pixel, as the standard has them."""
    kinds = hd.sr.GraphicTypeValues
    polygon = np.array([(2.0, 3.0), (9.5, 4.0), (6.0, 12.0), (2.0, 3.0)])  # column, row
    shapes = {
        (kinds.POLYLINE, 4): (polygon, [2, 3, 4, 9.5, 12, 5]),
        (kinds.CIRCLE, 2): (np.array([(8.0, 9.0), (8.0, 12.0)]), [5, 6, 2, 11, 12, 3]),
        (kinds.ELLIPSE, 7): (np.array([(3.0, 9), (11, 9), (7, 7), (7, 11)]), [3, 7, 7, 11, 11, 8]),
    }
    groups = [
        planar(hd, i, hd.sr.ImageRegion(kind, points, image_of(hd, case, d)))
        for i, ((kind, d), (points, _)) in enumerate(shapes.items())
    ]
    corners = np.array([(3.5, 5, 6), (3.5, 5, 12), (3.5, 11, 12), (3.5, 11, 6), (3.5, 5, 6)])  # on slice 3
    lps = case.grid.to_lps(corners - 0.5)
    in_space = hd.sr.ImageRegion3D(hd.sr.GraphicTypeValues3D.POLYGON, lps, case.volume.source.frame_of_reference_uid)
    groups.append(planar(hd, 9, in_space, finding=("367643001", "Cyst")))
    path = written(hd, case, tmp_path, groups)
    found = LoadReport([NODULE, CYST])(path, case.volume)
    expected = [*(box for _, box in shapes.values()), [6, 5, 3, 12, 11, 4]]
    np.testing.assert_allclose(found["boxes"], expected, atol=2e-3)
    assert found["labels"].tolist() == [0, 0, 0, 1]
    mask = LoadAnnotations({NODULE: 1, CYST: 2})(path, case.volume)[0].numpy().transpose(2, 1, 0)
    assert (mask[3] == 2).sum() == 36 and (mask[3, 5:11, 6:12] == 2).all()
    rows, columns = np.mgrid[:20, :16] + 0.5
    assert np.array_equal(mask[2] == 1, np.hypot(rows - 9, columns - 8) <= 3)


def test_volumes_and_segments(hd, case, tmp_path):
    seg = pydicom.dcmread(case.seg)
    kinds = hd.sr.GraphicTypeValues
    square = np.array([(4.0, 3.0), (10, 3), (10, 9), (4, 9), (4, 3)])
    outlines = [hd.sr.ImageRegion(kinds.POLYLINE, square, image_of(hd, case, d)) for d in (4, 5, 6)]
    tracking = hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="V")
    volumetric = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        finding_type=coded("27925004", "Nodule"),
        referenced_regions=outlines,
    )
    segment = hd.sr.ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=2,
        source_series=hd.sr.SourceSeriesForSegmentation(case.volume.source.series_instance_uid),
    )
    by_segment = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier="S"),
        finding_type=coded("367643001", "Cyst"),
        referenced_segment=segment,
    )
    path = written(hd, case, tmp_path, [volumetric, by_segment])
    found = LoadReport([NODULE, CYST])(path, case.volume, segmentations=case.seg)
    where = np.argwhere(case.labels == 2)
    expected = [[4, 3, 4, 10, 9, 7], [*where.min(0)[::-1], *(where.max(0)[::-1] + 1)]]
    np.testing.assert_allclose(found["boxes"], expected, atol=1e-3)
    mask = LoadAnnotations([NODULE, CYST], overlap="first")(path, case.volume, case.seg)[0].numpy().transpose(2, 1, 0)
    drawn = np.zeros(case.grid.shape, int)
    drawn[4:7, 3:9, 4:10] = 1
    assert np.array_equal(mask, np.where(drawn == 1, 1, 2 * (case.labels == 2)))


@pytest.mark.parametrize("coordinates", ["2D", "3D"])
def test_annotations(hd, tmp_path, coordinates):
    folder = make(tmp_path, 1)[0]
    slide = dml.open_slide(folder)
    images = [pydicom.dcmread(p) for p in folder.iterdir()]
    base = max(images, key=lambda ds: ds.TotalPixelMatrixRows)
    squares = [np.array([(x, y), (x + 20, y), (x + 20, y + 10), (x, y + 10)], float) for x, y in ((5, 5), (200, 100))]
    data = squares if coordinates == "2D" else [slide.to_mm(s[:, ::-1], corner=True) for s in squares]
    group = hd.ann.AnnotationGroup(
        number=1,
        uid=hd.UID(),
        label="Nuclei",
        annotated_property_category=coded("91723000", "Anatomical structure"),
        annotated_property_type=coded("84640000", "Nucleus"),
        algorithm_type=hd.ann.AnnotationGroupGenerationTypeValues.MANUAL,
        graphic_type=hd.ann.GraphicTypeValues.POLYGON,
        graphic_data=data,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ann = hd.ann.MicroscopyBulkSimpleAnnotations(
            source_images=[base],
            annotation_coordinate_type=coordinates,
            annotation_groups=[group],
            series_instance_uid=hd.UID(),
            series_number=9,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="highdicom",
            manufacturer_model_name="x",
            software_versions="1",
            device_serial_number="1",
        )
    ann.save_as(tmp_path / "hd.ann.dcm")
    labels = AnnotationLabels(tmp_path / "hd.ann.dcm", ["SCT:84640000"], "boxes")
    found = TileDataset([slide], 512, labels=labels).label(0)
    np.testing.assert_allclose(found["boxes"], [[5, 5, 25, 15], [200, 100, 220, 110]], atol=5e-3)
    mask = TileDataset([slide], 512, labels=AnnotationLabels(tmp_path / "hd.ann.dcm", kind="mask")).label(0)[0]
    assert mask.sum() == 400 and mask[5:15, 5:25].all() and mask[100:110, 200:220].all()
