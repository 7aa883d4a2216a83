"""Limits against content that grows without end: packed files and answers of servers.

Each is far above what real archives hold. Whoever trusts a file or server that has more raises the limit by an
environment variable, which its message names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from dicom_ml.errors import EncodingError

__all__ = ["ANSWER", "FOUND", "LISTING", "MEMBERS", "PATIENCE", "UNPACKED", "Limit", "is_too_much", "most_unpacked"]

#: Whatever is packed this well or worse is no bomb: it costs no more than a large file does.
_USUAL_RATIO = 40


@dataclass(frozen=True)
class Limit:
    """A number that an environment variable can set.

    Attributes
    ----------
    variable : str
    default : int
    """

    variable: str
    default: int

    @property
    def value(self) -> int:
        """The limit that holds now.

        Raises
        ------
        EncodingError
            If the variable holds no number of at least 1.
        """
        text = os.environ.get(self.variable, "")
        if not text:
            return self.default
        try:
            found = int(float(text))
        except (ValueError, OverflowError):
            found = 0
        if found < 1:
            raise EncodingError(f"{self.variable} is {text!r}; expected a number of at least 1, such as {self.default}")
        return found

    @property
    def advice(self) -> str:
        """What to do where more is wanted."""
        return f"if it can be trusted, set the environment variable {self.variable} (now {self.value}) to more"


#: Bytes that a packed file may expand to, all members of a zip together.
UNPACKED = Limit("DICOM_ML_MOST_UNPACKED", 2 << 30)
#: Members of a zip file.
MEMBERS = Limit("DICOM_ML_MOST_MEMBERS", 250_000)
#: Bytes of one answer of a DICOMweb server that holds pixels.
ANSWER = Limit("DICOM_ML_MOST_ANSWER", 8 << 30)
#: Bytes of one answer in JSON, and of a DICOM message without pixels.
LISTING = Limit("DICOM_ML_MOST_LISTING", 1 << 30)
#: Rows of a query, and files of an object store.
FOUND = Limit("DICOM_ML_MOST_FOUND", 1_000_000)
#: Seconds in which an answer must begin, or come at more than 1,000 bytes a second.
PATIENCE = Limit("DICOM_ML_PATIENCE", 120)


def is_too_much(unpacked: int, packed: int) -> bool:
    """Whether ``packed`` bytes may not expand to ``unpacked``; asks the environment only where it has a say."""
    return unpacked > _USUAL_RATIO * packed and unpacked > UNPACKED.value


def most_unpacked(packed: int) -> int:
    """Bytes that ``packed`` bytes may expand to."""
    return max(UNPACKED.value, _USUAL_RATIO * packed)
