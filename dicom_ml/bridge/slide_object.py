"""An object over a slide that grows tile by tile: what it is called, and whether it is there."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.errors import EncodingError
from dicom_ml.source import SourceSeries

__all__ = ["ObjectOutput", "SlideObject"]


class ObjectOutput(Protocol):
    """What names an object and finds it again: :class:`~dicom_ml.bridge.results.NamedResults`."""

    def path(self, source: SourceSeries, folder: str | os.PathLike[str], model: str = "") -> Path:
        """Where the object goes."""

    def record(self, source: SourceSeries, path: Path, model: str, written: bool) -> Written:
        """Its UIDs."""

    def existing_at(self, path: Path, source: SourceSeries, model: str = "") -> Written | None:
        """The object, where it is complete."""


class SlideObject(ABC):
    """Base of objects of slides under way; what is known so far waits on disk, beside the target.

    Parameters
    ----------
    output : ObjectOutput
    source : SourceSeries
    grid : TileGrid
    target : path
        A folder, where the object is named by what it is made of, or with ``named=False`` the file itself.
    model : str
        What tells the model from others.
    how : str
        How tiles become one object; it takes part in the UIDs, as the grid does.
    shard : str
        Name of this process among those that feed the object.
    named : bool
    """

    def __init__(
        self,
        output: Any,
        source: SourceSeries,
        grid: TileGrid,
        target: str | os.PathLike[str],
        model: str,
        how: str = "",
        *,
        shard: str = "0",
        named: bool = True,
    ) -> None:
        if not source.levels:
            raise EncodingError("tiles come from a slide, and their source is a volume")
        self.output = output
        self.source = source.check()
        self.grid = grid
        self.shard = shard
        self.model = f"{model}:{hashlib.sha256((grid.to_string() + how).encode()).hexdigest()[:16]}"
        self.path = output.path(self.source, target, self.model) if named else Path(target)
        self.uids: Written = output.record(self.source, self.path, self.model, written=True)
        self._parts_folder = self.path.with_name(f".{self.path.name[:100]}.parts")

    def existing(self) -> Written | None:
        """The finished object, where there is one."""
        found: Written | None = self.output.existing_at(self.path, self.source, self.model)
        return found

    @property
    def complete(self) -> bool:
        """Whether all tiles are there, as far as this process knows."""
        return self.count >= self.grid.count

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether files are held open."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Tiles that are there, as far as this process knows."""

    @abstractmethod
    def has(self, row: int, column: int) -> bool:
        """Whether the prediction of the tile that begins at a pixel of the grid is there already."""

    @abstractmethod
    def refresh(self) -> None:
        """Look again at what other processes have added."""

    @abstractmethod
    def put(self, row: int, column: int, pred: Any) -> bool:
        """Add the prediction of the tile that begins at a pixel of the grid; whether it was new."""

    @abstractmethod
    def finish(self) -> Written | None:
        """Write the object of the tiles that are there, and remove what was kept for it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files; what is there stays, and is opened again when it is needed."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what is kept of an object that is not finished."""
