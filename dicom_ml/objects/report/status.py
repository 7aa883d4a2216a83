"""How far a document is, and who stands for it: completion, preliminary and verification flags (PS3.3 C.17.2)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dicom_ml.codes import Code, code_from_dataset, code_to_dataset, parse_code
from dicom_ml.errors import CodeError, EncodingError
from dicom_ml.objects.derived import date_time

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Status", "Verification", "add_status", "read_status"]


@dataclass(frozen=True)
class Verification:
    """A person who has attested to a document.

    Parameters
    ----------
    name : str
        As DICOM writes names: ``"Family^Given"``.
    organization : str
    time : datetime
        When; without a time zone it is that of the document.
    id : code, optional
        Code that identifies the person.
    """

    name: str
    organization: str
    time: datetime
    id: Code | None = None

    def __post_init__(self) -> None:
        for given in (self.name, self.organization):
            if not isinstance(given, str):
                raise EncodingError(
                    "who verifies a document has a name and an organization as texts, such as 'Family^Given', found "
                    f"{type(given).__name__}"
                )
        if not self.name.strip(" ^") or not self.organization.strip():
            raise EncodingError("who verifies a document has a name, such as 'Family^Given', and an organization")
        if len(self.organization) > 64:
            raise EncodingError(f"an organization has at most 64 characters, found {len(self.organization)}")
        if not isinstance(self.time, datetime):
            raise EncodingError(f"the time of a verification is a datetime, found {type(self.time).__name__}")
        object.__setattr__(self, "id", None if self.id is None else parse_code(self.id))


@dataclass(frozen=True)
class Status:
    """How far a document is.

    Parameters
    ----------
    complete : bool
        Whether all that was to be said is in it.
    reason : str, optional
        Why it is complete or not.
    preliminary : bool, optional
        True for a preliminary, False for a final document; None does not say.
    verified_by : Verification or sequence of them
        Who has attested to it; none for a document that nobody has.
    """

    complete: bool = True
    reason: str | None = None
    preliminary: bool | None = None
    verified_by: tuple[Verification, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.verified_by
        listed = (given,) if isinstance(given, Verification) else tuple(given)
        if not all(isinstance(v, Verification) for v in listed):
            raise EncodingError("verified_by= takes Verification(name, organization, time) objects")
        object.__setattr__(self, "verified_by", listed)
        if self.reason is not None and len(self.reason) > 64:
            raise EncodingError(f"the reason of a completion has at most 64 characters, found {len(self.reason)}")
        if listed and self.preliminary:
            raise EncodingError("a document that is verified is not preliminary")

    @property
    def verified(self) -> bool:
        """Whether anybody has attested to the document."""
        return bool(self.verified_by)


def add_status(ds: Dataset, status: Status) -> None:
    """Put the flags, and who verified, into a document's header."""
    from pydicom import Dataset

    ds.CompletionFlag = "COMPLETE" if status.complete else "PARTIAL"
    if status.reason:
        ds.CompletionFlagDescription = status.reason
    if status.preliminary is not None:
        ds.PreliminaryFlag = "PRELIMINARY" if status.preliminary else "FINAL"
    ds.VerificationFlag = "VERIFIED" if status.verified else "UNVERIFIED"
    people = []
    for verification in status.verified_by:
        item = Dataset()
        item.VerifyingOrganization = verification.organization
        item.VerificationDateTime = date_time(verification.time)
        item.VerifyingObserverName = verification.name
        identified = [] if verification.id is None else [code_to_dataset(verification.id)]
        item.VerifyingObserverIdentificationCodeSequence = identified
        people.append(item)
    if people:
        ds.VerifyingObserverSequence = people


def read_status(data: bytes) -> Status:
    """The status of a stored document; what is malformed there counts as not said."""
    from pydicom.filereader import read_partial

    ds = read_partial(io.BytesIO(data), stop_when=lambda tag, vr, length: tag >= 0x0040A730)
    flag = str(ds.get("PreliminaryFlag") or "").upper()
    people = []
    for item in ds.get("VerifyingObserverSequence") or []:
        try:
            people.append(_verification(item))
        except (EncodingError, CodeError, ValueError):
            continue
    return Status(
        str(ds.get("CompletionFlag") or "").upper() != "PARTIAL",
        str(ds.get("CompletionFlagDescription") or "")[:64] or None,
        {"PRELIMINARY": True, "FINAL": False}.get(flag) if not people else False if flag == "FINAL" else None,
        tuple(people),
    )


def _verification(item: Dataset) -> Verification:
    codes: Sequence[Dataset] = item.get("VerifyingObserverIdentificationCodeSequence") or []
    return Verification(
        str(item.get("VerifyingObserverName") or ""),
        str(item.get("VerifyingOrganization") or "")[:64],
        _time(str(item.get("VerificationDateTime") or "")),
        code_from_dataset(codes[0]) if codes else None,
    )


def _time(text: str) -> datetime:
    """A DICOM date-time, which may stop after any part."""
    from pydicom.valuerep import DT

    found = DT(text)
    if not isinstance(found, datetime):
        raise ValueError(f"no date-time: {text!r}")
    return datetime(*found.timetuple()[:6], found.microsecond, found.tzinfo)
