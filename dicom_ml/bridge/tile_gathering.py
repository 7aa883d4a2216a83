"""Tiles that come one by one, in one process, and the objects that they become: the savers' counterpart of writers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from dicom_ml.bridge.item_results import ItemOutput, ItemResult
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tensors import SOURCE_KEY
from dicom_ml.bridge.tiles import TILE_GRID_KEY, TILE_POSITION_KEY, TileGrid
from dicom_ml.errors import DicomMLWarning
from dicom_ml.objects.iod import validated
from dicom_ml.source import SourceSeries

__all__ = ["TileGathering", "is_tile", "tell_empty"]


def is_tile(item: Mapping[Any, Any]) -> bool:
    """Whether an item is a tile of :class:`dicom_ml.data.TileDataset`."""
    return isinstance(item.get(TILE_GRID_KEY), str) and TILE_POSITION_KEY in item and SOURCE_KEY in item


def tell_empty(series_instance_uid: str) -> None:
    """Warn that a slide has no object."""
    warnings.warn(
        f"nothing was found on slide {series_instance_uid}, so it has no file: the object cannot be empty",
        DicomMLWarning,
        stacklevel=3,
    )


class TileGathering:
    """Objects of slides whose tiles come one by one.

    Each slide's object is written when its last tile has come; until then tiles wait on disk, where a later run finds
    them. A slide that was finished before is left alone.

    Parameters
    ----------
    output : ItemOutput
    folder : path
    model : str
    validate : bool
        Whether objects are checked before they take their names.
    """

    def __init__(
        self, output: ItemOutput, folder: str | os.PathLike[str], model: str = "", *, validate: bool = False
    ) -> None:
        self.output = output
        self.folder = os.fspath(folder)
        self.model = model
        self.validate = validate
        self._results: dict[tuple[str, str], ItemResult] = {}
        self._finished: dict[tuple[str, str], Written | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_results": {}}  # what waits on disk is found again

    def _result(self, key: tuple[str, str]) -> ItemResult:
        found = self._results.get(key)
        if found is None:
            for other in self._results.values():
                other.close()
            source, grid = SourceSeries.from_string(key[0]), TileGrid.from_string(key[1])
            found = self._results[key] = ItemResult(self.output, source, grid, self.folder, self.model)
            written = found.existing()
            if written is not None:
                self._finished[key] = written
        return found

    def put(self, item: Mapping[Any, Any], pred: Any) -> Written | None:
        """Add what was found on a tile; its slide's object, if that is complete now and there is anything in it.

        Parameters
        ----------
        item : mapping
            The tile, as :func:`is_tile` knows it.
        pred
            What the output's ``of_tile`` takes.
        """
        key = str(item[SOURCE_KEY]), str(item[TILE_GRID_KEY])
        row, column = (int(v) for v in item[TILE_POSITION_KEY])
        result = self._result(key)
        if key in self._finished:
            return self._finished[key]
        if not result.has(row, column):
            result.put(row, column, pred)
        return self._finish(key) if result.complete else None

    def _finish(self, key: tuple[str, str]) -> Written | None:
        with validated(self._results[key].source, self.validate):
            self._finished[key] = self._results[key].finish()
        if self._finished[key] is None:
            tell_empty(self._results[key].source.series_instance_uid)
        return self._finished[key]

    def finish(self) -> list[Written]:
        """Write what there is of slides that are not complete."""
        left = [key for key, result in self._results.items() if key not in self._finished]
        written = [self._finish(key) for key in left if self._refreshed(key)]
        return [one for one in written if one is not None]

    def _refreshed(self, key: tuple[str, str]) -> bool:
        result = self._results[key]
        result.refresh()
        return result.count > 0
