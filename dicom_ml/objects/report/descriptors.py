"""How the images of an image library were made, by their modality (PS3.16 TID 1602, 1603, 1605 to 1607)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dicom_ml.codes import Code, code_from_dataset, lookup_meaning
from dicom_ml.errors import CodeError
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.items import ContentItem, code_item, number_item, text_item, uid_item
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["descriptor_items"]

_REL = "HAS ACQ CONTEXT"
#: Modalities whose images are projections, and those whose images are sections (PS3.16 TID 1602).
_PROJECTIONS = frozenset({"CR", "RG", "DX", "MG", "XA", "RF", "PX", "IO"})
#: Anatomic region of values of Body Part Examined, where all editions of PS3.16 CID 4031 have one code for it: those of
#: chest, abdomen and pelvis were changed, and readers of one edition refuse the other's.
_REGIONS = {
    **dict.fromkeys(("HEAD", "BRAIN"), Code("69536005", "SCT", "Head")),
    "NECK": Code("45048000", "SCT", "Neck"),
    "HEADNECK": Code("774007", "SCT", "Head and Neck"),
    "BREAST": Code("76752008", "SCT", "Breast"),
    "HEART": Code("80891009", "SCT", "Heart"),
    "PROSTATE": Code("41216001", "SCT", "Prostate"),
    "SPINE": Code("421060004", "SCT", "Spine"),
    "CSPINE": Code("122494005", "SCT", "Cervical spine"),
    "TSPINE": Code("122495006", "SCT", "Thoracic spine"),
    "LSPINE": Code("122496007", "SCT", "Lumbar spine"),
    "KNEE": Code("72696002", "SCT", "Knee"),
    "SHOULDER": Code("16982005", "SCT", "Shoulder"),
    "WHOLEBODY": Code("38266002", "SCT", "Entire body"),
}
_SIDES = {
    "R": Code("24028007", "SCT", "Right"),
    "L": Code("7771000", "SCT", "Left"),
    "U": Code("66459002", "SCT", "Unilateral"),
    "B": Code("51440002", "SCT", "Bilateral"),
}
#: Acquisition Type and Reconstruction Algorithm of enhanced CT (PS3.16 CID 10013 and 10033).
_ACQUISITIONS = {
    "SEQUENCED": Code("113804", "DCM", "Sequenced Acquisition"),
    "SPIRAL": Code("116152004", "SCT", "Spiral Acquisition"),
    "CONSTANT_ANGLE": Code("113805", "DCM", "Constant Angle Acquisition"),
    "STATIONARY": Code("113806", "DCM", "Stationary Acquisition"),
    "FREE": Code("113807", "DCM", "Free Acquisition"),
    "CONE_BEAM": Code("702569007", "SCT", "Cone Beam Acquisition"),
}
_RECONSTRUCTIONS = {
    "FILTER_BACK_PROJ": Code("113962", "DCM", "Filtered Back Projection"),
    "ITERATIVE": Code("113963", "DCM", "Iterative Reconstruction"),
}


def descriptor_items(source: SourceSeries) -> list[ContentItem]:
    """What all images of a series share, but for the geometry of their planes.

    Parameters
    ----------
    source : SourceSeries
        What it does not say, or says in terms that have no code, is left out.
    """
    ds, made = source.attribute_dataset(), _described(source.described)
    items = [code_item(c.MODALITY, _modality(source.modality), _REL)]
    region = _REGIONS.get(str(ds.get("BodyPartExamined") or "").replace(" ", "").upper())
    if region is not None:
        items.append(code_item(c.TARGET_REGION, region, _REL))
    side = _SIDES.get(str(made.get("ImageLaterality") or ds.get("Laterality") or ""))
    if side is not None:
        items.append(code_item(c.IMAGE_LATERALITY, side, _REL))
    for kind, name, value in (
        ("DATE", c.STUDY_DATE, ds.get("StudyDate")),
        ("TIME", c.STUDY_TIME, ds.get("StudyTime")),
        ("DATE", c.CONTENT_DATE, made.get("ContentDate")),
        ("DATE", c.ACQUISITION_DATE, made.get("AcquisitionDate")),
    ):
        if value:
            items.append(ContentItem(kind, name, str(value), _REL))
    if source.frame_of_reference_uid:
        items.append(uid_item(c.FRAME_OF_REFERENCE_UID, source.frame_of_reference_uid, _REL))
    if source.modality in _PROJECTIONS:
        items += _projection(made)
    elif source.grid is not None and not source.levels:
        items += _numbers(made, ((c.SLICE_THICKNESS, "SliceThickness", c.MM),))
    items += {"CT": _ct, "MR": _mr, "PT": _pet}.get(source.modality, _nothing)(made)
    return items


def _modality(modality: str) -> Code:
    meaning = lookup_meaning(modality, "DCM") if modality else None
    return Code(modality, "DCM", meaning) if meaning else Code("OT", "DCM", "Other Modality")


def _described(attributes: Mapping[str, Any]) -> Dataset:
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    model = {f"{tag:08X}": value for k, value in attributes.items() if (tag := tag_for_keyword(k)) is not None}
    ds: Dataset = Dataset.from_json(model)
    return ds


def _nothing(ds: Dataset) -> Iterator[ContentItem]:
    return iter(())


def _numbers(ds: Dataset, wanted: tuple[tuple[Code, str, Code], ...]) -> Iterator[ContentItem]:
    for name, keyword, unit in wanted:
        value = ds.get(keyword)
        if value not in (None, ""):
            yield number_item(name, float(value), unit, _REL)


def _code(ds: Dataset, keyword: str) -> Code | None:
    sequence = ds.get(keyword) or []
    try:
        code = code_from_dataset(sequence[0]) if sequence else None
    except CodeError:
        return None
    return code if code is not None and code.meaning else None


def _codes(ds: Dataset, wanted: tuple[tuple[Code, str], ...]) -> Iterator[ContentItem]:
    for name, keyword in wanted:
        code = _code(ds, keyword)
        if code is not None:
            yield code_item(name, code, _REL)


def _projection(ds: Dataset) -> Iterator[ContentItem]:
    """TID 1603."""
    view = _code(ds, "ViewCodeSequence")
    if view is not None:
        modifiers = ds.ViewCodeSequence[0].get("ViewModifierCodeSequence") or []
        known = [code_from_dataset(m) for m in modifiers if m.get("CodeValue") and m.get("CodeMeaning")]
        yield code_item(
            c.IMAGE_VIEW, view, _REL, [code_item(c.IMAGE_VIEW_MODIFIER, m, "HAS CONCEPT MOD") for m in known]
        )
    orientation = ds.get("PatientOrientation") or []
    if len(orientation) == 2 and all(orientation):
        yield text_item(c.ORIENTATION_ROW, str(orientation[0]), _REL)
        yield text_item(c.ORIENTATION_COLUMN, str(orientation[1]), _REL)
    spacing = ds.get("ImagerPixelSpacing") or []
    if len(spacing) == 2:
        yield number_item(c.HORIZONTAL_SPACING, float(spacing[1]), c.MM, _REL)
        yield number_item(c.VERTICAL_SPACING, float(spacing[0]), c.MM, _REL)
    yield from _numbers(
        ds,
        (
            (c.PRIMARY_ANGLE, "PositionerPrimaryAngle", c.DEGREE),
            (c.SECONDARY_ANGLE, "PositionerSecondaryAngle", c.DEGREE),
        ),
    )


def _ct(ds: Dataset) -> Iterator[ContentItem]:
    """TID 1605."""
    for name, keyword, codes in (
        (c.CT_ACQUISITION, "AcquisitionType", _ACQUISITIONS),
        (c.RECONSTRUCTION, "ReconstructionAlgorithm", _RECONSTRUCTIONS),
    ):
        code = codes.get(str(ds.get(keyword) or ""))
        if code is not None:
            yield code_item(name, code, _REL)


def _mr(ds: Dataset) -> Iterator[ContentItem]:
    """TID 1606."""
    sequence = str(ds.get("PulseSequenceName") or ds.get("SequenceName") or "")
    if sequence:
        yield text_item(c.PULSE_SEQUENCE, sequence, _REL)


def _pet(ds: Dataset) -> Iterator[ContentItem]:
    """TID 1607, as far as images have it."""
    given = ds.get("RadiopharmaceuticalInformationSequence") or []
    if len(given) != 1:
        return
    agent = given[0]
    yield from _codes(agent, ((c.RADIONUCLIDE, "RadionuclideCodeSequence"),
                              (c.AGENT, "RadiopharmaceuticalCodeSequence")))  # fmt: skip
    yield from _numbers(agent, ((c.HALF_LIFE, "RadionuclideHalfLife", c.SECOND),))
    for name, keyword in ((c.START, "RadiopharmaceuticalStartDateTime"), (c.STOP, "RadiopharmaceuticalStopDateTime")):
        if agent.get(keyword):
            yield ContentItem("DATETIME", name, str(agent.get(keyword)), _REL)
    yield from _numbers(
        agent,
        (
            (c.AGENT_VOLUME, "RadiopharmaceuticalVolume", c.CM3),
            (c.TOTAL_DOSE, "RadionuclideTotalDose", c.BECQUEREL),
            (c.SPECIFIC_ACTIVITY, "RadiopharmaceuticalSpecificActivity", c.BECQUEREL_PER_MOLE),
        ),
    )
    yield from _codes(agent, ((c.ROUTE, "AdministrationRouteCodeSequence"),))
