"""Tiled objects of any maker: which part of the total pixel matrix each frame covers, read by region."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.functional_groups import GROUP_TAGS
from dicom_ml.encoding.functional_groups import Path as TagPath
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.encoding.untrusted import of_its_file
from dicom_ml.errors import DicomMLError, GeometryError
from dicom_ml.geometry import Grid, affine_from_plane
from dicom_ml.objects.stored import StoredFrames
from dicom_ml.source import as_source

__all__ = ["StoredTiles", "region_on"]

Array = npt.NDArray[Any]
#: Pixels from which several threads pay.
_THREADED_FROM = 1 << 22
_MANY_STRIPS = 16


class StoredTiles(StoredFrames):
    """A tiled multi-frame file.

    Attributes
    ----------
    full : bool
        Whether frames lie in the order of TILED_FULL, without positions of their own.
    shape : tuple of int
        Rows and columns of the total pixel matrix.
    """

    wanted: ClassVar[dict[str, TagPath]] = {
        "row": GROUP_TAGS["row"],
        "column": GROUP_TAGS["column"],
        "pixel_spacing": GROUP_TAGS["pixel_spacing"],
        "slice_thickness": GROUP_TAGS["slice_thickness"],
    }

    def _read_groups(self) -> dict[str, list[bytes | None]]:
        self.full = self._view.text(0x00209311) == "TILED_FULL"
        if self.full and 0x52009230 not in self._view:
            # frames follow from their order; only the shared groups are there
            count, self.frame_count = self.frame_count, 1
            groups = super()._read_groups()
            self.frame_count = count
            return {name: values * count for name, values in groups.items()}
        return super()._read_groups()

    @cached_property
    @of_its_file
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the total pixel matrix."""
        rows, columns = self._view.integer(0x00480007), self._view.integer(0x00480006)
        if not rows or not columns:
            raise self._fail("has no Total Pixel Matrix Rows or Columns")
        return rows, columns

    @property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.rows), -(-self.shape[1] // self.columns)

    def _channel_count(self) -> int:
        """Channels of a TILED_FULL object."""
        raise NotImplementedError

    @cached_property
    @of_its_file
    def starts(self) -> npt.NDArray[np.int64]:
        """First row and column of each frame, from 0, shape ``(N, 2)``."""
        if self.full:
            rows, columns = self.counts
            planes = self._channel_count()
            if rows * columns * planes != self.frame_count:
                raise self._fail(
                    f"is TILED_FULL with {self.frame_count} frames, but {rows} x {columns} tiles of {planes} channels "
                    f"are {rows * columns * planes}: it cannot be said which is which"
                )
            place = np.arange(self.frame_count) % (rows * columns)
            return np.stack([place // columns * self.rows, place % columns * self.columns], axis=1)
        found = []
        for name in ("row", "column"):
            values = self._groups[name]
            missing = sum(v is None or len(v) < 4 for v in values)
            if missing:
                raise self._fail(f"{missing} of {self.frame_count} tiles have no {name} position in the matrix")
            found.append(np.frombuffer(b"".join(v[:4] for v in values if v), "<i4").astype(np.int64) - 1)
        starts = np.stack(found, axis=1)
        if (starts < 0).any() or (starts >= np.array(self.shape)).any():
            raise self._fail("tiles begin outside of the total pixel matrix")
        return starts

    @cached_property
    @of_its_file
    def grid(self) -> Grid:
        """The total pixel matrix as one plane, to slide millimetres.

        Raises
        ------
        FileError
            If the object does not say its pixel spacing or origin.
        """
        header = self._header
        spacing = self._numbers("pixel_spacing", 2)[0]
        origin = (header.get("TotalPixelMatrixOriginSequence") or [None])[0]
        orientation = header.get("ImageOrientationSlide")
        if spacing is None or origin is None or orientation is None:
            missing = [
                n
                for n, v in (("pixel spacing", spacing), ("origin", origin), ("orientation", orientation))
                if v is None
            ]
            raise self._fail(
                f"has no {' and no '.join(missing)} of the total pixel matrix, so it has no place on the slide"
            )
        point = (
            float(origin.get("XOffsetInSlideCoordinateSystem") or 0),
            float(origin.get("YOffsetInSlideCoordinateSystem") or 0),
            float(origin.get("ZOffsetInSlideCoordinateSystem") or 0),
        )
        thickness = self._first_number("slice_thickness") or 0.001
        return Grid((1, *self.shape), affine_from_plane(point, [float(v) for v in orientation], spacing, thickness))

    # ------------------------------------------------------------------ regions
    def frames_in(self, region: tuple[int, int, int, int], frames: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Those of ``frames`` that touch a region (first row, first column, rows, columns)."""
        row, column, height, width = region
        starts = self.starts[frames]
        inside = (starts[:, 0] < row + height) & (starts[:, 0] + self.rows > row)
        inside &= (starts[:, 1] < column + width) & (starts[:, 1] + self.columns > column)
        return np.asarray(frames[inside])

    def each(
        self,
        region: tuple[int, int, int, int],
        frames: npt.NDArray[np.intp],
        use: Callable[[int, tuple[slice, slice], Array], None],
    ) -> None:
        """Decode the frames that touch a region and hand out what lies in it.

        ``use`` takes the frame's index, its place in the region, and its pixels there. Frames that share pixels are
        handed out in their order, on one thread.
        """
        row, column, height, width = region
        chosen = self.frames_in(region, frames)
        starts = self.starts
        index = self.frames

        def work(frames: list[int]) -> None:
            for i in frames:
                top, left = int(starts[i, 0]) - row, int(starts[i, 1]) - column
                cut = (
                    slice(max(0, -top), min(self.rows, height - top)),
                    slice(max(0, -left), min(self.columns, width - left)),
                )
                place = slice(top + cut[0].start, top + cut[0].stop), slice(left + cut[1].start, left + cut[1].stop)
                use(i, place, index.decode(i)[cut])

        aligned = not (starts[chosen] % (self.rows, self.columns)).any()
        try:
            # what is done with a tile that needs no decoder is over before another thread has got the interpreter
            if aligned and index.encapsulated and len(chosen) * self.rows * self.columns > _THREADED_FROM:
                parallel_for(work, _strips(starts[chosen], chosen))
            else:
                work(chosen.tolist())
        except DicomMLError as error:
            raise type(error)(f"{self.name}: {error}") from error


def _strips(starts: npt.NDArray[np.int64], frames: npt.NDArray[np.intp]) -> list[list[int]]:
    """Frames that one thread takes, in their order: those of a row of tiles, or of a place where rows are few.

    Two threads on one row would fill the same pages of fresh memory.
    """
    rows: dict[int, list[int]] = {}
    places: dict[tuple[int, int], list[int]] = {}
    for (r, c), i in zip(starts.tolist(), frames.tolist(), strict=True):
        rows.setdefault(r, []).append(i)
        places.setdefault((r, c), []).append(i)
    return list(rows.values()) if len(rows) >= _MANY_STRIPS else list(places.values())


def region_on(stored: StoredTiles, on: Any) -> tuple[int, int, int, int]:
    """Region of the stored matrix that something covers: all of it, or a plane on the same lattice.

    Raises
    ------
    GeometryError
        If it is no plane of the slide, or has another lattice.
    """
    if on is None:
        return 0, 0, *stored.shape
    candidates = [on] if isinstance(on, Grid) else [described.grid for described in as_source(on).levels]
    if not candidates:
        raise GeometryError(
            f"{stored.name}: lies on a slide; pass the slide or one of its grids, not {type(on).__name__}"
        )
    for grid in candidates:
        flat = Grid(grid.shape, _flat(grid.affine, stored.grid.affine))
        alignment = flat.align(stored.grid)
        if alignment is not None and alignment.same_axes:
            start = alignment.start(grid.shape)
            if start[0] == 0 and grid.shape[0] == 1:
                return start[1], start[2], grid.shape[1], grid.shape[2]
    height, width = stored.grid.spacing[1:]
    raise GeometryError(
        f"{stored.name}: its pixels ({height:.6g} x {width:.6g} mm) are those of no level asked for; "
        "read it at its own spacing (on=None), and resample"
    )


def _flat(affine: npt.NDArray[np.float64], like: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The affine with the depth of another: what thickness a plane is said to have does not matter here."""
    changed = np.array(affine)
    changed[:3, 0] = like[:3, 0]
    changed[2, 3] = like[2, 3]
    return changed
