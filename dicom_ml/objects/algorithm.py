"""The algorithm that made a result, as every derived object names it (PS3.3 10.16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_ml.codes import Code, code_to_dataset, parse_code
from dicom_ml.errors import EncodingError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ALGORITHM_TYPES", "ARTIFICIAL_INTELLIGENCE", "Algorithm", "check_text"]

ALGORITHM_TYPES = ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")


@dataclass(frozen=True)
class Algorithm:
    """The algorithm that made a result (PS3.3 10.16, Algorithm Identification Macro).

    Parameters
    ----------
    name : str
        Up to 64 characters.
    version : str
    family : code
        Kind of algorithm (PS3.16 CID 7162); artificial intelligence unless said otherwise.
    type : str
        ``"AUTOMATIC"`` or ``"SEMIAUTOMATIC"``.
    source : str, optional
        Who made the algorithm.
    parameters : str, optional
        Settings it ran with.

    Examples
    --------
    >>> Algorithm("OrganNet", version="1.2").family.meaning
    'Artificial Intelligence'
    """

    name: str
    version: str = ""
    family: Code = ARTIFICIAL_INTELLIGENCE
    type: str = "AUTOMATIC"
    source: str | None = None
    parameters: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", parse_code(self.family))
        object.__setattr__(self, "type", str(self.type).upper())
        if self.type not in ALGORITHM_TYPES:
            raise EncodingError(f"an algorithm's type is one of {', '.join(ALGORITHM_TYPES)}, found {self.type!r}")
        if self.type != "MANUAL" and (not self.name or not str(self.version)):
            raise EncodingError(
                "an algorithm needs a name and a version, for example Algorithm('OrganNet', version='1.2'); "
                "the standard requires both of whoever reads the result"
            )
        check_text("algorithm name", self.name, 64)
        check_text("algorithm version", str(self.version), 64)
        object.__setattr__(self, "version", str(self.version))

    @classmethod
    def manual(cls) -> Algorithm:
        """Say that a person drew the segment."""
        return cls("", "", type="MANUAL")

    @property
    def is_manual(self) -> bool:
        """Whether a person drew the segment."""
        return self.type == "MANUAL"

    def to_dataset(self) -> Dataset:
        """One item of an Algorithm Identification Sequence."""
        from pydicom import Dataset, Sequence

        item = Dataset()
        item.AlgorithmFamilyCodeSequence = Sequence([code_to_dataset(self.family)])
        item.AlgorithmName = self.name
        item.AlgorithmVersion = self.version
        if self.source:
            item.AlgorithmSource = self.source
        if self.parameters:
            item.AlgorithmParameters = self.parameters
        return item


def check_text(what: str, text: str, limit: int) -> None:
    """Refuse text that its VR cannot hold: too long, or with a backslash or control characters (PS3.5 6.2)."""
    if len(text) > limit:
        raise EncodingError(f"a {what} has at most {limit} characters, found {len(text)}")
    if "\\" in text or any(ord(c) < 32 for c in text):
        raise EncodingError(f"a {what} holds no backslash or control characters, found {text!r}")
