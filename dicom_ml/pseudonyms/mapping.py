"""From identifiers to pseudonyms, by a secret key: the same everywhere, and back for nobody without the originals."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from dicom_ml.errors import EncodingError, FileError

__all__ = ["Pseudonyms"]

_LEAST_KEY = 16
#: Days that dates move, at most; each patient's by a number of its own, so that intervals stay.
_MOST_DAYS = 3650


class Pseudonyms:
    """Pseudonyms of UIDs, identifiers and dates.

    The same key gives the same pseudonyms in any run and on any machine, so what refers to what stays true between
    images and the objects made from them, whenever each is pseudonymised. Without the key, whoever has an original
    cannot find its pseudonym.

    Parameters
    ----------
    key : bytes
        16 bytes or more, secret.

    Raises
    ------
    EncodingError
        If the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _LEAST_KEY:
            raise EncodingError(f"the key has {len(key)} bytes; it needs {_LEAST_KEY} at least to keep a secret")
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "Pseudonyms(...)"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, create: bool = False) -> Pseudonyms:
        """Read the key from a file.

        Parameters
        ----------
        path : path
        create : bool
            Make a new random key, readable by its owner only, where there is no file yet.

        Raises
        ------
        FileError
            If the file is not there, or holds no key.
        """
        target = Path(path)
        if create and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(secrets.token_hex(32) + "\n")
            except BaseException:
                target.unlink()  # half a key is none
                raise
        try:
            text = target.read_text(encoding="ascii").strip()
            return cls(bytes.fromhex(text))
        except OSError as error:
            raise FileError(f"the key {target} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise FileError(f"{target} holds no key: expected 32 hexadecimal digits or more") from error

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{text}".encode(), hashlib.sha256).digest()

    def uid(self, uid: str) -> str:
        """Pseudonym of a UID, under the root 2.25 (PS3.5 B.2). Those that the standard defines stay."""
        text = uid.strip(" \0")
        if not text or text.startswith("1.2.840.10008."):
            return text
        number = bytearray(self._digest("uid", text)[:16])
        number[6] = number[6] & 0x0F | 0x80  # a UUID of version 8 (made by its maker's own rules), RFC 9562
        number[8] = number[8] & 0x3F | 0x80
        return f"2.25.{int.from_bytes(number, 'big')}"

    def identifier(self, text: str, kind: str = "id") -> str:
        """Pseudonym of an identifier, 13 characters; empty where there is none."""
        if not text.strip(" \0"):
            return ""
        return "P" + base64.b32encode(self._digest(kind, text.strip(" \0")))[:12].decode("ascii")

    def days(self, patient: str) -> int:
        """Days by which the dates of a patient move back."""
        return 1 + int.from_bytes(self._digest("days", patient)[:4], "big") % _MOST_DAYS

    def date(self, value: str, patient: str) -> str:
        """A date (DA) or the date of a date and time (DT), moved; empty where it is no date."""
        found = re.match(r"(\d{4})(\d{2})?(\d{2})?", value.strip(" \0"))
        if found is None:
            return ""
        try:
            day = datetime.date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
            moved = day - datetime.timedelta(days=self.days(patient))
        except (ValueError, OverflowError):
            return ""
        return f"{moved:%Y%m%d}".rjust(8, "0")[: found.end()] + value.strip(" \0")[found.end() :]
