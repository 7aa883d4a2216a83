"""Valid objects, each broken in one way: what is done to it, and what of it must be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence

from dicom_ml.encoding.uids import derived_uid

__all__ = ["BROKEN", "Broken"]

Change = Callable[[Dataset], object]


@dataclass(frozen=True)
class Broken:
    """``kind`` of object, the ``change`` that breaks it, words that the finding holds, and whether sources tell it."""

    kind: str
    change: Change
    words: str
    with_sources: bool = False


# ---------------------------------------------------------------------- ways to parts
def frame(ds: Dataset, number: int) -> Dataset:
    return ds.PerFrameFunctionalGroupsSequence[number - 1]


def shared(ds: Dataset) -> Dataset:
    return ds.SharedFunctionalGroupsSequence[0]


def items(ds: Dataset) -> Iterator[Dataset]:
    for child in ds.get("ContentSequence", []):
        yield child
        yield from items(child)


def item(ds: Dataset, **values: str) -> Dataset:
    """The first content item of which all is so."""
    return next(i for i in items(ds) if all(str(i.get(k, "")) == v for k, v in values.items()))


def name_of(item: Dataset) -> list[str]:
    return [str(code.CodeValue) for code in item.get("ConceptNameCodeSequence", [])]


def named(ds: Dataset, value: str) -> Dataset:
    """The first content item with a name of that code value."""
    return next(i for i in items(ds) if value in name_of(i))


def parent(ds: Dataset, child: Dataset) -> Dataset:
    return next(i for i in [ds, *items(ds)] if any(c is child for c in i.get("ContentSequence", [])))


def without(ds: Dataset, child: Dataset) -> None:
    above = parent(ds, child)
    above.ContentSequence = Sequence([c for c in above.ContentSequence if c is not child])


def put(**values: object) -> Change:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def drop(keyword: str) -> Change:
    return lambda ds: delattr(ds, keyword)


def put_unchecked(keyword: str, value: object) -> Change:
    """A value that pydicom would refuse."""

    def change(ds: Dataset) -> None:
        from pydicom.datadict import dictionary_VR, tag_for_keyword
        from pydicom.dataelem import DataElement

        tag = tag_for_keyword(keyword)
        ds[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=0)

    return change


def at(way: Callable[[Dataset], Dataset], change: Change) -> Change:
    return lambda ds: change(way(ds))


def many(*changes: Change) -> Change:
    return lambda ds: [change(ds) for change in changes]


# ---------------------------------------------------------------------- changes of some length
def swap_planes(ds: Dataset) -> None:
    """Two neighbouring planes of one segment change places, their indices do not."""
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    first = frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber
    chosen = [f for f in frames if f.SegmentIdentificationSequence[0].ReferencedSegmentNumber == first]
    a, b = (f.PlanePositionSequence[0] for f in chosen[1:3])
    a.ImagePositionPatient, b.ImagePositionPatient = b.ImagePositionPatient, a.ImagePositionPatient


def swap_values(ds: Dataset) -> None:
    """Label map: the indices of positions run to and fro."""
    a, b = (frame(ds, n).FrameContentSequence[0] for n in (2, 3))
    a.DimensionIndexValues, b.DimensionIndexValues = b.DimensionIndexValues, a.DimensionIndexValues


def shift(number: int, *by: float) -> Change:
    def change(ds: Dataset) -> None:
        place = frame(ds, number).PlanePositionSequence[0]
        place.ImagePositionPatient = [float(v) + d for v, d in zip(place.ImagePositionPatient, by, strict=True)]

    return change


def shift_all(*by: float) -> Change:
    return lambda ds: [shift(n + 1, *by)(ds) for n in range(len(ds.PerFrameFunctionalGroupsSequence))]


def array(group: int, keyword: str, dtype: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A bulk value of an annotation group, changed as an array."""

    def apply(ds: Dataset) -> None:
        of = ds.AnnotationGroupSequence[group - 1]
        setattr(of, keyword, change(np.frombuffer(of[keyword].value, dtype).copy()).astype(dtype).tobytes())

    return apply


