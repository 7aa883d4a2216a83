"""Where segments lie on the images that they are of: not where nothing was imaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.geometry import Grid
from dicom_ml.objects.iod.context import Findings, items_of, number, text, where
from dicom_ml.objects.iod.subject import Subject

__all__ = ["check_placement"]

#: Share of a segment's voxels that hold the image's lowest value, from which it is said to lie beside the body.
_MOST = 0.5
#: Frames that are looked at, of many.
_FRAMES = 400


def check_placement(subject: Subject, volumes: list[tuple[Grid, npt.NDArray[Any]]], out: Findings) -> None:
    """Segments do not lie mostly where the image holds its lowest value, as it does beside the body.

    Frames that do not lie on the very planes of a volume are left out.
    """
    index = subject.frame_index
    positions, cosines = subject.column("position"), next((v for v in subject.column("orientation") if v), None)
    if index is None or cosines is None or not any(positions):
        return
    for grid, array in volumes:
        if array.shape[1:] != (index.info.rows, index.info.columns) or not np.allclose(
            grid.orientation, cosines, atol=1e-3
        ):
            continue
        lowest = array.min()
        if lowest == array.max():
            continue
        counts = _counts(subject, grid, array, lowest)
        names = _labels(subject)
        for segment, (total, low) in sorted(counts.items()):
            if total and low > _MOST * total:
                place = next((n for n, (s, _) in enumerate(names, start=1) if s == segment), 1)
                out.warning(
                    where(f"SegmentSequence[{place}]", "SegmentNumber"),
                    f"{100 * low / total:.0f} % of the voxels of segment {segment} lie where the image holds its "
                    "lowest value, beside what was imaged",
                    "look whether the mask is flipped or shifted",
                    "C.8.20.2",
                )


def _labels(subject: Subject) -> list[tuple[int, str]]:
    found = items_of(subject.ds, "SegmentSequence")
    return [(int(number(item, "SegmentNumber") or 0), text(item, "SegmentLabel")) for item in found]


def _counts(subject: Subject, grid: Grid, array: npt.NDArray[Any], lowest: Any) -> dict[int, tuple[int, int]]:
    """Voxels of each segment, and those of the lowest value."""
    index = subject.frame_index
    assert index is not None
    segments = subject.column("segment")
    labelmap = text(subject.ds, "SegmentationType") == "LABELMAP"
    totals: dict[int, tuple[int, int]] = {}
    planes = np.stack([grid.position(d) for d in range(grid.shape[0])])
    places = subject.column("position")
    for frame in range(0, len(places), max(1, len(places) // _FRAMES)):
        position = places[frame]
        if not position:
            return {}
        off = np.linalg.norm(planes - np.array(position), axis=1)
        d = int(off.argmin())
        if off[d] > 0.1:
            continue
        labels, low = index.decode(frame), array[d] == lowest
        chosen = np.unique(labels[labels > 0]).tolist() if labelmap else [segments[frame][0] if segments[frame] else 0]
        for segment in chosen:
            mask = labels == segment if labelmap else labels > 0
            total, lying = totals.get(segment, (0, 0))
            totals[segment] = total + int(mask.sum()), lying + int((mask & low).sum())
    return totals
