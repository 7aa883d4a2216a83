"""What segmentations and parametric maps can be asked for alike, whether they were made or read."""

from __future__ import annotations

from typing import Protocol

from dicom_ml.geometry import Grid

__all__ = ["MultiFrameObject"]


class _Content(Protocol):
    """What an object holds: an array on its way to a file, or a file."""

    @property
    def grid(self) -> Grid: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def series_instance_uid(self) -> str: ...
    @property
    def frame_of_reference_uid(self) -> str: ...
    @property
    def referenced_series(self) -> dict[str, list[str]]: ...
    @property
    def frame_count(self) -> int: ...


class MultiFrameObject:
    """An object of frames in patient space, or on a slide."""

    _content: _Content

    @property
    def grid(self) -> Grid:
        """Lattice of the stored planes."""
        return self._content.grid

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return self._content.sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the object itself."""
        return self._content.series_instance_uid

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID, empty where the file has none; two objects with the same one share millimetres."""
        return self._content.frame_of_reference_uid

    @property
    def referenced_series(self) -> dict[str, list[str]]:
        """Series UID of each referenced series, and the SOP Instance UIDs referenced in it.

        Instances that a file refers to without naming their series stand under an empty series UID.
        """
        return self._content.referenced_series

    @property
    def frame_count(self) -> int:
        """Number of stored frames."""
        return self._content.frame_count
