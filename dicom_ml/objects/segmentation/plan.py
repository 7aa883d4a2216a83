"""Decisions before a segmentation is made: numbers, coding, matrix, identity; and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from dicom_ml.errors import EncodingError
from dicom_ml.objects.derived import Description, describe
from dicom_ml.objects.segmentation.descriptions import Segment, number_segments
from dicom_ml.objects.segmentation.header import Coding
from dicom_ml.objects.tiling import Tiling, tiling_of
from dicom_ml.source import SourceSeries

__all__ = ["DEFAULTS", "plan_coding", "plan_tiled", "seed_of", "tiled_mask"]

_KINDS = ("binary", "labelmap", "fractional")
#: Description of a segmentation, where the caller does not say.
DEFAULTS = {"series_description": "Segmentation", "content_label": "SEGMENTATION"}


def plan_coding(
    segments: Sequence[Segment], kind: str, fractional_type: str, maximum: int
) -> tuple[list[Segment], list[int], Coding]:
    """Numbered segments, the channel of each, and how they are stored."""
    kind = str(kind).lower()
    if kind not in _KINDS:
        raise EncodingError(f"kind is one of {', '.join(_KINDS)}, found {kind!r}")
    numbered, order = number_segments(list(segments))
    _check_numbers(numbered, kind)
    for segment in numbered:
        segment.check_algorithm()
    maximum = _check_fraction(maximum, fractional_type)
    return numbered, order, Coding(kind, _bits(kind, numbered), fractional_type.upper(), maximum)


def seed_of(source: SourceSeries, *parts: Any) -> tuple[Any, ...]:
    """What deterministic UIDs are derived from."""
    kind, numbered, *more = parts
    return (source.series_instance_uid, *source.sop_instance_uids, kind, repr(numbered), *more)


def plan_tiled(
    source: SourceSeries,
    segments: list[Segment],
    coding: Coding,
    shape: Sequence[int] | None,
    level: int | None,
    affine: npt.ArrayLike | None,
    tile_size: Sequence[int] | None,
    organization: str | None,
    settings: dict[str, Any],
    deterministic: bool,
) -> tuple[SourceSeries, list[Segment], Coding, Description, Tiling, bool]:
    """What a tiled object is made of; arguments of :class:`TiledObject`."""
    if organization is None:
        organization = "full" if coding.kind == "labelmap" else "sparse"
    tiling, full = tiling_of(source, shape, level, affine, tile_size, organization)
    if coding.kind == "binary" and tile_size is None:
        tiling = tiling.of_whole_bytes()
    grid = tiling.grid
    matrix = (grid.shape, grid.affine.tobytes(), tiling.tile, full)
    seed = seed_of(source, coding.kind, segments, repr(matrix)) if deterministic else None
    overlap = False if coding.kind == "labelmap" else None
    return source, segments, replace(coding, overlap=overlap), describe(settings, DEFAULTS, seed), tiling, full


def tiled_mask(array: npt.NDArray[Any], order: Sequence[int], kind: str) -> npt.NDArray[Any]:
    """A label map ``(H, W)``, or channels ``(S, H, W)`` by ascending number."""
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "iu" and kind != "fractional":
        return array
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] != len(order):
        raise EncodingError(
            f"a mask of a slide is a label map (H, W) or {len(order)} channels (S, H, W), found shape {array.shape}"
        )
    return array[list(order)] if list(order) != sorted(order) else array


def _check_numbers(segments: Sequence[Segment], kind: str) -> None:
    numbers = [s.number for s in segments]
    if kind != "labelmap" and numbers != list(range(1, len(numbers) + 1)):
        raise EncodingError(
            f"segments are numbered {numbers[:12]}, but a {kind} segmentation numbers them from 1 without a gap "
            "(PS3.3 C.8.20.2.4); pass kind='labelmap', which keeps the numbers, or number the segments 1 to "
            f"{len(numbers)} and the mask likewise"
        )


def _bits(kind: str, segments: Sequence[Segment]) -> int:
    if kind == "labelmap":
        return 8 if int(segments[-1].number or 0) < 256 else 16
    return 1 if kind == "binary" else 8


def _check_fraction(maximum: int, fractional_type: str) -> int:
    if not 1 <= int(maximum) <= 255:
        raise EncodingError(f"max_fractional_value lies from 1 to 255 (it is stored in 8 bits), found {maximum}")
    if str(fractional_type).upper() not in ("PROBABILITY", "OCCUPANCY"):
        raise EncodingError(f"fractional_type is 'probability' or 'occupancy', found {fractional_type!r}")
    return int(maximum)
