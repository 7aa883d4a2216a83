"""Why objects were selected: document titles and the modifiers that go with some (PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import CodeError, EncodingError

__all__ = ["BEST_IN_SET", "MODIFIER", "REJECTIONS", "check_modifiers", "parse_title"]

MODIFIER = Code("113011", "DCM", "Document Title Modifier")
BEST_IN_SET = Code("113013", "DCM", "Best In Set")
_QUALITY = (Code("113001", "DCM", "Rejected for Quality Reasons"), Code("113010", "DCM", "Quality Issue"))
#: Titles that take objects out of use (IHE RAD TF-3, Imaging Object Change Management).
REJECTIONS = (
    _QUALITY[0],
    Code("113037", "DCM", "Rejected for Patient Safety Reasons"),
    Code("113038", "DCM", "Incorrect Modality Worklist Entry"),
    Code("113039", "DCM", "Data Retention Policy Expired"),
)


@lru_cache(maxsize=4)
def _context_group(number: int) -> dict[str, Code]:
    """Codes of a context group of PS3.16, by value."""
    from pydicom.sr.codedict import codes

    group = getattr(codes, f"cid{number}")
    listed = [getattr(group, name) for name in group.dir()]
    return {c.value: Code(c.value, c.scheme_designator, c.meaning) for c in listed}


def _parse(text: Any, group: int, what: str) -> Code:
    """A code, or the meaning of one of the group's."""
    known = _context_group(group)
    if isinstance(text, str) and ":" not in text:
        found = [c for c in known.values() if c.meaning.casefold() == text.strip().casefold()]
        if not found:
            raise CodeError(
                f"{text!r} is no {what}; known are {', '.join(sorted(c.meaning for c in known.values()))}, or a code "
                "such as '99LAB:1|My reason'"
            )
        return found[0]
    code = parse_code(text)
    if code.scheme == "DCM" and code.value not in known:
        raise CodeError(f"{code} is no {what} of PS3.16 CID {group}")
    return known.get(code.value, code) if code.scheme == "DCM" else code


def parse_title(title: Any) -> Code:
    """A document title (CID 7010): a code, or the meaning of one, such as ``"For Teaching"``.

    Raises
    ------
    CodeError
        If it is a DICOM code that is no title.
    """
    return _parse(title, 7010, "document title")


def check_modifiers(title: Code, reasons: Sequence[Any]) -> tuple[Code, ...]:
    """Document title modifiers that may go with a title: any, and of some titles one of a context group.

    Raises
    ------
    EncodingError
        If the title needs one that is not given.
    CodeError
        If one is no code.
    """
    if title in _QUALITY:
        found = tuple(_parse(reason, 7011, "reason for rejection") for reason in reasons)
        if not found:
            raise EncodingError(
                f"a selection titled {title.meaning!r} says why: reasons=['Motion blur'], or another of "
                + ", ".join(sorted(c.meaning for c in _context_group(7011).values()))
            )
        return found
    if title == BEST_IN_SET:
        found = tuple(_parse(reason, 7012, "set") for reason in reasons)
        if len(found) != 1:
            raise EncodingError(
                "a selection of the best in a set says in which: reasons=['Series'], or Study, Performed Procedure "
                "Step or Stage-View"
            )
        return found
    return tuple(parse_code(reason) for reason in reasons)
