"""Conditions of attributes, modules and functional groups, evaluated on data sets.

An expression is a list: ``["present", tag]``, ``["absent", tag]``, ``["in", tag, number, values]`` and
``["notin", ...]`` of the value of that number (0: any of them), ``["more", tag, number, limit]``, or ``["and", ...]``
and ``["or", ...]`` of expressions. Tags are eight hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Condition", "texts_of"]

_FRAME_TYPE = 0x00089007
#: Of CT, MR, PET, parametric maps and slides.
_FRAME_TYPE_SEQUENCES = (0x00189329, 0x00189226, 0x00189751, 0x00409092, 0x00400710)


class Condition:
    """When a conditional attribute, module or functional group is needed.

    Parameters
    ----------
    expression : list
    otherwise : bool
        Whether it may be present although the condition does not hold.
    """

    __slots__ = ("expression", "otherwise")

    def __init__(self, expression: list[Any], otherwise: bool) -> None:
        self.expression = expression
        self.otherwise = otherwise

    def holds(self, scopes: Sequence[Dataset]) -> bool:
        """Whether the condition is met; attributes are looked for in the last scope, then in those around it."""
        return _holds(self.expression, scopes)

    def __repr__(self) -> str:
        return f"Condition({self.expression}, otherwise={self.otherwise})"


def _holds(expression: list[Any], scopes: Sequence[Dataset]) -> bool:
    word, name = expression[0], str(expression[1])
    if word == "and":
        return all(_holds(part, scopes) for part in expression[1:])
    if word == "or":
        return any(_holds(part, scopes) for part in expression[1:])
    tag = int(name, 16)
    if word in ("present", "absent"):
        return (_find(tag, scopes, 0) is not None) is (word == "present")
    values = _find(tag, scopes, expression[2])
    if values is None:
        return False  # of an absent attribute nothing can be said
    if word == "more":
        limit = float(expression[3])
        return max(map(_number, values)) > limit
    chosen: list[str] = expression[3]
    return any(value in chosen for value in values) is (word == "in")


def _find(tag: int, scopes: Sequence[Dataset], number: int) -> list[str] | None:
    """Values of the nearest attribute; only the one of a number where that is not 0; None where there are none."""
    for scope in reversed(scopes):
        found = scope if tag in scope else _frame_type_item(scope) if tag == _FRAME_TYPE else None
        if found is not None:
            texts = texts_of(found, tag)
            if texts is None:
                continue
            if number:
                return texts[number - 1 : number] or None
            return texts
    return None


def _frame_type_item(scope: Dataset) -> Dataset | None:
    """Frame Type of a frame stands in a functional group of its own."""
    for tag in _FRAME_TYPE_SEQUENCES:
        if tag in scope:
            try:
                items = list(scope[tag].value)
            except Exception:  # whatever a damaged value raises
                continue
            for item in items:
                if _FRAME_TYPE in item:
                    return item  # type: ignore[no-any-return]
    return None


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("-inf")


def texts_of(ds: Dataset, tag: int) -> list[str] | None:
    """Values of an element as text; None where it is absent, empty or cannot be read; [""] for a sequence."""
    try:
        element = ds[tag]
        value = element.value
    except Exception:  # whatever a damaged value raises
        return None
    if element.VR == "SQ":
        return [""] if len(value) else None
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return None
    if isinstance(value, bytes):
        return [""]
    many = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
    return [str(part).strip() for part in many]
