"""RT Structure Sets: regions of interest by name, and masks of them on the voxels of images (PS3.3 A.19)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import DicomMLError, DicomMLWarning, EncodingError, FileError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.segmentation import Segmentation
from dicom_ml.objects.structure_set.placing import Policies, paint_region
from dicom_ml.objects.structure_set.reading import read_references, read_regions
from dicom_ml.objects.structure_set.regions import RegionOfInterest, region_index
from dicom_ml.objects.structure_set.segments import segments_of
from dicom_ml.source import SourceSeries, as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["StructureSet", "read_structure_set"]

Array = npt.NDArray[Any]


class StructureSet:
    """An RT Structure Set, read by :func:`read_structure_set`.

    Attributes
    ----------
    regions : list of RegionOfInterest
        By ROI Number.
    dataset : pydicom.Dataset
        The object as pydicom has it.
    label : str
        Structure Set Label.
    sop_instance_uid, series_instance_uid : str
        Of the object itself.
    referenced_series : dict
        Series UID of each referenced series, and the SOP Instance UIDs referenced in it.
    frame_of_reference_uids : list of str
        Those that the object says it refers to.
    """

    def __init__(self, dataset: Dataset, name: str = "structure set") -> None:
        self.dataset = dataset
        self.name = name
        self.regions: list[RegionOfInterest] = read_regions(dataset, name)
        self.frame_of_reference_uids, self.referenced_series = read_references(dataset)
        self.label = str(dataset.get("StructureSetLabel") or "")
        self.sop_instance_uid = str(dataset.get("SOPInstanceUID") or "")
        self.series_instance_uid = str(dataset.get("SeriesInstanceUID") or "")

    # ------------------------------------------------------------------ facts
    @property
    def names(self) -> list[str]:
        """Names of the regions."""
        return [region.name for region in self.regions]

    def __len__(self) -> int:
        return len(self.regions)

    def __repr__(self) -> str:
        names = ", ".join(self.names[:6]) + (", ..." if len(self) > 6 else "")
        return f"StructureSet({len(self)} regions: {names})"

    def region(self, wanted: Any) -> RegionOfInterest:
        """The region of a number, name or code.

        Raises
        ------
        CodeError
            If there is none, or more than one.
        """
        return self.regions[region_index(self.regions, [wanted])[0]]

    def find(self, *, name: str | None = None, type: str | None = None, code: Any = None) -> list[RegionOfInterest]:
        """Regions by name (a part of it, in any case), interpreted type (such as ``"PTV"``) and code."""
        from dicom_ml.codes import parse_code

        wanted = None if code is None else parse_code(code, need_meaning=False)
        return [
            r
            for r in self.regions
            if (name is None or name.casefold() in r.name.casefold())
            and (type is None or r.interpreted_type.casefold() == type.casefold())
            and (wanted is None or (r.code is not None and r.code == wanted))
        ]

    # ------------------------------------------------------------------ masks
    def mask(
        self,
        regions: Any,
        on: Any,
        *,
        outside: str = "error",
        between: str = "error",
        fill: str = "own",
        combine: str = "xor",
        traced: bool | None = None,
    ) -> npt.NDArray[np.bool_]:
        """Voxels of one region, or of several together.

        A voxel belongs to a region when its centre lies inside the contours of its slice.

        Parameters
        ----------
        regions : int, str, code or RegionOfInterest, or a sequence of these
            By number, name or coded meaning.
        on : Volume, SourceSeries, list of datasets, or Grid
            The images; a bare Grid is taken without asking for its frame of reference.
        outside : {"error", "drop"}
            Contours that reach outside of the grid.
        between : {"error", "nearest", "drop"}
            Contours that lie more than a quarter of the distance of slices away from any slice, or of which several
            planes fall into one slice.
        fill : {"own", "nearest"}
            Where planes of contours are farther apart than slices: fill their own slices only, which is said in a
            warning, or those between them by the nearest plane too.
        combine : {"xor", "union"}
            Contours of one plane: outlines within others are holes, or all is filled.
        traced : bool, optional
            Whether contours run through the outermost pixels of a mask, from centre to centre, as many programs write
            the contours of a segmentation; those pixels then belong to the region. By default that is found out: where
            nearly all corners are centres of pixels and all edges run along rows, columns or diagonals.

        Returns
        -------
        ndarray of shape (D, H, W), bool

        Raises
        ------
        GeometryError
            If contours do not fit the grid and no policy was given, or the images have another frame of reference.
        EncodingError
            If no contour of a region encloses an area.
        """
        chosen = self._chosen(regions)
        grid = self._grid(on, chosen)
        policies = Policies(outside, between, fill, combine, traced)
        mask = np.zeros(grid.shape, dtype=bool)
        for region in chosen:
            own = paint_region(region, grid, policies, self.name)
            mask = own if region is chosen[0] else np.logical_or(mask, own, out=mask)
        return mask

    def channels(self, on: Any, regions: Sequence[Any] | None = None, **policies: Any) -> npt.NDArray[np.bool_]:
        """One channel a region.

        Parameters
        ----------
        on, **policies
            As in :meth:`mask`.
        regions : sequence, optional
            By default all regions that enclose an area.

        Returns
        -------
        ndarray of shape (R, D, H, W), bool
        """
        chosen = self._filled() if regions is None else self._chosen(regions)
        grid = self._grid(on, chosen)
        rules = Policies(**policies)
        out = np.zeros((len(chosen), *grid.shape), dtype=bool)
        for channel, region in zip(out, chosen, strict=True):
            channel[:] = paint_region(region, grid, rules, self.name)
        return out

    def label_map(
        self,
        on: Any,
        regions: Sequence[Any] | Mapping[Any, int] | None = None,
        *,
        overlap: str = "error",
        dtype: npt.DTypeLike | None = None,
        **policies: Any,
    ) -> Array:
        """One number a voxel: that of its region, or 0.

        Parameters
        ----------
        on, **policies
            As in :meth:`mask`.
        regions : sequence or mapping, optional
            Regions, whose ROI Numbers are the labels, or ``{region: label}``. By default all regions that enclose an
            area.
        overlap : {"error", "first", "last"}
            Which region has a voxel that several claim, in the order given.
        dtype : dtype, optional
            uint8 where all labels fit, else uint16.

        Returns
        -------
        ndarray of shape (D, H, W)

        Raises
        ------
        EncodingError
            If regions overlap and no policy was given, or ROI Numbers cannot be labels.
        GeometryError
            As in :meth:`mask`.
        """
        if overlap not in ("error", "first", "last"):
            raise EncodingError(f"overlap is 'error', 'first' or 'last', found {overlap!r}")
        if isinstance(regions, Mapping):
            chosen, labels = self._chosen(list(regions)), [int(v) for v in regions.values()]
        else:
            chosen = self._filled() if regions is None else self._chosen(regions)
            labels = [region.number for region in chosen]
        if min(labels, default=1) < 1 or max(labels, default=1) > 65535:
            raise EncodingError(
                f"labels lie from 1 to 65535, and the regions have {sorted(labels)[:8]}; pass regions={{name: label}}"
            )
        grid = self._grid(on, chosen)
        rules = Policies(**policies)
        out = np.zeros(grid.shape, dtype=dtype or (np.uint8 if max(labels, default=0) < 256 else np.uint16))
        for region, label in zip(chosen, labels, strict=True):
            mask = paint_region(region, grid, rules, self.name)
            used = np.flatnonzero(mask.any(axis=(1, 2)))
            part = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
            mask, place = mask[part], out[part]
            taken = mask & (place != 0)
            if overlap == "error" and taken.any():
                other = chosen[labels.index(int(place[taken][0]))]
                raise EncodingError(
                    f"{self.name}: regions {other.name!r} and {region.name!r} overlap in {int(taken.sum())} voxels, "
                    "which one number a voxel cannot say; pass overlap='first' or 'last', ask for fewer regions, or "
                    "take channels()"
                )
            place[mask & ~taken if overlap == "first" else mask] = label
        return out

    def to_segmentation(
        self,
        source: Any,
        regions: Sequence[Any] | None = None,
        *,
        types: Mapping[Any, Any] | None = None,
        algorithm: Algorithm | str | None = None,
        kind: str = "binary",
        policies: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Segmentation:
        """The regions as a DICOM Segmentation of the images.

        Parameters
        ----------
        source : Volume, SourceSeries or list of datasets
            The images, on whose voxels the segmentation lies.
        regions : sequence, optional
            By default all regions that enclose an area.
        types : mapping, optional
            What regions are: ``{name or number: code}``, or a mapping of further fields of :class:`Segment` in place
            of the code. A region that is not named must have a code of its own, or the name of a known term.
        algorithm : Algorithm or ``"manual"``, optional
            Who or what drew the contours, of those that the file does not call manual.
        kind : str
            ``"binary"``, which lets regions overlap, or ``"labelmap"``.
        policies : mapping, optional
            Policies of :meth:`mask`.
        **settings
            As in :meth:`Segmentation.from_array`.

        Raises
        ------
        EncodingError
            If it is not known what a region is, or how it was made.
        GeometryError
            As in :meth:`mask`.
        """
        chosen = self._filled() if regions is None else self._chosen(regions)
        segments = segments_of(chosen, types or {}, algorithm, self.dataset)
        masks = self.channels(source, chosen, **(policies or {}))
        return Segmentation.from_array(masks, source=source, segments=segments, kind=kind, **settings)

    # ------------------------------------------------------------------ inner
    def _chosen(self, regions: Any) -> list[RegionOfInterest]:
        single = isinstance(regions, str | int | np.integer | RegionOfInterest) or hasattr(regions, "scheme")
        wanted = [regions] if single else list(regions)
        return [self.regions[i] for i in region_index(self.regions, wanted)]

    def _filled(self) -> list[RegionOfInterest]:
        chosen = [region for region in self.regions if region.is_filled]
        if not chosen:
            raise EncodingError(f"{self.name}: no region has contours that enclose an area")
        others = [region.name for region in self.regions if region.contours and not region.is_filled]
        if others:
            shown = ", ".join(map(repr, others[:6])) + (" and others" if len(others) > 6 else "")
            warnings.warn(
                f"{self.name}: {len(others)} regions are left out, since their contours enclose no area: {shown}",
                DicomMLWarning,
                stacklevel=3,
            )
        return chosen

    def _grid(self, on: Any, chosen: Sequence[RegionOfInterest]) -> Grid:
        """Grid of the images, after a look at their frame of reference."""
        if on is None:
            raise GeometryError("contours have no voxels of their own; pass on=volume, the images they were drawn on")
        if isinstance(on, Grid):
            return on
        grid = getattr(on, "grid", None)
        record: Any = on if isinstance(on, SourceSeries) else getattr(on, "source", None)
        if not isinstance(grid, Grid):
            record = as_source(on)
            grid = record.grid
        if not isinstance(grid, Grid):
            raise GeometryError("the images asked for have no grid in patient space")
        if isinstance(record, SourceSeries):
            self._check_frame(record, chosen)
        return grid

    def _check_frame(self, record: SourceSeries, chosen: Sequence[RegionOfInterest]) -> None:
        theirs = record.frame_of_reference_uid
        fallback = self.frame_of_reference_uids[0] if len(self.frame_of_reference_uids) == 1 else ""
        foreign = [r for r in chosen if theirs and (r.frame_of_reference_uid or fallback) not in ("", theirs)]
        if not foreign or record.series_instance_uid in self.referenced_series:
            return
        images = set(record.sop_instance_uids)
        foreign = [r for r in foreign if not images.intersection(r.referenced_instances)]
        if foreign:
            raise GeometryError(
                f"{self.name}: region {foreign[0].name!r} has frame of reference "
                f"{foreign[0].frame_of_reference_uid or fallback}, the images have {theirs}, and the structure set "
                "does not refer to them: positions cannot be compared. Pass on=volume.grid to take them as they are"
            )


def read_structure_set(path: str | os.PathLike[str] | Dataset) -> StructureSet:
    """Read an RT Structure Set of any maker.

    Parameters
    ----------
    path : path or pydicom.Dataset

    Raises
    ------
    FileError
        If it is no structure set, or contradicts itself.
    """
    from pydicom import Dataset

    from dicom_ml.encoding.untrusted import dcmread

    name = "structure set" if isinstance(path, Dataset) else Path(path).name
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\b")
            ds = path if isinstance(path, Dataset) else dcmread(path, force=True)
            sop_class = str(ds.get("SOPClassUID") or "")
            if sop_class != sop.RT_STRUCTURE_SET:
                raise FileError(f"{name}: is no RT Structure Set: its SOP class is {sop_class or 'missing'}")
            return StructureSet(ds, name)
    except DicomMLError:
        raise
    except Exception as error:  # pydicom meets what is broken in many ways, as late as when a value is looked at
        raise FileError(f"{name}: cannot be read as a structure set ({type(error).__name__})") from error
