"""The gate that what is written passes: an object with errors never takes its name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom_ml.encoding.writer import inspector
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.objects.iod.finding import Finding
from dicom_ml.objects.iod.images import SAME_UID
from dicom_ml.objects.iod.sources import Sources, read_sources
from dicom_ml.objects.iod.validation import findings_of
from dicom_ml.objects.iod.values import INVALID_UID

__all__ = ["validated"]

_SHOWN = 3


def _is_inherited(finding: Finding, known: Sources) -> bool:
    """Whether a finding is of a UID that is the source's own: an object that refers to it can have no other."""
    if finding.message == f"{SAME_UID}StudyInstanceUID" and "FrameOfReferenceUID" in finding.path:
        return any(record.study == record.frame_of_reference for record in known.known.values())
    if not finding.message.startswith(INVALID_UID):
        return False
    own = set(known.known)
    for record in known.known.values():
        own |= {record.series, record.study, record.frame_of_reference}
    return any(repr(uid) in finding.message for uid in own if uid)


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
        If a file has an error; it is removed, and what had its name before stays. Malformed UIDs of the source, or one
        of study and frame of reference, are a warning only: what refers to it must name them as they are.
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
        inherited = [f for f in errors if _is_inherited(f, known)]
        if inherited:
            warnings.warn(
                f"{target.name} takes odd UIDs over from its source: {inherited[0]}", DicomMLWarning, stacklevel=2
            )
            errors = [f for f in errors if f not in inherited]
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
