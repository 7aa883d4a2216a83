"""Checks of every value by its VR and VM (PS3.5 6.2, PS3.6), of UIDs, and of coded entries (PS3.3 8.8)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dicom_ml.objects.iod.context import Findings, label, numbers, where
from dicom_ml.objects.iod.items import BULK, Item
from dicom_ml.objects.iod.structure import leaf_path
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["INVALID_UID", "check_values"]

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
INVALID_UID = "is no valid UID"
_PATTERNS = {
    "AE": re.compile(r"[\x20-\x5b\x5d-\x7e]{0,16}"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]{0,16}"),
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "DS": re.compile(r" *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *"),
    "DT": re.compile(r"\d{4}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?"
                     r"(\.\d{1,6})?)?)?)?)?([+-]\d{4})? *"),
    "IS": re.compile(r" *[+-]?\d{1,11} *"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)? *"),
}  # fmt: skip
_EXPECTED = {
    "AE": "at most 16 characters",
    "AS": "nnnD, nnnW, nnnM or nnnY",
    "CS": "at most 16 capitals, digits, spaces and underscores",
    "DA": "YYYYMMDD",
    "DS": "a decimal number of at most 16 characters",
    "DT": "YYYYMMDDHHMMSS.FFFFFF&ZZXX",
    "IS": "a whole number of at most 12 characters",
    "TM": "HHMMSS.FFFFFF",
}
_LENGTHS = {"LO": 64, "SH": 16, "LT": 10240, "ST": 1024, "PN": 64 * 3 + 2}
_TEXTS = ("LO", "SH", "LT", "ST", "PN", "UC", "UT")
#: Values of these kinds name nobody and may be shown.
_SHOWN = ("CS", "DS", "IS", "UI")
_AMBIGUOUS = {"US or SS", "US or SS or OW", "OB or OW", "US or OW"}
#: Of elements that hold one value, whatever it is.
_SINGLE = ("UT", "LT", "ST", "UR")
_LUT_DATA = 0x00283006
_CODE = (0x00080100, 0x00080119, 0x00080120, 0x00080104)
#: Bytes of an item that is remembered.
_SMALL = 2048
_STRINGS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "LO", "SH", "LT", "ST", "PN", "UC", "UT")


def check_values(subject: Subject, out: Findings) -> None:
    """Check the values of the header and of all frames."""
    if subject.meta is not None:
        _check_meta(subject, out)
    for tag in subject.unreadable:
        out.error(where("", tag), "has a value that cannot be read", "", "6.2", "PS3.5")
    out.only_ascii = not _filled(subject.ds, "SpecificCharacterSet")
    _check_dataset(subject.ds, "", out)
    frames = subject.frames
    if frames is None:
        return
    for frame, item in frames.examples:
        _check_dataset(item, f"PerFrameFunctionalGroupsSequence[{frame + 1}]", out)
    for leaf, values in frames.values.items():
        vr = frames.vrs.get(leaf) or _dictionary(leaf[-1])[0]
        if vr not in _STRINGS:
            continue
        for raw, frame in values.items():
            text = raw.decode("latin-1").rstrip("\0 ") if vr == "UI" else raw.decode("latin-1").rstrip(" ")
            for part in text.split("\\") if vr not in ("LT", "ST") else [text]:
                _check_string(part, vr, leaf_path(leaf, frame), 0, out)


def _check_meta(subject: Subject, out: Findings) -> None:
    assert subject.meta is not None
    for keyword, own in (("MediaStorageSOPClassUID", "SOPClassUID"), ("MediaStorageSOPInstanceUID", "SOPInstanceUID")):
        stated, value = subject.meta.get(keyword), subject.ds.get(own)
        if stated and value and str(stated) != str(value):
            out.error(where("", keyword), f"differs from {own}", "write the same UID", "7.1", "PS3.10")
    _check_dataset(subject.meta, "", out)
    if not subject.syntax:
        out.error(where("", "TransferSyntaxUID"), "is missing from the file meta information", "", "7.1", "PS3.10")


def _check_dataset(ds: Any, path: str, out: Findings) -> None:
    """Check the values of a data set or item; the same small item again needs no check."""
    small = isinstance(ds, Item) and 0 < ds.size <= _SMALL
    if small and ds.raw in out.sound:
        return
    before = len(out.found)
    _check_elements(ds, path, out)
    if small and len(out.found) == before:
        out.sound.add(ds.raw)


def _check_elements(ds: Any, path: str, out: Findings) -> None:
    if any(tag in ds for tag in _CODE):
        _check_code(ds, path, out)
    if _LUT_DATA in ds:
        _check_table(ds, path, out)
    for tag in sorted(ds.keys()):
        if tag >> 16 & 1 or tag & 0xFFFF == 0:
            continue
        vr, vm = _dictionary(int(tag))
        try:
            element = ds[tag]
            kind = str(element.VR)
            value = None if kind in BULK else element.value
        except Exception as error:  # decoded on access, and a damaged value may raise anything
            here = where(path, int(tag))
            out.error(here, f"has a value that cannot be read ({type(error).__name__})", "", "6.2", "PS3.5")
            continue
        if vr and kind != vr and not _may_be(kind, vr):
            here = where(path, int(tag))
            out.error(here, f"has VR {kind}, the data dictionary has {vr}", "", "6", "PS3.6")
        if kind == "SQ":
            name = f"{path}.{label(int(tag))}" if path else label(int(tag))
            for position, item in enumerate(value or (), start=1):
                _check_dataset(item, f"{name}[{position}]", out)
        elif value is not None:
            _check_element(element, value, vm, path, int(tag), out)


def _may_be(found: str, expected: str) -> bool:
    if expected in _AMBIGUOUS:
        return found in expected.split(" or ") or found == "OB"
    return found == "UN" or {found, expected} == {"OB", "OW"}


def _check_element(element: Any, value: Any, vm: str, path: str, tag: int, out: Findings) -> None:
    vr = element.VR
    if vm and vm != "1-n" and vr not in _SINGLE and not element.is_empty:
        _check_vm(element.VM, vm, path, tag, out)
    if vr in _STRINGS:
        many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        for part in many:
            original = getattr(part, "original_string", None)
            _check_string(str(part if original is None else original), vr, path, tag, out)


def _check_vm(found: int, vm: str, path: str, tag: int, out: Findings) -> None:
    low, _, high = vm.partition("-")
    least = int(re.sub(r"\D", "", low) or 1)
    good = found >= least
    if not high:
        good = found == least
    elif high == "n":
        pass
    elif high.endswith("n"):
        step = int(high[:-1] or 1)
        good = good and found % step == 0
    else:
        good = good and found <= int(high)
    if not good:
        out.error(where(path, tag), f"has {found} values, expected {vm}", "", "6", "PS3.6")


def _check_string(value: str, vr: str, path: str, tag: int, out: Findings) -> None:
    if not value.strip(" \0"):
        return
    if vr == "UI":
        if not _UID.fullmatch(value) or len(value) > 64:
            shown = value if len(value) <= 80 and value.isprintable() else f"{len(value)} characters"
            out.error(
                where(path, tag), f"{INVALID_UID}: {shown!r}",
                "numbers without leading zeros, separated by points, 64 characters at most", "9.1", "PS3.5",
            )  # fmt: skip
        return
    limit = _LENGTHS.get(vr)
    if vr in _TEXTS and out.only_ascii and not value.isascii():
        out.error(
            where(path, tag), "holds characters beyond ASCII, and Specific Character Set declares none",
            "declare ISO_IR 192 and write UTF-8", "6.1.2.2", "PS3.5",
        )  # fmt: skip
    if limit is not None:
        if len(value) > limit:
            out.warning(
                where(path, tag), f"has {len(value)} characters, VR {vr} holds {limit}", "shorten it", "6.2", "PS3.5"
            )
        return
    pattern = _PATTERNS.get(vr)
    if pattern is None:
        return
    long = len(value.rstrip(" ")) > {"DS": 16, "IS": 12}.get(vr, 64)
    if long or not pattern.fullmatch(value):
        if vr in ("DA", "TM") and re.fullmatch(r"[\d.:]+", value) and (":" in value or value.count(".") == 2):
            kind = out.warning  # the form of ACR-NEMA, which readers still take
        else:
            kind = out.error
        plain = vr in _SHOWN and len(value) < 40 and value.isprintable() and tag >> 16 != 0x0010
        shown = f"{value!r} " if plain else "the value "
        kind(where(path, tag), f"{shown}is not {_EXPECTED[vr]} (VR {vr})", "", "6.2", "PS3.5")


@lru_cache(maxsize=8192)
def _dictionary(tag: int) -> tuple[str, str]:
    """VR and VM of the data dictionary; empty where the tag is not in it."""
    from pydicom.datadict import get_entry

    try:
        vr, vm, *_ = get_entry(tag)
    except KeyError:
        return "", ""
    return vr, vm


def _check_code(ds: Dataset, path: str, out: Findings) -> None:
    """A coded entry has one value, its scheme and a meaning."""
    values = [k for k in ("CodeValue", "LongCodeValue", "URNCodeValue") if _filled(ds, k)]
    section = "8.8"
    if len(values) > 1:
        out.error(where(path, values[1]), f"stands beside {values[0]}", "a code has one value", section)
    if not values:
        out.error(where(path, "CodeValue"), "is missing: the coded entry has no value", "", section)
        return
    if not _filled(ds, "CodeMeaning"):
        out.error(where(path, "CodeMeaning"), "is missing or empty: the code has no meaning", "", section)
    if values[0] != "URNCodeValue" and not _filled(ds, "CodingSchemeDesignator"):
        out.error(where(path, "CodingSchemeDesignator"), "is missing: nobody knows whose code it is", "", section)
    if values == ["LongCodeValue"] and len(str(ds.get("LongCodeValue"))) <= 16:
        out.error(where(path, "LongCodeValue"), "has at most 16 characters", "write it as Code Value", section)


def _check_table(ds: Any, path: str, out: Findings) -> None:
    """Length of a lookup table against its descriptor (PS3.3 C.11.1.1)."""
    stated, data = numbers(ds, "LUTDescriptor"), ds[_LUT_DATA]
    if len(stated) != 3:
        return
    entries, bits = int(stated[0]) or 65536, int(stated[2])
    value = data.value
    size = len(value) if isinstance(value, bytes) else 2 * len(numbers(ds, "LUTData"))
    whole = entries * 2 if bits > 8 else entries + entries % 2
    if size != whole:
        kind = out.warning if bits <= 8 and size == 2 * entries else out.error  # a byte a word, as many write it
        kind(
            where(path, _LUT_DATA), f"has {size} bytes; {entries} entries of {bits} bits have {whole}",
            "", "C.11.1.1.1",
        )  # fmt: skip


def _filled(ds: Dataset, keyword: str) -> bool:
    try:
        return bool(str(ds.get(keyword) or "").strip(" \0"))
    except Exception:  # a damaged value
        return False
