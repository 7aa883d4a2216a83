"""A presentation state and a structure set, put together by hand."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_ml.encoding.uids import derived_uid
from tests.objects.segmentation.scenes import CT, axial, source_on
from tests.objects.structure_set.contours import on_slice, ring, structure_set

GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


def _item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _head(ds: Dataset, modality: str) -> Dataset:
    source = source_on(axial())
    for element in source.attribute_dataset():
        ds.add(element)
    ds.StudyInstanceUID = source.study_instance_uid
    ds.SeriesInstanceUID = derived_uid(modality, "series")
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 7, 1
    for keyword in ("PatientBirthDate", "ReferringPhysicianName", "AccessionNumber", "OperatorsName"):
        setattr(ds, keyword, "")
    ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "M", "N", "1", "1"
    return ds


def presentation_state() -> Dataset:
    """A greyscale softcopy presentation state of two slices, with a line and a text."""
    source = source_on(axial())
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = GSPS
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("state")
    _head(ds, "PR")
    ds.PresentationCreationDate, ds.PresentationCreationTime = "20240103", "101010"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "STATE", "", ""

    def images() -> list[Dataset]:
        chosen = source.sop_instance_uids[2:4]
        return [_item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid) for uid in chosen]

    ds.ReferencedSeriesSequence = [
        _item(SeriesInstanceUID=source.series_instance_uid, ReferencedImageSequence=images())
    ]
    ds.DisplayedAreaSelectionSequence = [
        _item(
            ReferencedImageSequence=images(), DisplayedAreaTopLeftHandCorner=[1, 1],
            DisplayedAreaBottomRightHandCorner=[64, 40], PresentationSizeMode="SCALE TO FIT",
            PresentationPixelSpacing=[0.7, 0.8],
        )
    ]  # fmt: skip
    line = _item(
        GraphicAnnotationUnits="PIXEL", GraphicDimensions=2, NumberOfGraphicPoints=4,
        GraphicData=[1.0, 1, 9, 1, 9, 9, 1, 1], GraphicType="POLYLINE", GraphicFilled="N",
    )  # fmt: skip
    note = _item(
        AnchorPointAnnotationUnits="PIXEL", UnformattedTextValue="here", AnchorPoint=[5.0, 5], AnchorPointVisibility="N"
    )
    ds.GraphicAnnotationSequence = [
        _item(
            ReferencedImageSequence=images(), GraphicLayer="LAYER", GraphicObjectSequence=[line],
            TextObjectSequence=[note],
        )
    ]  # fmt: skip
    ds.GraphicLayerSequence = [_item(GraphicLayer="LAYER", GraphicLayerOrder=1)]
    ds.SoftcopyVOILUTSequence = [_item(WindowCenter="40", WindowWidth="400")]
    ds.PresentationLUTShape = "IDENTITY"
    return ds


def contours() -> Dataset:
    """A structure set of one region."""
    grid = axial()
    ds = structure_set({"Liver": [on_slice(grid, 3, ring((20, 30), 6)), on_slice(grid, 4, ring((20, 30), 5))]})
    _head(ds, "RTSTRUCT")
    ds.StructureSetDate, ds.StructureSetTime = "20240103", "101010"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = derived_uid("a", "frame"), ""
    images = source_on(grid).sop_instance_uids
    for contour, d in zip(ds.ROIContourSequence[0].ContourSequence, (3, 4), strict=True):
        contour.ContourImageSequence = [_item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=images[d])]
    return ds
