"""What checks share: paths that a person can read, and a list that findings are added to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dicom_ml.objects.iod.finding import Finding
from dicom_ml.objects.iod.items import Items, tag_of

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Findings", "items_of", "label", "number", "numbers", "text", "walk", "where"]


@lru_cache(maxsize=4096)
def label(tag: int) -> str:
    """Keyword of a tag, or the tag itself."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"{tag >> 16:04X}{tag & 0xFFFF:04X}"


def where(path: str, tag: int | str) -> str:
    """Path of an attribute within the item at ``path``: ``SegmentSequence[1].SegmentNumber (0062,0004)``."""
    if isinstance(tag, str):
        tag = tag_of(tag)
    if tag == 0:
        return path
    inside = f"{path}.{label(tag)}" if path else label(tag)
    return f"{inside} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Findings:
    """Collects findings of one object."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        #: Bytes of small items in which no value is wrong; the same again need no check.
        self.sound: set[bytes] = set()
        #: Whether text may only hold ASCII, because no character set is declared.
        self.only_ascii = False

    def error(self, path: str, message: str, hint: str = "", section: str = "", part: str = "PS3.3") -> None:
        self.found.append(Finding("error", path, message, hint, part, section))

    def warning(self, path: str, message: str, hint: str = "", section: str = "", part: str = "PS3.3") -> None:
        self.found.append(Finding("warning", path, message, hint, part, section))

    def info(self, path: str, message: str, hint: str = "", section: str = "", part: str = "PS3.3") -> None:
        self.found.append(Finding("info", path, message, hint, part, section))


# ---------------------------------------------------------------------- values, whatever they are worth
def text(ds: Dataset, keyword: str) -> str:
    """A value as text; empty where it is absent or cannot be read."""
    value = _value(ds, keyword)
    return "" if value is None else str(value).strip()


def numbers(ds: Dataset, keyword: str) -> list[float]:
    """Numbers of an attribute; empty where there are none, or one is none."""
    value = _value(ds, keyword)
    if value is None or isinstance(value, str | bytes | Items):
        return []
    many = value if hasattr(value, "__iter__") else [value]
    try:
        return [float(part) for part in many]
    except (TypeError, ValueError, OverflowError):
        return []


def number(ds: Dataset, keyword: str) -> float | None:
    """First number of an attribute."""
    found = numbers(ds, keyword)
    return found[0] if found and math.isfinite(found[0]) else None


def items_of(ds: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none where it is absent or no sequence."""
    from pydicom.sequence import Sequence

    value = _value(ds, keyword)
    found: list[Any] = list(value) if isinstance(value, Items | Sequence) else []
    return found


def _value(ds: Dataset, keyword: str) -> Any:
    try:
        return ds.get(keyword)
    except Exception:  # pydicom decodes on access, and a damaged value may raise anything
        return None


def walk(ds: Dataset, path: str = "") -> Iterator[tuple[str, Dataset]]:
    """The data set and all items in it, each with its path."""
    yield path, ds
    for tag in sorted(ds.keys()):
        try:
            element = ds[tag]
        except Exception:  # as above; the values are checked elsewhere
            continue
        if element.VR == "SQ":
            name = f"{path}.{label(int(tag))}" if path else label(int(tag))
            for position, item in enumerate(element.value, start=1):
                yield from walk(item, f"{name}[{position}]")