def measured(group: int, keyword: str, dtype: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(ds: Dataset) -> None:
        of = ds.AnnotationGroupSequence[group - 1].MeasurementsSequence[0].MeasurementValuesSequence[0]
        setattr(of, keyword, change(np.frombuffer(of[keyword].value, dtype).copy()).astype(dtype).tobytes())

    return apply


def at_place(index: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[index] = value
        return values

    return change


def drop_set(ds: Dataset) -> None:
    if "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet


def shorten_table(ds: Dataset) -> None:
    data = ds["LUTData"].value
    ds.LUTData = data[: len(data) // 2 * 2 - 2]


def property_type(ds: Dataset) -> Dataset:
    return ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]


def without_observer(ds: Dataset) -> None:
    kept = [c for c in ds.ContentSequence if not {"121012", "121008"} & set(name_of(c))]
    ds.ContentSequence = Sequence(kept)


def open_polygon(ds: Dataset) -> None:
    polygon = item(ds, GraphicType="POLYGON")
    polygon.GraphicData = list(polygon.GraphicData)[:-3]


def reference(ds: Dataset, n: int = 1) -> Dataset:
    """The source image that a frame names."""
    return frame(ds, n).DerivationImageSequence[0].SourceImageSequence[0]


def source_everywhere(uid: str) -> Change:
    """Another instance, named by a frame and listed, too: only the sources tell that it does not exist."""

    def change(ds: Dataset) -> None:
        old = reference(ds).ReferencedSOPInstanceUID
        for n in range(1, len(ds.PerFrameFunctionalGroupsSequence) + 1):
            if reference(ds, n).ReferencedSOPInstanceUID == old:
                reference(ds, n).ReferencedSOPInstanceUID = uid
        for listed in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence:
            if listed.ReferencedSOPInstanceUID == old:
                listed.ReferencedSOPInstanceUID = uid

    return change


def evidence(ds: Dataset) -> Dataset:
    return ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]


def scoord(ds: Dataset, kind: str = "POLYLINE") -> Dataset:
    return item(ds, ValueType="SCOORD", GraphicType=kind)


def group_of(ds: Dataset) -> Dataset:
    return named(ds, "125007")


def number(ds: Dataset) -> Dataset:
    return item(ds, ValueType="NUM")


def graphic(ds: Dataset) -> Dataset:
    return ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0]


def area(ds: Dataset) -> Dataset:
    return ds.DisplayedAreaSelectionSequence[0]


def contour(ds: Dataset) -> Dataset:
    return ds.ROIContourSequence[0].ContourSequence[0]


def raise_contours(up: float, aside: float = 0.0) -> Change:
    def change(ds: Dataset) -> None:
        for one in ds.ROIContourSequence[0].ContourSequence:
            points = np.array([float(v) for v in one.ContourData]).reshape(-1, 3) + [aside, 0, up]
            one.ContourData = [f"{v:.4f}" for v in points.ravel()]

    return change


def far_away(ds: Dataset) -> None:
    for child in items(ds):
        if child.get("ValueType") == "SCOORD3D":
            child.GraphicData = [float(v) + 2000 for v in child.GraphicData]


def everywhere(ds: Dataset, old: str, uid: str) -> None:
    def change(_: Dataset, element: object) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value == old:  # type: ignore[attr-defined]
            element.value = uid  # type: ignore[attr-defined]

    ds.walk(change)


def image_everywhere(uid: str) -> Change:
    return lambda ds: everywhere(ds, area(ds).ReferencedImageSequence[0].ReferencedSOPInstanceUID, uid)


def key_everywhere(uid: str) -> Change:
    return lambda ds: everywhere(ds, item(ds, ValueType="IMAGE").ReferencedSOPSequence[0].ReferencedSOPInstanceUID, uid)


SEG, LABELS, PARTS = "seg binary", "seg labelmap", "seg fractional"
TILES, MAP, ANN, SR, KO, PR = "slide seg binary", "map", "annotations", "report regions", "selection slices", "gsps"
GONE = derived_uid("is nowhere")
BAD_UID = "1.2.840.0099.1"

