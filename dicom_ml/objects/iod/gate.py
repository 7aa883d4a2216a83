"""The gate that what is written passes: an object with errors never takes its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_ml.encoding.writer import inspector
from dicom_ml.errors import EncodingError
from dicom_ml.objects.iod.sources import read_sources
from dicom_ml.objects.iod.validation import findings_of

__all__ = ["validated"]

_SHOWN = 3


@contextmanager
def validated(source: Any = None, on: bool = True) -> Iterator[None]:
    """Validate every DICOM file that the block writes before it takes its name.

    Parameters
    ----------
    source : optional
        What the objects are made from, as in :func:`dicom_ml.validate`. Other objects that they refer to need not be
        at hand.
    on : bool
        Whether anything is validated.

    Raises
    ------
    EncodingError
        If a file has an error; it is removed, and what had its name before stays.
    """
    if not on:
        yield
        return

    def inspect(temporary: Path, target: Path) -> None:
        with temporary.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return
        known = read_sources([] if source is None else source, "some")
        errors = [f for f in findings_of(temporary, known) if f.severity == "error"]
        if errors:
            told = "; ".join(str(f).removeprefix("error: ") for f in errors[:_SHOWN])
            more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
            raise EncodingError(
                f"{target.name} is not written, because it would not conform: {told}{more}. "
                "Correct what it is made of; validate=False writes it nevertheless"
            )

    token = inspector.set(inspect)
    try:
        yield
    finally:
        inspector.reset(token)
