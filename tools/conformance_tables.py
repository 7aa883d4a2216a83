"""The tables of docs/conformance.md, made of the code's own registries.

    python tools/conformance_tables.py            writes them into the page
    python tools/conformance_tables.py --check    ends with 1 where the page says something else

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; everything around is written by hand. What is
written in which transfer syntax is found by writing it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.uid import UID

import dicom_ml as dml
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import COMPRESSIONS, decodable_syntaxes
from dicom_ml.encoding.transcoding.folder import TARGETS
from dicom_ml.geometry import Grid
from dicom_ml.objects.derived import Description, add_series
from dicom_ml.objects.iod.tables import iod_of
from dicom_ml.objects.presentation.content import KINDS
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.document import DOCUMENTS
from dicom_ml.phantom import Acquisition, axial_affine, chest_phantom, write_ct_series
from dicom_ml.reading.headers import _ADVICE
from dicom_ml.reading.slides.headers import SLIDE_CLASSES
from dicom_ml.source import COPIED_KEYWORDS, SourceSeries

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
#: Names that are younger than pydicom's dictionary (PS3.6 A).
_NAMES = {
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
    sop.LABEL_MAP_SEGMENTATION: "Label Map Segmentation Storage",
    sop.VARIABLE_MODALITY_LUT_PRESENTATION: "Variable Modality LUT Softcopy Presentation State Storage",
}
#: Images of CT, MR and PET. Other grayscale images are read the same way: nothing asks for the class.
_VOLUMES = (
    sop.CT_IMAGE, sop.ENHANCED_CT_IMAGE, sop.STORAGE + "2.2", sop.MR_IMAGE, sop.ENHANCED_MR_IMAGE,
    sop.STORAGE + "4.4", sop.PET_IMAGE, sop.STORAGE + "130", sop.STORAGE + "128.1",
)  # fmt: skip
_CAPTURES = ("", ".1", ".2", ".3", ".4")
#: Transfer syntaxes whose frames hold less than was put in.
_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81))
_EITHER = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (91, 203))
#: Where the standard says how pixel data is encoded (PS3.5), by what the UID begins with.
_SECTIONS = (
    ("1.2.840.10008.1.2.8.1", "8.2.16"), ("1.2.840.10008.1.2.5", "8.2.2"), ("1.2.840.10008.1.2.4.20", "8.2.14"),
    ("1.2.840.10008.1.2.4.9", "8.2.4"), ("1.2.840.10008.1.2.4.8", "8.2.3"), ("1.2.840.10008.1.2.4.", "8.2.1"),
    ("1.2.840.10008.1.2.1.98", "A.4"), ("1.2.840.10008.1.2.1.99", "A.5"), ("1.2.840.10008.1.2.2", "A.3"),
    ("1.2.840.10008.1.2.1", "A.2"), ("1.2.840.10008.1.2", "A.1"),
)  # fmt: skip


def name_of(uid: str) -> str:
    """Name of a UID."""
    return _NAMES.get(uid) or str(UID(uid).name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# ---------------------------------------------------------------------- SOP classes
def sop_classes() -> str:
    """Which SOP classes are read, written and validated, and by what."""
    found: dict[str, list[str]] = {}

    def add(uids: Iterable[str], column: int, what: str) -> None:
        for uid in uids:
            cells = found.setdefault(uid, ["", ""])
            cells[column] = ", ".join(filter(None, [cells[column], what]))

    assert not set(_VOLUMES) & set(_ADVICE), "what is refused is not read"
    add(_VOLUMES, 0, "`read_volume`")
    add(SLIDE_CLASSES, 0, "`open_slide`")
    add(sop.SEGMENTATIONS, 0, "`read_segmentation`")
    add([sop.PARAMETRIC_MAP], 0, "`read_parametric_map`")
    add([sop.BULK_ANNOTATIONS], 0, "`read_annotations`")
    add([sop.BASIC_TEXT_SR], 0, "`read_sr_tree`")
    add(DOCUMENTS.values(), 0, "`read_report`")
    add([sop.KEY_OBJECT_SELECTION], 0, "`read_key_objects`")
    add([sop.SECONDARY_CAPTURE + part for part in _CAPTURES], 0, "`read_secondary_capture`")
    add(KINDS.values(), 0, "`read_presentation_state`")
    add([sop.RT_STRUCTURE_SET], 0, "`read_structure_set`")
    for uid, what in written_classes().items():
        add([uid], 1, what)
    order = sorted(found, key=lambda uid: [int(part) for part in uid.split(".")])
    rows = []
    for uid in order:
        iod = iod_of(uid)
        rows.append([name_of(uid), f"`{uid}`", *found[uid], f"PS3.3 {iod.section}" if iod else ""])
    return table(["SOP class", "UID", "Read by", "Written by", "Validated against"], rows)


@lru_cache(maxsize=1)
def written_classes() -> dict[str, str]:
    """SOP classes of objects that were really made, and what made them."""
    found: dict[str, str] = {}
    for made in made_objects():
        found[str(made.dataset.SOPClassUID)] = f"`{type(made).__name__}`"
    slide = "`dicom_ml.phantom`"
    return {**found, sop.CT_IMAGE: slide, sop.VL_WHOLE_SLIDE_MICROSCOPY: slide}


# ---------------------------------------------------------------------- objects to try
_TOLD = dml.Algorithm("Conformance", "1")


@lru_cache(maxsize=1)
def volume() -> dml.Volume:
    """A small CT."""
    shape = (4, 32, 32)
    affine = axial_affine(shape, (5.0, 10.0, 10.0), (0.0, 0.0, 0.0))
    chest = chest_phantom(1, acquisition=Acquisition(shape, affine, 5.0, 10.0, 0.0, None))
    with tempfile.TemporaryDirectory() as folder:
        write_ct_series(folder, chest.array, affine, "conformance")
        return dml.read_volume(folder)


def segment() -> dml.Segment:
    """Any segment."""
    return dml.Segment("Bone", "SCT:272673000", "SCT:123037004", _TOLD)


def segmentation(kind: str) -> dml.Segmentation:
    """A segmentation of a kind."""
    mask = volume().array > 0
    given = mask[None].astype(np.float32) if kind == "fractional" else mask.astype(np.uint8)
    return dml.Segmentation.from_array(given, source=volume(), segments=[segment()], kind=kind)


def parametric_map(dtype: str) -> dml.ParametricMap:
    """A parametric map whose values are stored so."""
    values = np.linspace(0, 1, volume().array.size).reshape(volume().shape)
    quantity = ("2931005", "SCT", "Probability")
    return dml.ParametricMap.from_array(values, source=volume(), quantity=quantity, dtype=dtype)


def capture(kind: str) -> dml.SecondaryCapture:
    """A secondary capture of a kind of pictures."""
    rgb = kind.endswith("colour")
    depth: Any = np.uint16 if "16" in kind else np.uint8
    array = np.zeros((2, 8, 8, 3) if rgb else (2, 8, 8), depth)
    array[:, 2:5, 3:6] = 200
    return dml.SecondaryCapture.from_array(
        array[0] if kind.startswith("single") else array, source=volume(), algorithm=_TOLD
    )


def made_objects() -> Iterable[Any]:
    """One object of each SOP class that is written."""
    source = volume().source
    assert source is not None
    yield segmentation("binary")
    yield segmentation("labelmap")
    yield parametric_map("float32")
    for document in DOCUMENTS:
        yield dml.Report(volume(), [], _TOLD, document=document)
    yield dml.KeyObjects(volume(), "For Teaching", [0], algorithm=_TOLD)
    for kind in ("single 8 bit", "8 bit", "16 bit", "8 bit colour"):
        yield capture(kind)
    for kind in ("grayscale", "pseudo-color"):
        palette = {"palette": "hot iron"} if kind == "pseudo-color" else {}
        yield dml.PresentationState(volume(), kind, voi=(0, 1000), **palette)
    from dicom_ml.objects.presentation import BlendInput
    from dicom_ml.phantom import write_slide

    yield dml.PresentationState.blend([BlendInput(volume(), voi=(0, 400)), BlendInput(volume(), voi=(0, 400))])
    with tempfile.TemporaryDirectory() as folder:
        write_slide(folder, seed=1, size=(256, 256))
        slide = dml.open_slide(folder)
        yield dml.PresentationState(slide, "color")
        points = np.array([[10.0, 20.0]])
        group = dml.AnnotationGroup("Nuclei", "SCT:84640000", "point", points, algorithm=_TOLD)
        yield dml.Annotations.from_groups([group], source=slide)


# ---------------------------------------------------------------------- transfer syntaxes
def syntaxes_read() -> str:
    """Transfer syntaxes that are decoded."""
    rows = []
    for uid in sorted(decodable_syntaxes(), key=lambda uid: [int(part) for part in uid.split(".")]):
        loss = "with" if uid in _LOSSY else "either" if uid in _EITHER else "none"
        section = next(s for start, s in _SECTIONS if uid.startswith(start))
        rows.append([name_of(uid), f"`{uid}`", loss, f"PS3.5 {section}"])
    return table(["Transfer syntax", "UID", "Loss", "Standard"], rows)


def syntaxes_written() -> str:
    """Which object is written in which transfer syntax: each is tried."""
    objects: list[tuple[str, Callable[[], Any]]] = [
        *((f"SEG {kind}", lambda kind=kind: segmentation(kind)) for kind in ("binary", "labelmap", "fractional")),
        *((f"PM {dtype}", lambda dtype=dtype: parametric_map(dtype)) for dtype in ("float32", "float64", "uint16")),
        *((f"SC {kind}", lambda kind=kind: capture(kind)) for kind in ("8 bit", "16 bit", "8 bit colour")),
    ]
    head = ["Object", *(f"`{name!r}`".replace("'", '"') for name in COMPRESSIONS)]
    rows = [["", *(f"`{uid}`" for uid in COMPRESSIONS.values())]]
    with tempfile.TemporaryDirectory() as folder:
        for label, make in objects:
            cells = [label]
            for compression, uid in COMPRESSIONS.items():
                cells.append("yes" if _is_written(make(), compression, uid, Path(folder)) else "")
            rows.append(cells)
    rows.append(["ANN, SR, KO, PR", "yes", *[""] * (len(COMPRESSIONS) - 1)])
    return table(head, rows)


def _is_written(made: Any, compression: str | None, uid: str, folder: Path) -> bool:
    from pydicom import dcmread

    path = folder / "object.dcm"
    try:
        made.save(path, compression=compression)
    except dml.EncodingError:
        return False
    found = str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    assert found == uid, f"{compression} gives {found}"
    return True


def transcoded() -> str:
    """What ``dicom-ml transcode`` writes."""
    return table(["`--to`", "Transfer syntax", "UID"], ([f"`{k}`", name_of(u), f"`{u}`"] for k, u in TARGETS.items()))


# ---------------------------------------------------------------------- templates
#: Template, its name, and a concept that only it brings into a report.
_TEMPLATES = (
    ("1500", "Measurement Report", c.IMAGING_MEASUREMENTS),
    ("1204", "Language of Content Item and Descendants", c.LANGUAGE),
    ("1001", "Observation Context", c.OBSERVER_TYPE),
    ("1002", "Observer Context", c.OBSERVER_TYPE),
    ("1003", "Person Observer Identifying Attributes", c.PERSON_NAME),
    ("1004", "Device Observer Identifying Attributes", c.DEVICE_UID),
    ("1006", "Subject Context", c.SUBJECT_CLASS),
    ("1008", "Subject Context, Fetus", c.FETUS),
    ("1009", "Subject Context, Specimen", c.SPECIMEN_UID),
    ("1010", "Subject Context, Device", c.SUBJECT_DEVICE_NAME),
    ("1600", "Image Library", c.IMAGE_LIBRARY),
    ("1601", "Image Library Entry", c.IMAGE_LIBRARY_GROUP),
    ("1602", "Image Library Entry Descriptors", c.PIXEL_ROWS),
    ("1603", "Image Library Entry Descriptors for Projection Radiography", c.PRIMARY_ANGLE),
    ("1604", "Image Library Entry Descriptors for Cross-Sectional Modalities", c.SLICE_SPACING),
    ("1605", "Image Library Entry Descriptors for CT", c.CT_ACQUISITION),
    ("1606", "Image Library Entry Descriptors for MR", c.PULSE_SEQUENCE),
    ("1607", "Image Library Entry Descriptors for PET", c.HALF_LIFE),
    ("1410", "Planar ROI Measurements and Qualitative Evaluations", c.IMAGE_REGION),
    ("1411", "Volumetric ROI Measurements and Qualitative Evaluations", c.REFERENCED_SEGMENT),
    ("1501", "Measurement and Qualitative Evaluation Group", c.TRACKING_IDENTIFIER),
    ("1502", "Time Point Context", c.TIME_POINT),
    ("1419", "ROI Measurements", c.FINDING_SITE),
    ("1420", "Measurements Derived From Multiple ROI Measurements", c.DERIVED_MEASUREMENTS),
    ("300", "Measurement", c.DERIVATION),
    ("310", "Measurement Properties", c.SELECTION),
    ("311", "Measurement Statistical Properties", c.POPULATION),
    ("312", "Normal Range Properties", c.RANGE_LOWER),
    ("4019", "Algorithm Identification", c.ALGORITHM_NAME),
)


def templates() -> str:
    """Templates of PS3.16 that content is made of: proved by making it."""
    trees = [report.tree() for report in made_reports()]
    items = [item for tree in trees for item in (tree, *tree.walk())]
    said = {item.template for item in items if item.template}
    there = {code for item in items for code in (item.name, item.value) if isinstance(code, dml.Code)}
    rows = []
    for number, name, concept in _TEMPLATES:
        assert concept in there, f"no report holds {concept}, by which TID {number} was to be known"
        rows.append([f"TID {number}", name, "yes" if number in said else "", "`Report`"])
    assert said <= {row[0].removeprefix("TID ") for row in rows}, f"templates {said} are not all listed"
    assert dml.KeyObjects(volume(), "For Teaching", [0], algorithm=_TOLD).tree().template == "2010"
    rows.append(["TID 2010", "Key Object Selection", "yes", "`KeyObjects`"])
    return table(["Template", "Name", "Named in Content Template Sequence", "Written by"], rows)


#: How images of a modality were acquired, in the DICOM JSON model.
_DESCRIBED: dict[str, Any] = {
    "DX": {"PositionerPrimaryAngle": {"vr": "DS", "Value": [10]}},
    "CT": {"AcquisitionType": {"vr": "CS", "Value": ["SPIRAL"]}},
    "MR": {"SequenceName": {"vr": "SH", "Value": ["tse"]}},
    "PT": {
        "RadiopharmaceuticalInformationSequence": {
            "vr": "SQ",
            "Value": [{"00181075": {"vr": "DS", "Value": [6586.2]}}],
        }
    },
}


def made_reports() -> Iterable[dml.Report]:
    """Reports that say all that can be said."""
    from dicom_ml.objects.report import DeviceSubject, Fetus, NormalRange, Person, Specimen, Statistic
    from dicom_ml.phantom import write_slide

    width = dml.Measurement(
        "SCT:81827009", 7.3, "mm", derivation="SCT:373098007", selection="DCM:121410",
        statistics=[Statistic("SCT:373099004", 8, "mm", "adults", "Somebody")],
        normal_range=NormalRange(1, 9.5, "adults", "Somebody"),
    )  # fmt: skip
    box = dml.MeasurementGroup(
        "SCT:27925004", "SCT:39607008", dml.Box((1, 4, 4), (3, 9, 9)), [width],
        time_point=dml.TimePoint("baseline", order=1),
    )  # fmt: skip
    flat = dml.MeasurementGroup("SCT:27925004", region=dml.Circle((8, 8), 3, slice=1))
    whole = dml.MeasurementGroup("SCT:27925004", images=[1])
    bone = segmentation("binary")
    part = dml.MeasurementGroup("SCT:27925004", region=dml.SegmentReference(bone, 1))
    yield dml.Report(volume(), [box, flat, whole, part], _TOLD, observers=[Person("Doe^Jane")], derived=[width])
    yield dml.Report(volume(), [box], _TOLD, subject=Fetus("F1"))
    for modality, described in _DESCRIBED.items():
        source = replace(volume().source, modality=modality, described=described)
        yield dml.Report(source, [], _TOLD, subject=DeviceSubject("Phantom"))
    with tempfile.TemporaryDirectory() as folder:
        write_slide(folder, seed=1, size=(256, 256))
        yield dml.Report(dml.open_slide(folder), [], _TOLD, subject=Specimen("1.2.3", "S1"))


# ---------------------------------------------------------------------- attributes
def copied() -> str:
    """Attributes that are copied from the source."""
    rows = ([*_attribute(keyword), *_module(keyword)] for keyword in COPIED_KEYWORDS if _is_copied(keyword))
    return table(["Attribute", "Tag", "Type", "Module", "Standard"], rows)


def _is_copied(keyword: str) -> bool:
    return keyword != "SpecificCharacterSet"  # declared anew


def made_anew() -> str:
    """Attributes of series, equipment and content that every object gets."""
    ds = Dataset()
    blank = SourceSeries("CT", "1", "1", "1", ("1",), ("1",), grid=Grid((1, 1, 1), np.eye(4)))
    add_series(ds, blank, Description("1", "1"), "SEG")
    rows = []
    for element in ds:
        value = _ANEW[element.keyword]  # whoever adds an attribute says here where it comes from
        rows.append([*_attribute(element.keyword), *_module(element.keyword), value])
    return table(["Attribute", "Tag", "Type", "Module", "Standard", "Value"], rows)


_ANEW = {
    "InstanceCreationDate": "now", "InstanceCreationTime": "now", "SeriesDate": "now", "SeriesTime": "now",
    "ContentDate": "now", "ContentTime": "now",
    "SOPInstanceUID": "new, or derived from the content (`deterministic=True`)",
    "StudyInstanceUID": "the source's", "SeriesInstanceUID": "new, or derived; `series_instance_uid=`",
    "FrameOfReferenceUID": "the source's; derived from its Series Instance UID where it has none",
    "Modality": "SEG, SR, ANN, KO, PR; the source's of maps and captures",
    "Manufacturer": "`dicom_ml`; `manufacturer=`",
    "ManufacturerModelName": "the algorithm's name, or `dicom_ml`; `model=`",
    "DeviceSerialNumber": "`0`; `serial_number=`", "SoftwareVersions": "the version; `software_versions=`",
    "SeriesDescription": "of the kind; `series_description=`", "SeriesNumber": "300; `series_number=`",
    "InstanceNumber": "1; `instance_number=`", "ContentLabel": "of the kind; `content_label=`",
    "ContentDescription": "empty; `content_description=`", "ContentCreatorName": "empty; `content_creator=`",
}  # fmt: skip


def _module(keyword: str) -> list[str]:
    """Type of an attribute, its module, and where that is defined, in the first object that has it."""
    tag = tag_for_keyword(keyword)
    for uid in (sop.SEGMENTATION, sop.PARAMETRIC_MAP, sop.BULK_ANNOTATIONS, sop.CT_IMAGE, sop.GRAYSCALE_PRESENTATION):
        iod = iod_of(uid)
        assert iod is not None
        for module in iod.modules:
            for row in module.rows:
                if row.tag == tag:
                    return [row.kind, module.name, f"PS3.3 {module.section}"]
    raise AssertionError(f"{keyword} is of no module")


def _attribute(keyword: str) -> list[str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return [dictionary_description(tag), f"({tag >> 16:04X},{tag & 0xFFFF:04X})"]


# ---------------------------------------------------------------------- the page
TABLES: dict[str, Callable[[], str]] = {
    "sop classes": sop_classes,
    "transfer syntaxes read": syntaxes_read,
    "transfer syntaxes written": syntaxes_written,
    "transcoding": transcoded,
    "templates": templates,
    "copied attributes": copied,
    "attributes made anew": made_anew,
}
_PLACE = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def renewed(text: str) -> str:
    """The page's text with its tables made anew."""
    named = [match[2] for match in _PLACE.finditer(text)]
    if sorted(named) != sorted(TABLES):
        raise SystemExit(f"the page has places for {named}; there are tables {list(TABLES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _PLACE.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n\n{m[3]}", text)


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    checks = parser.parse_args().check
    before = PAGE.read_text(encoding="utf-8")
    after = renewed(before)
    if before == after:
        return 0
    if checks:
        print(f"{PAGE.name} is not what the code says: run python tools/{Path(__file__).name}", file=sys.stderr)
        return 1
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
