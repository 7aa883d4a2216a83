"""How fast an answer comes: none that trickles is waited for."""

from __future__ import annotations

import time

from dicom_ml.encoding.limits import PATIENCE

__all__ = ["Pace"]

#: Bytes a second that an answer must come at when patience is over.
_LEAST_SPEED = 1000


class Pace:
    """How many bytes have come since when."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._since, self._came = time.monotonic(), 0

    def count(self, size: int) -> str:
        """Count what has come; says what is wrong where that is too slow."""
        self._came += size
        waited = time.monotonic() - self._since
        if waited <= PATIENCE.value + self._came / _LEAST_SPEED:
            return ""
        return f"has sent {self._came} bytes in {waited:.0f} s, too slowly to be waited for"
