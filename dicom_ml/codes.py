"""Coded concepts: parse what people write, look up meanings, and take SNOMED's two codings as one.

A coded concept in DICOM is a value, the scheme it comes from and a meaning to show (PS3.3 section 8). Here it is
a :class:`Code`; the short form that people write is ``"SCT:10200004"``. Two codes are equal when they name the
same concept: the meaning is for eyes only, and the older SNOMED-RT style value ``T-62000`` of scheme ``SRT``
equals SNOMED CT's ``10200004``.

The tables of meanings are pydicom's, with a few of our own; they are loaded on the first look-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

from pydicom.dataset import Dataset

from dicom_ml._code_tables import (
    FIND_ALIASES,
    MEANINGS,
    SCHEME_SPELLINGS,
    UCUM_METRIC,
    UCUM_OTHER,
    UCUM_PREFIXES,
    UNIT_ALIASES,
)
from dicom_ml.errors import CodeError

__all__ = ["Code", "code_from_dataset", "code_to_dataset", "find_code", "lookup_meaning", "parse_code", "parse_unit"]

# Designators under which SNOMED-RT style values were written before SRT (PS3.16 section 8.1).
_OLD_SNOMED = frozenset({"SRT", "SNM3", "99SDM"})
_SHORT = 16  # characters of VR SH: Code Value, Coding Scheme Designator and Version
_LONG = 64  # characters of VR LO: Code Meaning
# Where a meaning belongs to several concepts, the scheme that DICOM prefers.
_SCHEME_ORDER = ("SCT", "DCM", "UCUM", "NCIt", "RADLEX", "LN", "FMA")
_SEMANTIC_TAG = re.compile(
    r" \((?:body structure|morphologic abnormality|cell structure|physical object|substance|qualifier value|finding|"
    r"disorder|observable entity|procedure|organism|attribute|specimen|situation|product|combined site)\)"
)


@dataclass(frozen=True, eq=False)
class Code:
    """A coded concept.

    Parameters
    ----------
    value : str
        The code value, such as ``"10200004"``, or a URN.
    scheme : str
        The coding scheme designator, such as ``"SCT"``; empty only for a URN.
    meaning : str, optional
        What the code means, to be shown to people. It takes no part in comparisons.
    version : str, optional
        The version of the scheme. It takes no part in comparisons.

    Examples
    --------
    >>> Code("T-62000", "SRT", "Liver") == Code("10200004", "SCT", "Liver structure")
    True
    """

    value: str
    scheme: str
    meaning: str = ""
    version: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "scheme", "meaning"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise CodeError(f"a code's {name} is text, found {type(text).__name__}: {text!r}")
            object.__setattr__(self, name, text.strip())
        if not self.value:
            raise CodeError("a code needs a value, found none; write for example Code('10200004', 'SCT', 'Liver')")
        object.__setattr__(self, "version", (self.version or "").strip() or None)

    def __str__(self) -> str:
        """The short form, which :func:`parse_code` reads back."""
        text = f"{self.scheme}:{self.value}" if self.scheme else self.value
        return f"{text}|{self.meaning}" if self.meaning else text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Code):
            return self._concept == other._concept
        if isinstance(other, Dataset) or hasattr(other, "scheme_designator"):
            try:
                return self._concept == parse_code(other, need_meaning=False)._concept
            except CodeError:
                return False
        return NotImplemented

    def __hash__(self) -> int:
        scheme, value = self._concept
        return hash(scheme + value)  # as pydicom's own Code hashes, which may equal this one

    @property
    def _concept(self) -> tuple[str, str]:
        """Scheme and value by which codes are compared."""
        scheme = _spell_scheme(self.scheme)
        if scheme in _OLD_SNOMED:
            modern = _snomed_map()["SRT"].get(self.value)
            return ("SRT", self.value) if modern is None else ("SCT", modern)
        if scheme == "UCUM" and self.value.startswith("{"):
            return scheme, _annotation_last(self.value)
        return scheme, self.value

    @property
    def sct(self) -> Code:
        """The SNOMED CT form of a SNOMED-RT style code; any other code is returned as it is."""
        scheme, value = self._concept
        if self.scheme in _OLD_SNOMED and scheme == "SCT":
            return Code(value, "SCT", self.meaning or lookup_meaning(value, "SCT") or "")
        return self

    @property
    def is_urn(self) -> bool:
        """Whether the value is a URN or URL, which DICOM writes as URN Code Value."""
        return _is_urn(self.value)

    # The names by which pydicom and highdicom know these two, so that their codes compare with ours.
    @property
    def scheme_designator(self) -> str:
        """Same as ``scheme``."""
        return self.scheme

    @property
    def scheme_version(self) -> str | None:
        """Same as ``version``."""
        return self.version


def parse_code(x: Any, *, need_meaning: bool = True) -> Code:
    """Make a :class:`Code` of anything that names a coded concept.

    Parameters
    ----------
    x : str, tuple, pydicom Code, pydicom Dataset or Code
        ``"SCT:10200004"``, ``"99LAB:42|Odd shadow"``, ``("10200004", "SCT", "Liver")`` (the meaning may be left
        out, a version may follow), a code of pydicom's dictionary, or the item of a code sequence.
    need_meaning : bool, optional
        Whether a code whose meaning is neither given nor known is an error; otherwise its meaning stays empty.

    Returns
    -------
    Code
        With its meaning, looked up if it was not given.

    Raises
    ------
    CodeError
        If ``x`` does not name a concept, or no meaning is known and none is given.

    Examples
    --------
    >>> parse_code("SCT:10200004")
    Code(value='10200004', scheme='SCT', meaning='Liver', version=None)
    """
    if isinstance(x, Code):
        code = x
    elif isinstance(x, str):
        code = _parse_text(x)
    elif isinstance(x, Dataset):
        code = code_from_dataset(x)
    elif isinstance(x, (tuple, list)) and 2 <= len(x) <= 4:
        code = _from_parts(*x)
    else:
        raise CodeError(
            f"found {type(x).__name__} where a coded concept was expected; write 'SCT:10200004', "
            "('10200004', 'SCT', 'Liver'), a pydicom Code or an item of a code sequence"
        )
    if code.meaning:
        return code
    if _spell_scheme(code.scheme) == "UCUM" and need_meaning:
        return parse_unit(code.value)
    meaning = lookup_meaning(code.value, code.scheme)
    if meaning is None:
        if not need_meaning:
            return code
        raise CodeError(
            f"no meaning is known for the code {code}: check the value, or give its meaning, '{code}|...' "
            f"or ({code.value!r}, {code.scheme!r}, 'meaning')"
        )
    return Code(code.value, code.scheme, meaning, code.version)


def parse_unit(x: Any) -> Code:
    """Make a UCUM code of a unit.

    Parameters
    ----------
    x : str, tuple, pydicom Code, pydicom Dataset or Code
        A UCUM expression (``"mm"``, ``"mm2"``, ``"[hnsf'U]"``, ``"mg/ml"``), a usual spelling of one (``"HU"``,
        ``"mm^2"``, ``"µm"``, ``"millimeter"``), or anything that :func:`parse_code` takes.

    Raises
    ------
    CodeError
        If the text is not a unit that UCUM could express.

    Examples
    --------
    >>> parse_unit("mm2")
    Code(value='mm2', scheme='UCUM', meaning='square millimeter', version=None)
    """
    if not isinstance(x, str):
        return parse_code(x)
    text = x.strip()
    if text[:5].casefold() == "ucum:":
        text = text[5:].strip()
    if "|" in text:
        value, meaning = text.split("|", 1)
        return Code(value, "UCUM", meaning)
    text = text.replace("²", "2").replace("³", "3").replace("^", "").replace("**", "") if "10" not in text else text
    text = _annotation_last(UNIT_ALIASES.get(text, text))
    meaning = lookup_meaning(text, "UCUM") or ""
    if meaning:
        return Code(text, "UCUM", meaning)
    named = _concepts_by_meaning().get(_fold(text), {}).get("UCUM")
    if named is not None:
        return _known_code(named, "UCUM")
    if _ucum_pattern().fullmatch(text):
        return Code(text, "UCUM", text)  # PS3.16 section 7.2.2: the meaning may be the expression itself
    raise CodeError(
        f"{x!r} is not a unit known to UCUM; write for example 'mm', 'mm2', '%', '1' (no unit) or 'g/ml{{SUVbw}}', or "
        f"give the code in full, ({x!r}, scheme, meaning)"
    )


def lookup_meaning(value: str, scheme: str) -> str | None:
    """The meaning of a code, or None when the tables do not know it."""
    scheme = _spell_scheme(scheme)
    own = MEANINGS.get(scheme, {}).get(value)
    if own is not None:
        return own
    if scheme in _OLD_SNOMED:
        modern = _snomed_map()["SRT"].get(value)
        return None if modern is None else lookup_meaning(modern, "SCT")
    known = _table().get((scheme, value))
    return None if known is None else _writable(known.meaning)


def _writable(meaning: str) -> str:
    """A meaning that fits into Code Meaning. A handful of official ones do not; a meaning identifies nothing."""
    meaning = meaning.replace("International Classification of Diseases for Oncology", "ICD-O")
    if len(meaning) <= _LONG:
        return meaning
    return f"{meaning[: _LONG - 3].rpartition(' ')[0].rstrip(',;')}..."


def find_code(meaning: str) -> Code | None:
    """The concept that a meaning names, or None.

    The comparison ignores case, underscores and a plural s: ``"left_lung"`` and ``"Lungs"`` are found. Where
    several schemes know the meaning, SNOMED CT goes first.

    Examples
    --------
    >>> find_code("liver")
    Code(value='10200004', scheme='SCT', meaning='Liver', version=None)
    """
    text = _fold(meaning)
    index = _concepts_by_meaning()
    for name in (text, text.removesuffix("s")):
        found = index.get(FIND_ALIASES.get(name, name))
        if found:
            scheme = min(found, key=lambda s: (_SCHEME_ORDER.index(s) if s in _SCHEME_ORDER else 99, s))
            return _known_code(found[scheme], scheme)
    return None


def code_from_dataset(item: Dataset) -> Code:
    """Read an item of a code sequence (PS3.3 Table 8.8-1).

    Parameters
    ----------
    item : pydicom.dataset.Dataset
        The item. What other writers leave out is tolerated: a missing meaning is looked up and stays empty when
        unknown, a missing scheme stays empty.

    Raises
    ------
    CodeError
        If the item has no code value at all.
    """
    value = next(filter(None, (_text(item, k) for k in ("CodeValue", "LongCodeValue", "URNCodeValue"))), "")
    if not value:
        meaning = _text(item, "CodeMeaning")
        raise CodeError(f"a code sequence item has no code value (its meaning reads {meaning!r}); one is expected")
    scheme = _text(item, "CodingSchemeDesignator")
    meaning = _text(item, "CodeMeaning") or lookup_meaning(value, scheme) or ""
    return Code(value, scheme, meaning, _text(item, "CodingSchemeVersion") or None)


def code_to_dataset(code: Any) -> Dataset:
    """Write a coded concept as an item of a code sequence (PS3.3 Table 8.8-1).

    Values of up to 16 characters become Code Value, longer ones Long Code Value, URNs URN Code Value.

    Parameters
    ----------
    code : Code or anything that :func:`parse_code` takes

    Raises
    ------
    CodeError
        If the scheme or the meaning is missing, or a part is too long or holds a character that DICOM forbids.
    """
    code = parse_code(code)
    for name, text, limit in (
        ("scheme", code.scheme, _SHORT),
        ("version", code.version or "", _SHORT),
        ("meaning", code.meaning, _LONG),
        ("value", code.value, 1 << 16),
    ):
        if len(text) > limit:
            raise CodeError(
                f"the {name} of code {code.scheme}:{code.value} has {len(text)} characters, DICOM allows {limit}: "
                f"give a shorter {name}"
            )
        if "\\" in text or any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise CodeError(f"the {name} of code {code.scheme}:{code.value!r} holds a backslash or a control character")
    if not code.scheme and not code.is_urn:
        raise CodeError(f"the code {code.value!r} has no coding scheme; name one, for example 'SCT:{code.value}'")
    item = Dataset()
    if code.is_urn:
        item.URNCodeValue = code.value
    elif len(code.value) > _SHORT:
        item.LongCodeValue = code.value
    else:
        item.CodeValue = code.value
    if code.scheme:
        item.CodingSchemeDesignator = code.scheme
    if code.version:
        item.CodingSchemeVersion = code.version
    item.CodeMeaning = code.meaning
    return item


def _parse_text(text: str) -> Code:
    head, bar, meaning = text.strip().partition("|")
    head = head.strip()
    if _is_urn(head):
        return Code(head, "", meaning)
    scheme, colon, value = head.partition(":")
    if not colon or not scheme.strip() or not value.strip():
        found = find_code(head)
        hint = f"; did you mean '{found}'?" if found else ", for example 'SCT:10200004' or '99LAB:42|My meaning'"
        raise CodeError(f"{text!r} is not a code: 'SCHEME:VALUE' was expected{hint}")
    if bar and not meaning.strip():
        raise CodeError(f"{text!r} has nothing after the bar, where the meaning was expected")
    return Code(value, _spell_scheme(scheme.strip()), meaning)


def _from_parts(value: Any, scheme: Any, meaning: Any = "", version: Any = None) -> Code:
    code = Code(value, scheme, meaning or "", version)
    if code.value.casefold() in SCHEME_SPELLINGS and code.scheme.casefold() not in SCHEME_SPELLINGS:
        raise CodeError(
            f"({value!r}, {scheme!r}, ...) has the scheme first; the order is (value, scheme, meaning), as in "
            "('10200004', 'SCT', 'Liver')"
        )
    return Code(code.value, _spell_scheme(code.scheme), code.meaning, code.version)


def _is_urn(value: str) -> bool:
    return value.casefold().startswith(("urn:", "http://", "https://"))


def _spell_scheme(scheme: str) -> str:
    return SCHEME_SPELLINGS.get(scheme.casefold(), scheme)


def _annotation_last(unit: str) -> str:
    """``"{SUVbw}g/ml"`` as ``"g/ml{SUVbw}"``: both are in use for one unit."""
    return re.sub(r"^(\{[^}]*\})([^/.].*)$", r"\2\1", unit)


def _text(item: Dataset, keyword: str) -> str:
    value = item.get(keyword)
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return "\\".join(str(v) for v in value)
    return str(value).strip(" \0")


def _known_code(value: str, scheme: str) -> Code:
    return Code(value, scheme, lookup_meaning(value, scheme) or "")


def _fold(meaning: str) -> str:
    return " ".join(meaning.replace("_", " ").split()).casefold()


class _Known(NamedTuple):
    meaning: str
    uses: int  # context groups that hold the concept under this meaning


def _snomed_map() -> dict[str, dict[str, str]]:
    from pydicom.sr._snomed_dict import mapping  # half a megabyte of source: only when an old code turns up

    return mapping


def _meanings() -> Iterator[tuple[str, str, _Known]]:
    from pydicom.sr._concepts_dict import concepts  # two megabytes of source: only for the first look-up

    tables = cast("dict[str, dict[str, dict[str, tuple[str, list[int]]]]]", concepts)
    for scheme, keywords in tables.items():
        for entries in keywords.values():
            for value, (meaning, groups) in entries.items():
                if value:  # one entry has none
                    yield scheme, value, _Known(meaning, len(groups))


@lru_cache(maxsize=1)
def _table() -> dict[tuple[str, str], _Known]:
    """The best meaning of each code: the one that most context groups use, without SNOMED's semantic tag."""
    best: dict[tuple[str, str], tuple[tuple[bool, int], _Known]] = {}
    for scheme, value, known in _meanings():
        plain = _SEMANTIC_TAG.sub("", known.meaning)
        rank = (plain == known.meaning, known.uses)
        held = best.get((scheme, value))
        if held is None or rank > held[0]:
            best[scheme, value] = (rank, _Known(plain, known.uses))
    return {key: known for key, (_, known) in best.items()}


