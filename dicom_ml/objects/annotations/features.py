"""Features of a GeoJSON file, read one at a time in bounded memory (RFC 7946)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dicom_ml.errors import FileError

__all__ = ["FeatureFile"]

_CHUNK = 1 << 22
#: Characters that one value may have.
_LIMIT = 1 << 30
_decoder = json.JSONDecoder()


class FeatureFile:
    """A GeoJSON file: a FeatureCollection, a bare list of features, one feature, or one feature a line.

    Attributes
    ----------
    name : str
    header : dict
        Other members of the FeatureCollection; complete when iteration has ended.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self.name = Path(path).name
        self.header: dict[str, Any] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every feature, those within others (``childObjects``) after them.

        Raises
        ------
        FileError
            If the file is no GeoJSON.
        """
        try:
            with open(self._path, encoding="utf-8-sig") as file:
                for feature in self._features(_Scanner(file, self.name)):
                    yield from self._with_children(feature)
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"{self.name}: cannot be read as text: {error}") from error

    def _features(self, scan: _Scanner) -> Iterator[Any]:
        first = scan.peek()
        if first == "[":
            yield from scan.elements()
        elif first == "{":
            while scan.peek() == "{":
                yield from self._object(scan)
        else:
            raise FileError(f"{self.name}: is no GeoJSON: it begins with {first!r} instead of a brace or a bracket")
        if scan.peek():
            raise FileError(f"{self.name}: something stands after the end of its GeoJSON")

    def _object(self, scan: _Scanner) -> Iterator[Any]:
        members: dict[str, Any] = {}
        for key in scan.members():
            if key == "features" and scan.peek() == "[":
                yield from scan.elements()
                members[key] = None
            else:
                members[key] = scan.value()
        if members.get("type") == "Feature":
            yield members
        elif "features" in members:
            self.header |= members
        else:
            raise FileError(f"{self.name}: holds a GeoJSON {members.get('type')!r}; features were expected")

    def _with_children(self, feature: Any) -> Iterator[dict[str, Any]]:
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            kind = feature.get("type") if isinstance(feature, dict) else type(feature).__name__
            raise FileError(f"{self.name}: a Feature was expected, found {kind!r}")
        yield feature
        properties = feature.get("properties")
        if isinstance(properties, dict):
            for key in ("childObjects", "children"):
                children = properties.get(key)
                for child in children if isinstance(children, list) else ():
                    yield from self._with_children(child)


class _Scanner:
    """Reads JSON values from a file by and by."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._buffer = ""
        self._at = 0
        self._ended = False

    def _more(self, amount: int = _CHUNK) -> bool:
        if self._ended:
            return False
        text = self._file.read(amount)
        self._ended = not text
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        return bool(text)

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                character = self._buffer[self._at]
                if character not in " \t\r\n\x1e":
                    return character
                self._at += 1
            if not self._more():
                return ""

    def _take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            raise FileError(
                f"{self._name}: broken JSON: {' or '.join(wanted)} was expected, found "
                f"{repr(found) if found else 'the end of the file'}"
            )
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value."""
        self.peek()
        amount = _CHUNK
        while True:
            try:
                value, end = _decoder.raw_decode(self._buffer, self._at)
                # a number at the end of what was read may go on
                if end < len(self._buffer) or not self._more(amount):
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                amount *= 2
                if amount > _LIMIT or not self._more(amount):
                    raise FileError(f"{self._name}: broken JSON: {error.msg}") from error
            except RecursionError as error:
                raise FileError(f"{self._name}: its JSON is nested too deeply") from error
            except ValueError as error:  # Python takes no number of thousands of digits
                raise FileError(f"{self._name}: broken JSON: a number in it is too long") from error

    def members(self) -> Iterator[str]:
        """Keys of an object; the value of each must be taken before the next."""
        self._take("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            if self.peek() != '"':
                self._take('"')
            key = self.value()
            self._take(":")
            yield key
            if self._take(",}") == "}":
                return

    def elements(self) -> Iterator[Any]:
        """Values of an array."""
        self._take("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._take(",]") == "]":
                return
