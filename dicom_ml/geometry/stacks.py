"""The regular stack that a set of parallel planes lies on, as their positions prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.geometry.planes import FloatArray, unit_orientation

__all__ = ["PlaneStack", "stack_planes"]


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """What the positions of a set of parallel planes prove.

    Attributes
    ----------
    order : ndarray of int
        Indices of the planes, sorted by position along the normal.
    offsets : ndarray of float
        Distance of each sorted plane along the normal, in mm.
    slots : ndarray of int
        Place of each sorted plane on the regular stack, from 0; a jump by more than 1 is a gap.
    step : ndarray of shape (3,)
        Vector from one place of the stack to the next, in mm. Zero for a single position.
    spacing : float
        Distance between places along the normal, in mm. Zero for a single position.
    tilt : float
        Angle in degrees between the step and the normal; not zero for gantry tilt.
    residual : float
        Largest distance of a plane's position from its place on the stack, in mm.
    tolerance : float
        What the residual is allowed to be, in mm.
    """

    order: npt.NDArray[np.intp]
    offsets: FloatArray
    slots: npt.NDArray[np.intp]
    step: FloatArray
    spacing: float
    tilt: float
    residual: float
    tolerance: float

    @property
    def count(self) -> int:
        """Places on the stack, gaps included."""
        return int(self.slots[-1]) + 1

    @property
    def regular(self) -> bool:
        """Whether every plane lies on its place within the tolerance."""
        return self.residual <= self.tolerance

    @property
    def duplicates(self) -> list[tuple[int, ...]]:
        """Groups of plane indices that share a place."""
        groups: list[tuple[int, ...]] = []
        for slot in np.unique(self.slots[1:][np.diff(self.slots) == 0]):
            groups.append(tuple(int(i) for i in self.order[self.slots == slot]))
        return groups

    @property
    def gaps(self) -> list[tuple[int, int, int]]:
        """``(plane before, plane after, places missing)`` of every hole in the stack."""
        jumps = np.diff(self.slots)
        return [(int(self.order[i]), int(self.order[i + 1]), int(jumps[i]) - 1) for i in np.flatnonzero(jumps > 1)]


def stack_planes(
    positions: npt.ArrayLike, orientation: Sequence[float] | FloatArray, tolerance: float | None = None
) -> PlaneStack:
    """Sort planes along their normal and find the regular stack that they lie on.

    Parameters
    ----------
    positions : array_like of shape (N, 3)
        Image Position (Patient) of each plane, in mm.
    orientation : sequence of 6 floats
        Their common Image Orientation (Patient).
    tolerance : float, optional
        Largest distance in mm of a plane from its place on the stack. By default 5 % of the spacing, at least
        0.06 mm (positions are often rounded to 0.1 mm), at most a quarter of the spacing.

    Returns
    -------
    PlaneStack
        What was found; it is for the caller to refuse gaps, duplicates, tilt or irregular stacks.
    """
    points = np.asarray(positions, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0 or not np.isfinite(points).all():
        raise GeometryError("positions of planes are a non-empty array (N, 3) of finite numbers")
    cosines = unit_orientation(orientation)
    normal = np.cross(cosines[:3], cosines[3:])
    distance = points @ normal
    order = np.argsort(distance, kind="stable")
    offsets, points = distance[order], points[order]
    zero = np.zeros(3)

    def allowed(spacing: float) -> float:
        return min(max(0.06, 0.05 * spacing), 0.25 * spacing) if tolerance is None else tolerance

    steps = np.diff(offsets)
    apart = steps > 1e-3
    if not apart.any():
        slots = np.zeros(len(order), dtype=np.intp)
        spread = float(np.abs(points - points[0]).max())
        return PlaneStack(order, offsets, slots, zero, 0.0, 0.0, spread, 1e-2 if tolerance is None else tolerance)
    # planes closer than a fifth of the usual step share a place: copies whose positions were rounded differently
    usual = float(np.median(steps[apart]))
    steps = np.where(steps < 0.2 * usual, 0.0, steps)
    positive = steps[steps > 0]
    spacing = _spacing(positive, allowed)
    slots = np.concatenate([[0], np.cumsum(np.rint(steps / spacing))]).astype(np.intp)
    spacing, start, slots = _refine(offsets, spacing, slots)
    along = np.abs(offsets - (start + slots * spacing)).max()
    step, across = _step_vector(points, slots, normal, spacing)
    lateral = step - (step @ normal) * normal
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(lateral), spacing)))
    residual = float(max(along, across))
    if tilt < 0.05 and float(np.linalg.norm(lateral)) * slots[-1] <= max(0.01, allowed(spacing)):
        step, tilt = normal * spacing, 0.0
    return PlaneStack(order, offsets, slots, step, spacing, tilt, residual, allowed(spacing))


def _spacing(steps: FloatArray, allowed: Any) -> float:
    """The step of which all steps are multiples, within tolerance; else the median step."""
    median = float(np.median(steps))
    for candidate in (median, float(steps.min())):
        multiples = np.maximum(1, np.rint(steps / candidate))
        refined = float((steps * multiples).sum() / (multiples**2).sum())
        if np.abs(steps - multiples * refined).max() <= 2 * allowed(refined):
            return refined
    return median


def _refine(
    offsets: FloatArray, spacing: float, slots: npt.NDArray[np.intp]
) -> tuple[float, float, npt.NDArray[np.intp]]:
    """Least-squares spacing and start over all planes, so that rounded positions do not add up."""
    for _ in range(2):
        fitted, start = np.polyfit(slots, offsets, 1) if slots[-1] > 0 else (spacing, offsets[0])
        again = np.rint((offsets - start) / fitted).astype(np.intp)
        again -= again[0]
        if np.array_equal(again, slots) or (np.diff(again) < 0).any():
            return float(fitted), float(start), slots
        slots = again
    fitted, start = np.polyfit(slots, offsets, 1)
    return float(fitted), float(start), slots


def _step_vector(
    points: FloatArray, slots: npt.NDArray[np.intp], normal: FloatArray, spacing: float
) -> tuple[FloatArray, float]:
    """Mean vector from place to place, and how far planes stray sideways from that straight line."""
    if slots[-1] == 0:
        return normal * spacing, 0.0
    centred = slots - slots.mean()
    step = (centred[:, None] * (points - points.mean(axis=0))).sum(axis=0) / (centred**2).sum()
    line = points.mean(axis=0) + centred[:, None] * step
    stray = points - line
    stray -= (stray @ normal)[:, None] * normal
    return np.asarray(step), float(np.linalg.norm(stray, axis=1).max())