@lru_cache(maxsize=1)
def _concepts_by_meaning() -> dict[str, dict[str, str]]:
    """Folded meaning -> scheme -> the value that most context groups use under that meaning."""
    uses: dict[tuple[str, str], int] = {}
    index: dict[str, dict[str, str]] = {}

    def offer(scheme: str, value: str, meaning: str, weight: int) -> None:
        key = _fold(_SEMANTIC_TAG.sub("", meaning))
        if weight > uses.get((key, scheme), -1):
            uses[key, scheme] = weight
            index.setdefault(key, {})[scheme] = value

    for scheme, value, known in _meanings():
        offer(scheme, value, known.meaning, known.uses)
    for scheme, values in MEANINGS.items():
        for value, meaning in values.items():
            offer(scheme, value, meaning, 1 << 20)
    return index


@lru_cache(maxsize=1)
def _ucum_pattern() -> re.Pattern[str]:
    """UCUM's grammar without parentheses, over the atoms of our table."""

    def any_of(words: tuple[str, ...]) -> str:
        return "(?:" + "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True)) + ")"

    atom = f"(?:{any_of(UCUM_PREFIXES)}?{any_of(UCUM_METRIC)}|{any_of(UCUM_OTHER)})(?:[+-]?[0-9]+)?"
    annotation = r"\{[!-z|~]+\}"
    component = rf"(?:(?:10[*^][+-]?[0-9]+|[0-9]+|{atom})(?:{annotation})?|{annotation})"
    return re.compile(rf"/?{component}(?:[./]{component})*")
