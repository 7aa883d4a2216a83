"""What PS3.3 says of objects, modules and attributes, as tables that are loaded when first asked for.

``tables.json.z`` is made by ``tools/iod_tables.py``, which describes its layout.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from dicom_ml.objects.iod.conditions import Condition

__all__ = ["FunctionalGroup", "Iod", "Module", "Row", "Usage", "iod_of"]


@dataclass(frozen=True)
class Row:
    """An attribute of a module or of the items of a sequence.

    Attributes
    ----------
    tag : int
    kind : str
        Type: 1, 1C, 2, 2C or 3 (PS3.5 7.4).
    condition : Condition or None
        Of a conditional attribute, where it can be evaluated.
    values : tuple
        Enumerated values: number of the value they are of (0 for each), and the values as text.
    items : tuple of Row
        Of a sequence's items.
    """

    tag: int
    kind: str
    condition: Condition | None
    values: tuple[tuple[int, frozenset[str]], ...]
    items: tuple[Row, ...]


@dataclass(frozen=True)
class Usage:
    """How a module or functional group is used: M, C or U, and when a conditional one is needed, where known."""

    kind: str
    condition: Condition | None


@dataclass(frozen=True)
class Module:
    """A module of an object."""

    name: str
    section: str
    usage: Usage
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class FunctionalGroup:
    """A functional group macro of a multi-frame object, by the tag of its sequence."""

    tag: int
    section: str
    usage: Usage


@dataclass(frozen=True)
class Iod:
    """An information object definition (PS3.3 annex A)."""

    name: str
    section: str
    modules: tuple[Module, ...]
    groups: tuple[FunctionalGroup, ...]


@lru_cache(maxsize=1)
def _stored() -> dict[str, Any]:
    packed = files("dicom_ml.objects.iod").joinpath("tables.json.z").read_bytes()
    tables: dict[str, Any] = json.loads(zlib.decompress(packed))
    return tables


@lru_cache(maxsize=1024)
def _rows(number: int) -> tuple[Row, ...]:
    if number < 0:
        return ()
    made = []
    for tag, kind, condition, values, items in _stored()["tables"][number]:
        made.append(Row(int(tag, 16), kind, _condition(condition), _values(values), _rows(items)))
    return tuple(made)


@lru_cache(maxsize=1024)
def _condition(number: int) -> Condition | None:
    if number < 0:
        return None
    expression, otherwise = _stored()["conditions"][number]
    return Condition(expression, otherwise)


@lru_cache(maxsize=1024)
def _values(number: int) -> tuple[tuple[int, frozenset[str]], ...]:
    if number < 0:
        return ()
    return tuple((place, frozenset(choices)) for place, choices in _stored()["values"][number])


@lru_cache(maxsize=64)
def iod_of(sop_class_uid: str) -> Iod | None:
    """The definition of the objects of a SOP class; None where it is in no table."""
    stored = _stored()
    name = stored["sop"].get(sop_class_uid)
    if name is None:
        return None
    title, section, listed, grouped = stored["iods"][name]
    modules = []
    for key, kind, condition in listed:
        module_title, module_section, table = stored["modules"][key]
        modules.append(Module(module_title, module_section, Usage(kind, _condition(condition)), _rows(table)))
    groups = [
        FunctionalGroup(int(tag, 16), group_section, Usage(kind, _condition(condition)))
        for tag, kind, condition, group_section in grouped
    ]
    return Iod(title, section, tuple(modules), tuple(groups))
