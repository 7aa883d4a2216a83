"""Make ``dicom_ml/objects/iod/tables.json.z``: what DICOM PS3.3 says of the objects that are validated.

For developers only; nothing here runs in an installed package::

    python tools/iod_tables.py --structure FOLDER --descriptions FOLDER

``--structure`` holds ``iod_module_map.json``, ``module_attribute_map.json`` and ``sop_class_iod_map.json``, tables of
modules and attributes as the Python package highdicom ships them, made from a recent edition. ``--descriptions`` holds
``ciods.json``, ``ciod_to_modules.json``, ``ciod_to_fg_macros.json``, ``modules.json``, ``module_to_attributes.json``,
``macros.json`` and ``macro_to_attributes.json``, the texts of an older edition as the package dicom-standard ships
them: conditions and enumerated values are found in those texts. What newer editions changed there is in `_CHANGES`.

The result is JSON, compressed by zlib:

``sop``
    SOP class UID to IOD.
``iods``
    Name to ``[title, section, modules, groups]``; a module is ``[name, usage, condition]``, a functional group
    ``[tag of its sequence, usage, condition, section]``.
``modules``
    Name to ``[title, section, table]``.
``tables``
    Each a list of rows ``[tag, type, condition, values, table of its items]``; equal tables are stored once.
``conditions``
    Each ``[expression, whether the attribute may be present otherwise]``; see ``dicom_ml/objects/iod/conditions.py``.
``values``
    Each a list of ``[number of the value or 0, enumerated values]``.

Rows refer to conditions, values and tables by their numbers, -1 for none.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom._dicom_dict import RepeatersDictionary
from pydicom.datadict import dictionary_description
from pydicom.datadict import tag_for_keyword as plain_tag

TARGET = Path(__file__).parent.parent / "dicom_ml" / "objects" / "iod" / "tables.json.z"

_PREFIX = "1.2.840.10008.5.1.4.1.1."
_CLASSES = (
    *("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "130", "128.1", "77.1.6", "66.4", "66.7", "30", "91.1", "481.3"),
    *("88.11", "88.22", "88.33", "88.34", "88.59", "7", "7.1", "7.2", "7.3", "7.4"),
    *("11.1", "11.2", "11.3", "11.4", "11.8"),
)
#: IODs that the older edition calls otherwise.
_OLDER_NAMES = {
    "positron-emission-tomography-image": "pet-image",
    "multi-frame-single-bit-secondary-capture-image": "multi-frame-single-bit-sc-image",
    "multi-frame-grayscale-byte-secondary-capture-image": "multi-frame-grayscale-byte-sc-image",
    "multi-frame-grayscale-word-secondary-capture-image": "multi-frame-grayscale-word-sc-image",
    "multi-frame-true-color-secondary-capture-image": "multi-frame-true-color-sc-image",
}
#: Sections of modules that the texts do not name, or not to the last number.
_SECTIONS = {
    "patient": "C.7.1.1",
    "clinical-trial-subject": "C.7.1.3",
    "general-study": "C.7.2.1",
    "general-series": "C.7.3.1",
    "frame-of-reference": "C.7.4.1",
    "general-equipment": "C.7.5.1",
    "general-image": "C.7.6.1",
    "ct-image": "C.8.2.1",
    "mr-image": "C.8.3.1",
    "ct-series": "C.8.15.1",
    "enhanced-mr-image": "C.8.13.1",
    "pet-series": "C.8.9.1",
    "enhanced-pet-series": "C.8.22.1",
    "segmentation-series": "C.8.20.1",
    "parametric-map-series": "C.8.32.1",
    "sr-document-series": "C.17.1",
    "key-object-document-series": "C.17.6.1",
    "sc-equipment": "C.8.6.1",
    "modality-lut": "C.11.1",
    "rt-series": "C.8.8.1",
    "sop-common": "C.12.1",
    "microscopy-bulk-simple-annotations": "C.37.1",
    "microscopy-bulk-simple-annotations-series": "C.37.2",
    "microscope-slide-layer-tile-organization": "C.8.12.14",
    "multi-resolution-pyramid": "C.7.11.1",
    "general-acquisition": "C.7.10.1",
    "enhanced-patient-orientation": "C.7.6.30",
}
_NEWER_SECTIONS = {"microscopy-bulk-simple-annotations": "A.87"}
_SHARED, _FRAMES = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
#: Checked by rules of their own: the items of a document depend on their value types.
_NO_ITEMS = {"sr-document-content"}
_CUT = {"ContentSequence"}

#: What editions after the older one say: (module, path) to condition or enumerated values.
_YES_NO = [[0, ["YES", "NO"]]]
_CHANGES: dict[tuple[str, str], dict[str, Any]] = {
    # made conditional by the SC Multi-frame Image module
    ("multi-frame", "FrameIncrementPointer"): {"type": "1C", "condition": [["more", "00280008", 0, 1], True]},
    ("optical-path", "NumberOfOpticalPaths"): {"condition": [["in", "00209311", 0, ["TILED_FULL"]], True]},
    ("segmentation-image", "SegmentationType"): {"values": [[0, ["BINARY", "FRACTIONAL", "LABELMAP"]]]},
    ("segmentation-image", "PhotometricInterpretation"): {"values": [[0, ["MONOCHROME2", "PALETTE COLOR"]]]},
    ("segmentation-image", "BitsAllocated"): {"values": [[0, ["1", "8", "16"]]]},
    ("segmentation-image", "BitsStored"): {"values": [[0, ["1", "8", "16"]]]},
    ("segmentation-image", "HighBit"): {"values": [[0, ["0", "7", "15"]]]},
    ("segmentation-image", "SegmentsOverlap"): {"values": [[0, ["YES", "UNDEFINED", "NO"]]]},
    ("segmentation-image", "SegmentationFractionalType"): {
        "condition": [["in", "00620001", 0, ["FRACTIONAL"]], False],
        "values": [[0, ["PROBABILITY", "OCCUPANCY"]]],
    },
    ("segmentation-image", "MaximumFractionalValue"): {"condition": [["in", "00620001", 0, ["FRACTIONAL"]], False]},
    ("microscopy-bulk-simple-annotations", "AnnotationCoordinateType"): {"values": [[0, ["2D", "3D"]]]},
    ("microscopy-bulk-simple-annotations", "PixelOriginInterpretation"): {
        "condition": [["in", "006A0001", 0, ["2D"]], False],
        "values": [[0, ["FRAME", "VOLUME"]]],
    },
    ("microscopy-bulk-simple-annotations", "ReferencedImageSequence"): {
        "condition": [["in", "006A0001", 0, ["2D"]], True]
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/AnnotationGroupGenerationType"): {
        "values": [[0, ["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]]]
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/AnnotationGroupAlgorithmIdentificationSequence"): {
        "condition": [["notin", "006A0007", 0, ["MANUAL"]], True]
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/GraphicType"): {
        "values": [[0, ["POINT", "POLYLINE", "POLYGON", "ELLIPSE", "RECTANGLE"]]]
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/AnnotationAppliesToAllOpticalPaths"): {
        "values": _YES_NO
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/AnnotationAppliesToAllZPlanes"): {
        "condition": [["in", "006A0001", 0, ["3D"]], False],
        "values": _YES_NO,
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/ReferencedOpticalPathIdentifier"): {
        "condition": [["in", "006A000D", 0, ["NO"]], False]
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/DoublePointCoordinatesData"): {
        "condition": [["absent", "00660016"], False]
    },
    ("microscopy-bulk-simple-annotations", "AnnotationGroupSequence/LongPrimitivePointIndexList"): {
        "condition": [["in", "00700023", 0, ["POLYLINE", "POLYGON"]], False]
    },
    ("microscopy-bulk-simple-annotations-series", "Modality"): {"values": [[0, ["ANN"]]]},
    ("microscope-slide-layer-tile-organization", "TotalPixelMatrixFocalPlanes"): {
        "condition": [["in", "00209311", 0, ["TILED_FULL"]], True]
    },
}
#: Tags whose condition texts are beyond words alone, or whose older enumerations have grown since.
_UNSURE_VALUES = {"Modality", "LossyImageCompressionMethod", "PresentationLUTShape", "ReferencedImageBoxSequence"}
#: Conditions of modules and groups that the texts do not put in machine-readable words.
_USAGE: dict[tuple[str, str], Any] = {
    ("segmentation", "palette-color-lookup-table"): [["in", "00280004", 0, ["PALETTE COLOR"]], False],
    ("segmentation", "microscope-slide-layer-tile-organization"): [["present", "00480006"], True],
    ("parametric-map", "microscope-slide-layer-tile-organization"): [["present", "00480006"], True],
    ("microscopy-bulk-simple-annotations", "frame-of-reference"): [["in", "006A0001", 0, ["3D"]], True],
    ("parametric-map", "image-pixel"): [["present", "7FE00010"], False],
    ("parametric-map", "floating-point-image-pixel"): [["present", "7FE00008"], False],
    ("parametric-map", "double-floating-point-image-pixel"): [["present", "7FE00009"], False],
    ("segmentation", "0062000A"): [["notin", "00620001", 0, ["LABELMAP"]], False],
}
#: Functional groups that are no longer mandatory.
_OPTIONAL = {("parametric-map", "00209071")}


#: Attributes of repeating groups, by the first group.
_REPEATED = {entry[4]: int(mask.replace("x", "0"), 16) for mask, entry in RepeatersDictionary.items()}


def tag_for_keyword(keyword: str) -> int | None:
    tag = plain_tag(keyword)
    return _REPEATED.get(keyword) if tag is None else tag


# ---------------------------------------------------------------------- conditions
_ATTRIBUTE = re.compile(r"\(?([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")
_LIST = r"@[0-9A-F]{8}(?:(?:,? and |,? or |, )(?:if )?@[0-9A-F]{8})*"
_VALUE = re.compile(r'"?([A-Z0-9][A-Z0-9_. /-]*)"?')


def condition_of(text: str) -> list[Any] | None:
    """Expression and "may be present otherwise" of a description; None where its words are beyond this."""
    found = re.search(r"(?:Required|Shall be present) (?:if|when) (.*)", text)
    if found is None:
        return None
    words = _marked(found.group(1))
    otherwise = bool(re.search(r"may (also )?be present|otherwise may", words, re.I))
    cut = re.split(r"\.(?:\s|$)|; |,? [Mm]ay be present|,? shall not|, otherwise|\s\(see| Note ", words)[0].strip()
    expression = _expression(cut.strip())
    return None if expression is None else [expression, otherwise]


def _marked(text: str) -> str:
    """Each attribute, written ``Name (gggg,eeee)``, as ``@ggggeeee``."""
    for group, element in set(_ATTRIBUTE.findall(text)):
        try:
            name = dictionary_description(int(group + element, 16))
        except KeyError:
            continue
        text = re.sub(
            rf"(?:the )?(?:value of )?{re.escape(name)},? ?\(?{group},{element}\)", f"@{group}{element}".upper(), text
        )
    text = re.sub(r"SOP Class UID (?=is|equals)", "@00080016 ", text)
    return re.sub(r'(") \([A-Z][\w ]+\)', r"\1", text).replace("value of @", "@").replace("the @", "@")


def _expression(words: str) -> list[Any] | None:
    words = re.sub(r"^(?:either|if|the) ", "", words.strip().rstrip(",."))
    listed = re.fullmatch(
        rf"(?:neither |either )?({_LIST}) (?:is|are) (present|not present|absent)(?: and has a value)?", words
    )
    if listed:
        tags = re.findall(r"@([0-9A-F]{8})", listed.group(1))
        kind = "present" if listed.group(2) == "present" else "absent"
        if len(tags) == 1:
            return [kind, tags[0]]
        either = " or " in listed.group(1)
        if either and kind == "absent":
            return None
        return ["or" if either else "and", *[[kind, tag] for tag in tags]]
    for word in ("or", "and"):
        parts = re.split(rf",? {word} (?:if |when |either )?(?=@)", words)
        other = "and" if word == "or" else "or"
        if len(parts) > 1:
            if re.search(rf",? {other} (?:if )?@", words):
                return None
            inner = [_expression(part) for part in parts]
            return None if None in inner else [word, *inner]
    return _atom(words)


def _atom(words: str) -> list[Any] | None:
    found = re.fullmatch(
        r"@([0-9A-F]{8}),?(?: [Vv]alue ([1-9]))?(?: of this frame| at the image level)?(?: value)? "
        r"(is|equals|has a value of|is equal to|is present and has a value of|has the value|has a value) ?"
        r"(not equal to |not |other than |EQUAL to )?(.+)",
        words,
    )
    if found is None:
        return None
    tag, number, _, negation, values = found.groups()
    greater = re.fullmatch(r"greater than (\d+)", values)
    if greater:
        return ["more", tag, int(number or 0), int(greater.group(1))]
    choices = []
    for part in re.split(r",? or |, ", values):
        value = _VALUE.fullmatch(part.strip())
        if value is None:
            return None
        choices.append(value.group(1).strip())
    negative = negation is not None and not negation.startswith("EQUAL")
    return ["notin" if negative else "in", tag, int(number or 0), choices]


# ---------------------------------------------------------------------- enumerated values
def values_of(description: str) -> list[list[Any]]:
    """Enumerated values of a description: number of the value they are of (0: each), and the values."""
    found = []
    blocks = re.split(r"(?=<strong>)", description)
    for block in blocks:
        title = re.match(r"<strong>Enumerated Values(?: for Value (\d))?:?</strong>", block)
        if title is None:
            continue
        listed = re.search(r"<dl>(.*?)</dl>", block, re.S)
        if listed is None:
            continue
        terms = [plain(t) for t in re.findall(r"<dt>(.*?)</dt>", listed.group(1), re.S)]
        terms = [str(int(t[:-1], 16)) if re.fullmatch(r"[0-9A-F]{4}H", t) else t for t in terms]
        if terms and all(re.fullmatch(r"[A-Z0-9][A-Z0-9_. /-]*", t) for t in terms):
            found.append([int(title.group(1) or 0), terms])
    whole = [entry for entry in found if entry[0] == 0]
    if len(whole) > 1:  # one list for each of several cases, which only words tell apart
        merged = sorted({term for entry in whole for term in entry[1]})
        found = [[0, merged], *[entry for entry in found if entry[0]]]
    return found


def plain(description: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", description))).strip()


# ---------------------------------------------------------------------- tables
class Tables:
    """Collects tables, conditions and values, each stored once."""

    def __init__(self, texts: dict[tuple[str, ...], str]) -> None:
        self.texts = texts
        self.tables: list[Any] = []
        self.conditions: list[Any] = []
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}
        self.asked = self.understood = 0

    def once(self, collection: list[Any], value: Any) -> int:
        key = f"{id(collection)} {json.dumps(value)}"
        if key not in self._numbers:
            self._numbers[key] = len(collection)
            collection.append(value)
        return self._numbers[key]

    def table(self, module: str, rows: list[dict[str, Any]], base: tuple[str, ...] = ()) -> int:
        """Number of the table of the attributes at a path."""
        here = [r for r in rows if tuple(r["path"]) == base]
        out = []
        for row in sorted({r["keyword"]: r for r in here}.values(), key=lambda r: tag_for_keyword(r["keyword"]) or 0):
            tag = tag_for_keyword(row["keyword"])
            if tag is None:
                continue
            path = (*base, row["keyword"])
            inner = [r for r in rows if tuple(r["path"])[: len(path)] == path]
            deeper = -1
            if inner and row["keyword"] not in _CUT:
                deeper = self.table(module, inner, path)
            kind = _CHANGES.get((module, "/".join(path)), {}).get("type", row["type"])
            condition, values = self._facts(module, path, kind)
            out.append([f"{tag:08X}", kind, condition, values, deeper])
        return self.once(self.tables, out)

    def _facts(self, module: str, path: tuple[str, ...], kind: str) -> tuple[int, int]:
        text = self._text(module, path)
        condition, values = None, values_of(text)
        if kind in ("1C", "2C"):
            self.asked += 1
            condition = condition_of(plain(text))
        change = _CHANGES.get((module, "/".join(path)), {})
        condition, values = change.get("condition", condition), change.get("values", values)
        self.understood += condition is not None
        if path[-1] in _UNSURE_VALUES and not change:
            values = []
        return (
            -1 if condition is None else self.once(self.conditions, condition),
            self.once(self.values, values) if values else -1,
        )

    def _text(self, module: str, path: tuple[str, ...]) -> str:
        tags = tuple(f"{tag_for_keyword(k):08x}" for k in path if tag_for_keyword(k) is not None)
        if path[0] in (_SHARED, _FRAMES) and len(tags) > 1:
            return self.texts.get(("", *tags[1:]), "")
        return self.texts.get((module, *tags), "")


def section_of(link: str) -> str:
    found = re.search(r"(?:sect|table)_([A-Z](?:\.\d+)+|\d+(?:\.\d+)*)", link)
    return found.group(1) if found else ""


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structure", type=Path, required=True)
    parser.add_argument("--descriptions", type=Path, required=True)
    args = parser.parse_args(None if argv is None else list(argv))

    def structure(name: str) -> Any:
        return json.loads((args.structure / f"{name}.json").read_text())

    def older(name: str) -> Any:
        return json.loads((args.descriptions / f"{name}.json").read_text())

    texts: dict[tuple[str, ...], str] = {}
    for row in older("macro_to_attributes"):
        texts.setdefault(("", *row["path"].split(":")[1:]), row["description"])
    for row in older("module_to_attributes"):
        texts.setdefault(tuple(row["path"].split(":")), row["description"])
    modules = {m["id"]: m for m in older("modules")}
    macros = {m["id"]: m for m in older("macros")}
    objects = {c["id"]: c for c in older("ciods")}
    usage = {(r["ciodId"], r["moduleId"]): r["conditionalStatement"] or "" for r in older("ciod_to_modules")}
    first_tag = {}
    for row in older("macro_to_attributes"):
        first_tag.setdefault(row["macroId"], row["path"].split(":")[1].upper())
    groups: dict[str, list[Any]] = {}
    for row in older("ciod_to_fg_macros"):
        groups.setdefault(row["ciodId"], []).append(row)

    attributes, iods = structure("module_attribute_map"), structure("iod_module_map")
    classes = structure("sop_class_iod_map")
    made = Tables(texts)
    out: dict[str, Any] = {"sop": {}, "iods": {}, "modules": {}}
    for suffix in _CLASSES:
        iod = out["sop"][_PREFIX + suffix] = classes[_PREFIX + suffix]
        if iod in out["iods"]:
            continue
        name = _OLDER_NAMES.get(iod, iod)
        known = objects.get(name, {})
        listed = []
        for entry in iods[iod]:
            key = entry["key"]
            condition = _USAGE.get((iod, key)) or condition_of(plain(usage.get((name, key)) or ""))
            listed.append([key, entry["usage"], -1 if condition is None else made.once(made.conditions, condition)])
            if key not in out["modules"]:
                module = modules.get(key, {})
                rows = [] if key in _NO_ITEMS else [r for r in attributes[key] if r["path"][:1] != [_FRAMES]]
                rows += [r for r in attributes[key] if r["path"][:1] == [_FRAMES]]
                section = _SECTIONS.get(key) or section_of(module.get("linkToStandard", ""))
                if "functional-groups" in key:
                    section = "C.7.6.16"
                title = module.get("name") or key.replace("-", " ").title()
                out["modules"][key] = [title, section, made.table(key, rows)]
        found = []
        for row in groups.get(name, []):
            tag = first_tag.get(row["macroId"], "")
            condition = _USAGE.get((iod, tag)) or condition_of(row["conditionalStatement"] or "")
            kind = "C" if (iod, tag) in _USAGE else "U" if (iod, tag) in _OPTIONAL else row["usage"]
            number = -1 if condition is None else made.once(made.conditions, condition)
            found.append([tag, kind, number, section_of(macros[row["macroId"]].get("linkToStandard", ""))])
        title = known.get("name") or iod.replace("-", " ").title()
        section = section_of(known.get("linkToStandard", "")) or {"microscopy-bulk-simple-annotations": "A.87"}.get(
            iod, ""
        )
        out["iods"][iod] = [title, section, listed, found]
    out["tables"], out["conditions"], out["values"] = made.tables, made.conditions, made.values
    packed = zlib.compress(json.dumps(out, separators=(",", ":")).encode(), 9)
    TARGET.write_bytes(packed)
    print(f"{len(out['iods'])} IODs, {len(out['modules'])} modules, {len(made.tables)} tables, "
          f"{made.understood} of {made.asked} conditions understood, {len(packed)} bytes")  # fmt: skip


if __name__ == "__main__":
    main()
