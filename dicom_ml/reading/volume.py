"""A volume: voxels, where they lie, what they measure and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.errors import GeometryError, SeriesError
from dicom_ml.geometry import Grid
from dicom_ml.reading.resampling import resample_array
from dicom_ml.reading.voi import DisplayTable, Window, apply_table, apply_window
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    from monai.data import MetaTensor

__all__ = ["Preset", "Volume"]

Preset: TypeAlias = Window | DisplayTable
Box: TypeAlias = "Sequence[slice] | tuple[Sequence[int], Sequence[int]]"


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels of one image series on a regular grid in patient space.

    Operations return a new volume whose affine is true to its array; they never change this one. A volume made by
    an operation keeps :attr:`source`, which goes on describing the series that was read, on its own grid.

    Attributes
    ----------
    array : ndarray of shape (D, H, W)
        Slice, row, column. Slices run along the normal, the cross product of the row and column directions of
        Image Orientation (Patient). Values are in :attr:`unit`.
    affine : ndarray of shape (4, 4), float64, read-only
        Maps an index ``(d, h, w)``, at voxel centres, to LPS millimetres. Its first column is the real step from a
        slice to the next, which leans away from the normal where the gantry was tilted.
    source : SourceSeries or None
        What derived objects must refer to; None for a volume that was not read from DICOM.
    modality : str
    unit : Code or None
        UCUM unit of the values; None where the files do not say.
    padding_value : float or None
        Pixel Padding Value in the units of the array; None where the files name none, or none that holds for all
        slices.
    gaps : tuple of int
        Slices that no file held and that were filled (``read_volume(gaps="fill")``).
    presets : tuple of tuple of Window or DisplayTable
        Windows, then lookup tables, that the files offer for display: one tuple that holds for all slices, or one
        for each.
    inverted : bool
        Whether low values are meant to be shown bright (Photometric Interpretation MONOCHROME1).
    metadata : mapping
        Facts of acquisition that concern no person: image type, slice thickness, transfer syntaxes and so on.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    source: SourceSeries | None = None
    modality: str = ""
    unit: Code | None = None
    padding_value: float | None = None
    gaps: tuple[int, ...] = ()
    presets: tuple[tuple[Preset, ...], ...] = ()
    inverted: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise GeometryError(f"a volume's array is (D, H, W), found {self.array.ndim} dimensions")
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        self.grid  # noqa: B018  a grid that cannot be is refused here, not at first use

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["metadata"] = dict(self.metadata)
        state.pop("grid", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __repr__(self) -> str:
        spacing = ", ".join(f"{s:.4g}" for s in self.spacing)
        unit = f", unit={self.unit.value}" if self.unit is not None else ""
        return (
            f"Volume({self.modality or 'unknown modality'}, shape={self.shape}, {self.array.dtype}, "
            f"spacing=({spacing}) mm, axes={self.grid.axcodes}{unit})"
        )

    # ------------------------------------------------------------------ facts
    @cached_property
    def grid(self) -> Grid:
        """The lattice of the voxels."""
        d, h, w = self.array.shape
        return Grid((d, h, w), self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(D, H, W)``."""
        return self.grid.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbours in mm along ``(d, h, w)``."""
        return self.grid.spacing

    @property
    def fill_value(self) -> float:
        """What stands outside the volume by default: the padding value, else -1024 in Hounsfield units, else 0."""
        if self.padding_value is not None:
            return self.padding_value
        return -1024.0 if self.unit is not None and self.unit.value == "[hnsf'U]" else 0.0

    # ------------------------------------------------------------------ display
    def windowed(
        self,
        center: float | None = None,
        width: float | None = None,
        *,
        function: str = "LINEAR",
        preset: int | str = 0,
        dtype: npt.DTypeLike = np.float32,
    ) -> npt.NDArray[Any]:
        """Values of interest spread over the range of display (PS3.3 C.11.2).

        Parameters
        ----------
        center, width : float, optional
            A window in the units of the array. Without them, the files' own preset.
        function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
            How ``center`` and ``width`` are meant; presets bring their own.
        preset : int or str
            Which preset of the files, by place or by name: windows first, then lookup tables. Where presets differ
            from slice to slice, each slice has its own.
        dtype : dtype
            Floating types run from 0 to 1, integers from 0 to their largest value.

        Returns
        -------
        ndarray of shape (D, H, W)
            High is bright: MONOCHROME1 images are inverted. Padding is 0.

        Raises
        ------
        SeriesError
            If the files offer no such preset, or the window is not valid.
        """
        if (center is None) != (width is None):
            raise SeriesError("a window needs both center and width")
        chosen: list[Preset]
        if center is not None and width is not None:
            chosen = [Window(float(center), float(width), function)]
        else:
            chosen = self._chosen_presets(preset)
        target = np.dtype(dtype)
        out = np.empty(self.shape, dtype=target)
        work = np.empty(self.shape[1:], dtype=np.float32)
        for d in range(self.shape[0]):
            one = chosen[d if len(chosen) > 1 else 0]
            if isinstance(one, Window):
                apply_window(self.array[d], one, work)
            else:
                apply_table(self.array[d], one, work)
            if self.inverted:
                np.subtract(1, work, out=work)
            if self.padding_value is not None:
                work[self.array[d] == self.padding_value] = 0
            if target.kind in "iu":
                # in float64: float32 cannot hold the largest values of 32-bit integers
                out[d] = np.rint(work.astype(np.float64) * np.iinfo(target).max)
            else:
                out[d] = work
        return out

    def _chosen_presets(self, preset: int | str) -> list[Preset]:
        chosen: list[Preset] = []
        for offered in self.presets or ((),):
            if isinstance(preset, str):
                match = [one for one in offered if one.name.casefold() == preset.casefold()]
            else:
                match = [offered[preset]] if -len(offered) <= preset < len(offered) else []
            if not match:
                names = ", ".join(f"{i} {one.name!r}" if one.name else str(i) for i, one in enumerate(offered))
                raise SeriesError(
                    f"the images offer no display preset {preset!r} (offered: {names or 'none'}); "
                    "pass center= and width="
                )
            chosen.append(match[0])
        return chosen

    # ------------------------------------------------------------------ geometry
    def orient(self, axcodes: str) -> Volume:
        """Permute and flip axes so that they run nearest to ``axcodes``; no value is interpolated.

        Parameters
        ----------
        axcodes : str
            Towards where the array axes ``(d, h, w)`` run, one letter each of R/L, A/P and I/S:
            ``"SPL"`` is an axial stack from feet to head as radiologists look at it.

        Raises
        ------
        GeometryError
            If the letters do not name three different axes.
        """
        order, flips = self.grid.orientation_change(axcodes)
        array = self.array.transpose(order)
        array = np.ascontiguousarray(np.flip(array, flips)) if flips else np.ascontiguousarray(array)
        index = None
        if order[0] == 0:
            index = list(range(self.shape[0]))[:: -1 if 0 in flips else 1]
        return self._derived(array, self.grid.orient(axcodes), index)

    def crop(self, box: Box) -> Volume:
        """Cut out a part.

        Parameters
        ----------
        box : three slices, or ``((d0, h0, w0), (d1, h1, w1))``
            Slices without a step, or the first voxel and the one past the last. Must not reach outside; see
            :meth:`pad`.

        Returns
        -------
        Volume
            Its array is a view into this one's.
        """
        bounds = self._bounds(box)
        part = tuple(slice(low, high) for low, high in bounds)
        grid = self.grid.crop([low for low, _ in bounds], [high - low for low, high in bounds])
        return self._derived(self.array[part], grid, list(range(*bounds[0])))

    def _bounds(self, box: Box) -> list[tuple[int, int]]:
        parts: list[Any] = list(box)
        bounds: list[tuple[int, int]] = []
        if len(parts) == 3 and all(isinstance(part, slice) for part in parts):
            for part, size in zip(parts, self.shape, strict=True):
                if part.step not in (None, 1):
                    raise GeometryError("crop takes slices without a step; use resample to thin a volume out")
                low, high, _ = part.indices(size)
                bounds.append((low, high))
        elif len(parts) == 2 and all(np.shape(part) == (3,) for part in parts):
            bounds = [(int(a), int(b)) for a, b in zip(parts[0], parts[1], strict=True)]
        else:
            raise GeometryError("a box is three slices, or a pair of first and past-the-last (d, h, w) indices")
        for axis, ((low, high), size) in enumerate(zip(bounds, self.shape, strict=True)):
            if not 0 <= low < high <= size:
                raise GeometryError(
                    f"the box takes voxels {low} to {high} of {size} along {'dhw'[axis]}: "
                    "it must hold at least one voxel and stay inside; use pad to reach outside"
                )
        return bounds

    def pad(self, widths: int | Sequence[int | tuple[int, int]], value: float | None = None) -> Volume:
        """Add voxels around.

        Parameters
        ----------
        widths : int, or one int or pair ``(before, after)`` for each of ``(d, h, w)``
        value : float, optional
            What they hold; by default :attr:`fill_value`.
        """
        each = [widths] * 3 if isinstance(widths, int) else list(widths)
        pairs = [(int(w), int(w)) if isinstance(w, (int, np.integer)) else (int(w[0]), int(w[1])) for w in each]
        if len(pairs) != 3 or any(min(pair) < 0 for pair in pairs):
            raise GeometryError(f"padding is zero or more voxels on both sides of three axes, found {widths!r}")
        fill = self.fill_value if value is None else value
        array = np.pad(self.array, pairs, constant_values=fill)
        index = [-1] * pairs[0][0] + list(range(self.shape[0])) + [-1] * pairs[0][1]
        return self._derived(array, self.grid.pad(pairs), index)

    def flip(self, axes: int | Sequence[int]) -> Volume:
        """Reverse array axes; every voxel stays where it is in the patient."""
        chosen = [axes] if isinstance(axes, int) else list(axes)
        if any(not -3 <= axis < 3 for axis in chosen) or len({axis % 3 for axis in chosen}) != len(chosen):
            raise GeometryError(f"axes to flip are different ones of 0, 1, 2, found {axes!r}")
        chosen = [axis % 3 for axis in chosen]
        index = list(range(self.shape[0]))
        array = np.ascontiguousarray(np.flip(self.array, tuple(chosen)))
        return self._derived(array, self.grid.flip(chosen), index[::-1] if 0 in chosen else index)

    def resample(
        self,
        grid: Grid | None = None,
        *,
        spacing: float | Sequence[float] | None = None,
        order: int = 1,
        fill: float | None = None,
        engine: str | None = None,
    ) -> Volume:
        """Interpolate onto another grid, or to another spacing over the same extent.

        Parameters
        ----------
        grid : Grid, optional
            Where values are wanted. Grids that share this volume's lattice are copied without interpolation.
        spacing : float or 3 floats, optional
            Millimetres along ``(d, h, w)``, in place of ``grid``.
        order : int
            0 nearest neighbour, 1 linear, 2 to 5 splines. Nothing is smoothed before thinning out.
        fill : float, optional
            Value outside this volume; by default :attr:`fill_value`.
        engine : {"scipy", "torch"}, optional
            By default scipy where installed, else torch (orders 0 and 1).

        Raises
        ------
        GeometryError
            If neither or both of ``grid`` and ``spacing`` are given.
        """
        if (grid is None) == (spacing is None):
            raise GeometryError("resample needs either a grid or a spacing")
        if grid is None:
            assert spacing is not None
            grid = self.grid.resized([float(spacing)] * 3 if isinstance(spacing, (int, float)) else spacing)
        value = self.fill_value if fill is None else fill
        array = resample_array(self.array, self.grid, grid, order=order, fill=value, engine=engine)
        return self._derived(array, grid, None)

    def match(self, other: Volume | Grid, *, order: int = 1, fill: float | None = None) -> Volume:
        """Resample onto the grid of another volume; this volume itself when the grids agree."""
        grid = other if isinstance(other, Grid) else other.grid
        if self.grid.matches(grid, tolerance=1e-4):
            return self
        return self.resample(grid, order=order, fill=fill)

    def straightened(self, *, order: int = 1, fill: float | None = None) -> Volume:
        """Resample a sheared stack (gantry tilt) onto planes stacked along their normal, large enough to hold all."""
        if self.grid.is_orthogonal:
            return self
        step, normal = self.affine[:3, 0], self.grid.normal
        along = normal * float(step @ normal)
        # how far the last slice has slid sideways, in rows and columns
        slid = np.linalg.lstsq(self.affine[:3, 1:3], (step - along) * (self.shape[0] - 1), rcond=None)[0]
        low = np.floor(np.minimum(slid, 0)).astype(int)
        high = np.ceil(np.maximum(slid, 0)).astype(int)
        affine = np.array(self.affine)
        affine[:3, 0] = along
        affine[:3, 3] += self.affine[:3, 1:3] @ low
        d, h, w = self.shape
        grid = Grid((d, h + int(high[0] - low[0]), w + int(high[1] - low[1])), affine)
        return replace(self.resample(grid, order=order, fill=fill), gaps=self.gaps, presets=self.presets)

    def _derived(self, array: npt.NDArray[Any], grid: Grid, index: list[int] | None) -> Volume:
        """A volume with other voxels. ``index``: the slice of this volume that each new slice was, -1 for none.

        None says that slices are no longer this volume's: what holds for single slices is dropped.
        """
        gaps: tuple[int, ...] = ()
        presets = self.presets if len(self.presets) <= 1 else ()
        if index is not None:
            gaps = tuple(new for new, old in enumerate(index) if old in set(self.gaps))
            if len(self.presets) > 1:
                kept = [new for new, old in enumerate(index) if old >= 0]
                nearest = [min(kept, key=lambda k, n=new: abs(k - n)) for new in range(len(index))]  # type: ignore[misc]
                presets = tuple(self.presets[index[k]] for k in nearest)
        return replace(self, array=array, affine=grid.affine, gaps=gaps, presets=presets)

    # ------------------------------------------------------------------ exchange
    def to_sitk(self) -> SimpleITK.Image:
        """As a SimpleITK image: the same voxels, the same LPS geometry; GeometryError for a sheared volume."""
        from dicom_ml.reading import exchange

        return exchange.to_sitk(self)

    @classmethod
    def from_sitk(cls, image: SimpleITK.Image, **facts: Any) -> Volume:
        """From a 3D SimpleITK image of one component. ``facts`` are other attributes, such as ``source=``."""
        from dicom_ml.reading import exchange

        return exchange.from_sitk(image, **facts)

    def to_nibabel(self) -> nibabel.Nifti1Image:
        """As a NIfTI image: array ``(W, H, D)`` and RAS affine."""
        from dicom_ml.reading import exchange

        return exchange.to_nibabel(self)

    @classmethod
    def from_nibabel(cls, image: nibabel.Nifti1Image, **facts: Any) -> Volume:
        """From a 3D NIfTI image. ``facts`` are other attributes, such as ``source=``."""
        from dicom_ml.reading import exchange

        return exchange.from_nibabel(image, **facts)

    def to_metatensor(self) -> MetaTensor:
        """As a MONAI MetaTensor: shape ``(1, W, H, D)``, RAS affine, the source's handle in its meta."""
        from dicom_ml.reading import exchange

        return exchange.to_metatensor(self)

    @classmethod
    def from_metatensor(cls, tensor: MetaTensor, **facts: Any) -> Volume:
        """From a MetaTensor of one channel. ``facts`` are other attributes; the source is taken from its meta."""
        from dicom_ml.reading import exchange

        return exchange.from_metatensor(tensor, **facts)