BROKEN: dict[str, Broken] = {
    # attributes
    "type 1 missing": Broken(SEG, drop("ContentLabel"), "ContentLabel"),
    "type 1 empty": Broken(SEG, put(Manufacturer=""), "Manufacturer"),
    "type 2 missing": Broken(SEG, drop("PatientBirthDate"), "PatientBirthDate"),
    "type 1 missing in a sequence": Broken(
        SEG, at(lambda d: d.SegmentSequence[0], drop("SegmentedPropertyCategoryCodeSequence")), "PropertyCategory"),
    "type 1C missing": Broken(SEG, at(lambda d: d.SegmentSequence[1], drop("SegmentAlgorithmName")), "AlgorithmName"),
    "enumerated value": Broken(SEG, at(lambda d: d.SegmentSequence[0], put(SegmentAlgorithmType="AUTO")), "'AUTO'"),
    "lower case": Broken(SEG, put_unchecked("ContentLabel", "result"), "ContentLabel"),
    "too many values": Broken(SEG, put(Modality=["SEG", "CT"]), "has 2 values"),
    "one value of two": Broken(SEG, at(lambda d: shared(d).PixelMeasuresSequence[0], put(PixelSpacing=0.7)), "Spacing"),
    "malformed UID": Broken(SEG, put_unchecked("FrameOfReferenceUID", BAD_UID), "no valid UID"),
    "long UID": Broken(SEG, put_unchecked("StudyInstanceUID", "1." + "2" * 70), "no valid UID"),
    "malformed UID in a frame": Broken(
        SEG, at(lambda d: reference(d, 3), put_unchecked("ReferencedSOPInstanceUID", BAD_UID)), "no valid UID"),
    "characters of no set": Broken(SEG, many(put(ContentDescription="Größe"), drop_set), "declares none"),
    "table too short": Broken(
        "state tables", at(lambda d: d.SoftcopyVOILUTSequence[0].VOILUTSequence[0], shorten_table), "LUTData"),
    "malformed date": Broken(SEG, put_unchecked("ContentDate", "2024-01-02"), "ContentDate"),
    "code without meaning": Broken(
        SEG, at(property_type, drop("CodeMeaning")), "no meaning"),
    "code without scheme": Broken(
        SEG, at(property_type, drop("CodingSchemeDesignator")),
        "CodingScheme"),
    "one UID for two things": Broken(SEG, lambda d: put(SeriesInstanceUID=d.SOPInstanceUID)(d), "the same as"),
    "another class in the file's head": Broken(
        SEG, lambda d: put(MediaStorageSOPClassUID="1.2.840.10008.5.1.4.1.1.30")(d.file_meta), "differs from SOPClass"),
    # frames
    "frame count": Broken(SEG, put(NumberOfFrames="7"), "Number of Frames is 7"),
    "pixels cut off": Broken(SEG, lambda d: put(PixelData=d.PixelData[:-400])(d), "PixelData"),
    "pixels of another frame": Broken(SEG, lambda d: put(PixelData=d.PixelData + bytes(320))(d), "PixelData"),
    "no frame content": Broken(SEG, at(lambda d: frame(d, 2), drop("FrameContentSequence")), "FrameContentSequence"),
    "group of some frames": Broken(SEG, at(lambda d: frame(d, 4), drop("PlanePositionSequence")), "PlanePosition"),
    "group shared and of frames": Broken(
        SEG, lambda d: put(PlaneOrientationSequence=shared(d).PlaneOrientationSequence)(frame(d, 1)),
        "among the shared"),
    "no shared groups": Broken(SEG, drop("SharedFunctionalGroupsSequence"), "SharedFunctionalGroups"),
    "index from 0": Broken(
        SEG, at(lambda d: frame(d, 1).FrameContentSequence[0], put(DimensionIndexValues=[0, 1])), "count from 1"),
    "index of two frames": Broken(
        SEG,
        lambda d: put(DimensionIndexValues=frame(d, 1).FrameContentSequence[0].DimensionIndexValues)(
            frame(d, 2).FrameContentSequence[0]),
        "that of frame 1"),
    "index too short": Broken(
        SEG, at(lambda d: frame(d, 2).FrameContentSequence[0], put(DimensionIndexValues=[1])), "has 1 values"),
    "index of another segment": Broken(
        SEG, at(lambda d: frame(d, 1).FrameContentSequence[0], put(DimensionIndexValues=[3, 9])), "DimensionIndex"),
    "dimension of no organization": Broken(
        SEG, at(lambda d: d.DimensionIndexSequence[0], put(DimensionOrganizationUID=GONE)), "no organization"),
    "order against positions": Broken(SEG, swap_planes, "does not follow the positions"),
    "order against positions in a label map": Broken(LABELS, swap_values, "does not follow the positions"),
    "plane beside the others": Broken(LABELS, shift(4, 3, 0, 0), "beside the line"),
    "plane between the others": Broken(LABELS, shift(4, 0, 0, 1), "mm apart"),
    "spacing between slices": Broken(
        SEG, at(lambda d: shared(d).PixelMeasuresSequence[0], put(SpacingBetweenSlices="3.75")), "SpacingBetween"),
    "oblique axes": Broken(
        SEG,
        at(lambda d: shared(d).PlaneOrientationSequence[0], put(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0])),
        "right angles"),
    "long axes": Broken(
        SEG, at(lambda d: shared(d).PlaneOrientationSequence[0], put(ImageOrientationPatient=[2, 0, 0, 0, 1, 0])),
        "lengths 2"),
    "no pixel measures": Broken(SEG, at(shared, drop("PixelMeasuresSequence")), "PixelSpacing"),
    "no orientation": Broken(SEG, at(shared, drop("PlaneOrientationSequence")), "ImageOrientationPatient"),
    # segmentations
    "frame of no segment": Broken(
        SEG, at(lambda d: frame(d, 5).SegmentIdentificationSequence[0], put(ReferencedSegmentNumber=9)), "no segment"),
    "segment numbered twice": Broken(SEG, at(lambda d: d.SegmentSequence[1], put(SegmentNumber=1)), "described twice"),
    "segments with a gap": Broken(
        SEG,
        lambda d: [
            put(SegmentNumber=5)(d.SegmentSequence[2]),
            *(
                put(ReferencedSegmentNumber=5)(f.SegmentIdentificationSequence[0])
                for f in d.PerFrameFunctionalGroupsSequence
                if f.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 3
            ),
        ],
        "expected 3"),
    "label without a segment": Broken(
        LABELS, lambda d: put(SegmentSequence=Sequence(list(d.SegmentSequence)[:2]))(d), "no segment describes"),
    "fractions of what": Broken(PARTS, drop("SegmentationFractionalType"), "FractionalType"),
    "fractions of how much": Broken(PARTS, drop("MaximumFractionalValue"), "MaximumFractionalValue"),
    "fractions above 1": Broken(PARTS, put(MaximumFractionalValue=100), "more than the Maximum"),
    "binary of bytes": Broken(SEG, put(BitsAllocated=8, BitsStored=8, HighBit=7), "BitsAllocated"),
    "another type": Broken(LABELS, put(SegmentationType="BINARY"), "SegmentationType"),
    "tracking by halves": Broken(SEG, at(lambda d: d.SegmentSequence[0], drop("TrackingUID")), "go together"),
    "source that is not listed": Broken(
        SEG, at(lambda d: reference(d, 3), put(ReferencedSOPInstanceUID=GONE)), "Common Instance Reference"),
    # tiles
    "no origin": Broken(TILES, drop("TotalPixelMatrixOriginSequence"), "OriginSequence"),
    "no matrix": Broken(TILES, drop("TotalPixelMatrixRows"), "TotalPixelMatrixRows"),
    "tile outside": Broken(
        TILES, at(lambda d: frame(d, 2).PlanePositionSlideSequence[0], put(RowPositionInTotalImagePixelMatrix=151)),
        "outside the matrix"),
    "tile off by one": Broken(
        TILES, at(lambda d: frame(d, 2).PlanePositionSlideSequence[0], put(ColumnPositionInTotalImagePixelMatrix=66)),
        "is not where"),
    "two tiles at one place": Broken(
        "slide map",
        lambda d: frame(d, 2).__setattr__(
            "PlanePositionSlideSequence", frame(d, 1).PlanePositionSlideSequence),
        "frame"),
    "tiles in full that are not": Broken(TILES, put(DimensionOrganizationType="TILED_FULL"), "TILED_FULL"),
    "no size of tiles": Broken(TILES, at(shared, drop("PixelMeasuresSequence")), "PixelSpacing"),
    # maps
    "no real-world values": Broken(MAP, at(shared, drop("RealWorldValueMappingSequence")), "RealWorldValueMapping"),
    "no unit": Broken(
        MAP, at(lambda d: shared(d).RealWorldValueMappingSequence[0], drop("MeasurementUnitsCodeSequence")), "unit"),
    "slope of 0": Broken(
        MAP, at(lambda d: shared(d).RealWorldValueMappingSequence[0], put(RealWorldValueSlope=0.0)), "every value"),
    "floats with integer attributes": Broken(MAP, put(BitsStored=32, HighBit=31, PixelRepresentation=0), "floating"),
    "floats of 16 bits": Broken(MAP, put(BitsAllocated=16), "BitsAllocated"),
    # annotations
    "index from 0 ": Broken(
        ANN, array(1, "LongPrimitivePointIndexList", "<u4", lambda v: v - 1), "begins with 0"),
    "index that goes back": Broken(
        ANN, array(1, "LongPrimitivePointIndexList", "<u4", lambda v: v[[0, 2, 1, *range(3, len(v))]]), "no later one"),
    "index within a point": Broken(
        ANN, array(1, "LongPrimitivePointIndexList", "<u4", at_place(1, 8)), "no points of 2"),
    "count of annotations": Broken(
        ANN, at(lambda d: d.AnnotationGroupSequence[0], put(NumberOfAnnotations=49)), "NumberOfAnnotations"),
    "count of points": Broken(
        ANN, at(lambda d: d.AnnotationGroupSequence[2], put(NumberOfAnnotations=3)), "NumberOfAnnotations"),
    "half a point": Broken(ANN, array(1, "PointCoordinatesData", "<f4", lambda v: v[:-1]), "no points of 2"),
    "no number": Broken(ANN, array(1, "PointCoordinatesData", "<f4", at_place(3, np.nan)), "not finite"),
    "measurements of some": Broken(
        ANN, measured(6, "FloatingPointValues", "<f4", lambda v: v[:-1]), "49 values of 50"),
    "measurements of none": Broken(
        ANN, measured(7, "AnnotationIndexList", "<u4", at_place(0, 51)), "to 51 of 50"),
    "group without UID": Broken(
        ANN, at(lambda d: d.AnnotationGroupSequence[0], drop("AnnotationGroupUID")), "GroupUID"),
    "groups with one UID": Broken(
        ANN,
        lambda d: put(AnnotationGroupUID=d.AnnotationGroupSequence[0].AnnotationGroupUID)(d.AnnotationGroupSequence[1]),
        "of group 1"),
    "group number": Broken(ANN, at(lambda d: d.AnnotationGroupSequence[1], put(AnnotationGroupNumber=5)), "expected 2"),
    "no image": Broken(ANN, drop("ReferencedImageSequence"), "ReferencedImageSequence"),
    "whose pixels": Broken(ANN, drop("PixelOriginInterpretation"), "PixelOrigin"),
    # reports
    "relationship": Broken(SR, at(number, put(RelationshipType="HAS PROPERTIES")), "CONTAINER HAS PROPERTIES"),
    "no relationship": Broken(SR, at(number, put(RelationshipType="IS ABOUT")), "no relationship"),
    "number without unit": Broken(
        SR, at(lambda d: number(d).MeasuredValueSequence[0], drop("MeasurementUnitsCodeSequence")), "no unit"),
    "number without value": Broken(SR, at(number, drop("MeasuredValueSequence")), "MeasuredValueSequence"),
    "odd coordinates": Broken(SR, lambda d: put(GraphicData=list(scoord(d).GraphicData)[:-1])(scoord(d)), "no points"),
    "open outline": Broken(SR, lambda d: put(GraphicData=list(scoord(d).GraphicData)[:-2])(scoord(d)), "is open"),
    "open polygon in space": Broken(
        "report regions-in-space",
        open_polygon,
        "POLYGON"),
    "coordinates on nothing": Broken(SR, at(scoord, drop("ContentSequence")), "holds no image"),
    "circle of three points": Broken(
        SR, lambda d: put(GraphicData=[1, 2, 3, 4, 5, 6])(scoord(d, "CIRCLE")), "a CIRCLE has 2"),
    "no template": Broken(SR, drop("ContentTemplateSequence"), "TID 1500"),
    "group without template": Broken(SR, at(group_of, drop("ContentTemplateSequence")), "measurement group"),
    "no tracking UID": Broken(SR, lambda d: without(d, named(d, "112040")), "Tracking Unique Identifier"),
    "no observer": Broken(
        SR,
        without_observer,
        "names no observer"),
    "evidence lacks an image": Broken(
        SR, lambda d: put(ReferencedSOPSequence=Sequence(list(evidence(d).ReferencedSOPSequence)[:-3]))(evidence(d)),
        "not listed as evidence"),
    "finding without meaning": Broken(
        SR, at(lambda d: item(d, ValueType="CODE").ConceptCodeSequence[0], drop("CodeMeaning")), "no meaning"),
    "text without text": Broken(SR, at(lambda d: item(d, ValueType="TEXT"), put(TextValue="")), "TextValue"),
    "container of what kind": Broken(SR, at(group_of, drop("ContinuityOfContent")), "ContinuityOfContent"),
    "item without name": Broken(SR, at(number, drop("ConceptNameCodeSequence")), "ConceptNameCodeSequence"),
    "space in a flat report": Broken(
        "report regions-in-space", put(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"), "not allowed in this kind"),
    "frame of a single image": Broken(
        SR, at(lambda d: item(d, ValueType="IMAGE").ReferencedSOPSequence[0], put(ReferencedFrameNumber=1)),
        "one frame"),
    # key objects
    "title": Broken(KO, at(lambda d: d.ConceptNameCodeSequence[0], put(CodeValue="126000")), "CID 7010"),
    "no title": Broken(KO, drop("ConceptNameCodeSequence"), "no title"),
    "key object without evidence": Broken(
        KO, lambda d: put(ReferencedSOPSequence=Sequence(list(evidence(d).ReferencedSOPSequence)[:1]))(evidence(d)),
        "not listed as evidence"),
    "nothing selected": Broken(
        KO, lambda d: put(ContentSequence=Sequence([c for c in d.ContentSequence if c.ValueType != "IMAGE"]))(d),
        "nothing is selected"),
    # presentation states
    "area turned over": Broken(PR, at(area, put(DisplayedAreaBottomRightHandCorner=[0, 20])), "above or left"),
    "no area": Broken(PR, drop("DisplayedAreaSelectionSequence"), "DisplayedArea"),
    "no layer": Broken(PR, at(lambda d: d.GraphicAnnotationSequence[0], put(GraphicLayer="OTHER")), "no layer"),
    "count of graphic points": Broken(PR, at(graphic, put(NumberOfGraphicPoints=3)), "of 3 points"),
    "circle of one point": Broken(PR, at(graphic, put(GraphicType="CIRCLE")), "no CIRCLE"),
    "area of another image": Broken(
        PR, at(lambda d: area(d).ReferencedImageSequence[0], put(ReferencedSOPInstanceUID=GONE)), "no image that"),
    "window without width": Broken(PR, at(lambda d: d.SoftcopyVOILUTSequence[0], put(WindowWidth="0")), "WindowWidth"),
    # structure sets
    "contour points": Broken(
        "rtstruct", at(lambda d: d.ROIContourSequence[0].ContourSequence[0], put(NumberOfContourPoints=7)), "is 7"),
    "contour of no region": Broken(
        "rtstruct", at(lambda d: d.ROIContourSequence[0], put(ReferencedROINumber=77)), "no region"),
    # against sources
    "another patient": Broken(SEG, put(PatientID="T2"), "PatientID", True),
    "another patient of a report": Broken(SR, put(PatientID="T2"), "PatientID", True),
    "another study": Broken(SEG, put(StudyInstanceUID=GONE), "StudyInstanceUID", True),
    "another frame of reference": Broken(SEG, put(FrameOfReferenceUID=GONE), "FrameOfReferenceUID", True),
    "another frame of reference of a slide": Broken(ANN, put(FrameOfReferenceUID=GONE), "FrameOfReferenceUID", True),
    "source that does not exist": Broken(SEG, source_everywhere(GONE), "not among the sources", True),
    "source of another class": Broken(
        SEG,
        at(lambda d: d.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0],
           put(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4")),
        "another SOP class", True),
    "source of another series": Broken(
        SEG, at(lambda d: d.ReferencedSeriesSequence[0], put(SeriesInstanceUID=GONE)), "another series", True),
    "one slice up": Broken(LABELS, shift_all(0, 0, 2.5), "from the source image", True),
    "one pixel aside": Broken(LABELS, shift_all(0.8, 0, 0), "from the source image", True),
    "rows for columns": Broken(
        LABELS, at(lambda d: shared(d).PixelMeasuresSequence[0], put(PixelSpacing=[0.8, 0.7])), "differs from", True),
    "off the patient": Broken("seg on its own grid", shift_all(0, 0, 500), "outside the extent", True),
    "coordinates off the image": Broken(
        SR, lambda d: put(GraphicData=[v + 1000 for v in scoord(d).GraphicData])(scoord(d)), "of an image of", True),
    "annotations off the slide": Broken(
        ANN, array(1, "PointCoordinatesData", "<f4", lambda v: v + 1000), "of a matrix of", True),
    "area beside the image": Broken(
        PR, at(area, put(DisplayedAreaTopLeftHandCorner=[70, 1], DisplayedAreaBottomRightHandCorner=[90, 40])),
        "show nothing of", True),
    "columns for rows in an area": Broken(PR, at(area, put(PresentationPixelSpacing=[0.8, 0.7])), "as high as", True),
    "graphic off the image": Broken(
        PR, at(graphic, put(GraphicData=[101.0, 1, 109, 1, 109, 9, 101, 1])), "lies off an image of 40 rows", True),
    "rows for columns in a graphic": Broken(
        PR, at(graphic, put(GraphicData=[1.0, 1, 9, 1, 9, 60, 1, 1])), "(9, 60) lies off", True),
    "text off the image": Broken(
        PR, at(lambda d: d.GraphicAnnotationSequence[0].TextObjectSequence[0], put(AnchorPoint=[5.0, 400])),
        "AnchorPoint", True),
    "state of an image that does not exist": Broken(PR, image_everywhere(GONE), "not among the sources", True),
    "key object that does not exist": Broken(KO, key_everywhere(GONE), "not among the sources", True),
    "contour off its slice": Broken("rtstruct", raise_contours(1.6), "off the plane of the image", True),
    "contour a little off its slice": Broken("rtstruct", raise_contours(0.4), "off the plane of the image", True),
    "contour beside the images": Broken("rtstruct", raise_contours(0, 400), "outside the images", True),
    "contour of a slice that does not exist": Broken(
        "rtstruct",
        at(lambda d: contour(d).ContourImageSequence[0], put(ReferencedSOPInstanceUID=GONE)),
        "not among the sources", True),
    "region in space beside the images": Broken(
        "report regions-in-space", far_away, "outside all images", True),
    "tiles elsewhere on the slide": Broken(
        TILES, at(lambda d: d.TotalPixelMatrixOriginSequence[0], put(XOffsetInSlideCoordinateSystem="1.0")),
        "lies elsewhere", True),
    "tiles of other pixels": Broken(
        TILES, at(lambda d: shared(d).PixelMeasuresSequence[0], put(PixelSpacing=[0.01, 0.01])),
        "lies elsewhere", True),
    "part of another slide": Broken(
        TILES,
        many(put(TotalPixelMatrixRows=149),
             at(lambda d: d.TotalPixelMatrixOriginSequence[0], put(XOffsetInSlideCoordinateSystem="200.0"))),
        "outside the images", True),
    "evidence of another study": Broken(
        SR, at(lambda d: d.CurrentRequestedProcedureEvidenceSequence[0], put(StudyInstanceUID=GONE)),
        "another study", True),
}  # fmt: skip
