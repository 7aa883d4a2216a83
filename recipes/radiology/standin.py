"""Stand-ins for LIDC-IDRI: chest phantoms with nodules, and what up to four readers marked of them.

They are written as DICOM series into a folder that is laid out as a bucket of IDC is, and have a manifest of the same
form; everything after that is the same code as for the real scans.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dicom_ml as dml
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.phantom.anatomy import random_anatomy
from dicom_ml.phantom.chest import ChestPhantom, chest_phantom
from dicom_ml.phantom.ct_series import CTDescription, write_ct_series
from dicom_ml.phantom.scanner import Acquisition, axial_affine
from dicom_ml.phantom.shapes import Coordinates, Field, ellipsoid, occupancy, plane_waves
from recipes.common.manifest import Row
from recipes.common.state import write_json
from recipes.radiology.nodules import CODINGS, MM, MM2, MM3, SURFACE, Coding, evaluations

__all__ = ["Mark", "Nodule", "PlannedScan", "plan_scans", "scan_with_nodules", "write_store"]

READERS = 4
COLLECTION = "standin_lidc"
_SHORTEST, _LONGEST = 2.5, 30.0
#: Voxels around a nodule's middle that are looked at, in radii, and in millimetres beside.
_REACH, _MARGIN = 1.6, 6.0
#: Of all objects: writing them again gives the same bytes.
_CREATED = datetime.datetime(2000, 1, 1, 12, tzinfo=datetime.timezone.utc)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PlannedScan:
    """A scan to be made.

    Attributes
    ----------
    name : str
        Seeds its UIDs.
    seed : int
    shape : tuple of int
        (D, H, W).
    spacing : float
        Millimetres along each axis.
    nodules : int
        To be put into the lungs.
    coding : {"SRT", "SCT"}
        Of its readers' objects.
    """

    name: str
    seed: int
    shape: tuple[int, int, int]
    spacing: float
    nodules: int
    coding: str


@dataclass(frozen=True)
class Nodule:
    """A nodule in a phantom.

    Attributes
    ----------
    centre : tuple of float
        LPS millimetres.
    diameter : float
        The longest, in millimetres.
    hu : float
    inside : Field
        Signed distance to its surface in a window of the scan, negative inside.
    start : tuple of int
        First voxel of the window.
    """

    centre: tuple[float, float, float]
    diameter: float
    hu: float
    inside: Field
    start: tuple[int, int, int]

    def window(self) -> tuple[slice, ...]:
        """Where the distances lie in the scan."""
        return tuple(slice(first, first + n) for first, n in zip(self.start, self.inside.shape, strict=True))


@dataclass(frozen=True)
class Mark:
    """What a reader marked of a nodule.

    Attributes
    ----------
    nodule, reader : int
        From 1.
    mask : ndarray of bool
        In the window of the nodule.
    diameter : float
        As measured, in millimetres.
    grades : tuple of int
        The nine ratings.
    """

    nodule: int
    reader: int
    mask: Mask
    diameter: float
    grades: tuple[int, ...]


def plan_scans(count: int, seed: int, *, shape: Sequence[int], spacing: float, nodules: float) -> list[PlannedScan]:
    """Plan scans: one a patient, some without nodules, every other one in the older coding.

    Parameters
    ----------
    count, seed : int
    shape : sequence of int
    spacing : float
    nodules : float
        On average.
    """
    rng = np.random.default_rng([seed, 23])
    slices, rows, columns = (int(n) for n in shape)
    planned = []
    for number in range(count):
        many = min(6, int(rng.poisson(nodules)))
        coding = ("SRT", "SCT")[number % 2]
        name = f"{seed}/{number}"
        planned.append(PlannedScan(name, int(rng.integers(0, 2**31)), (slices, rows, columns), spacing, many, coding))
    return planned


# ---------------------------------------------------------------------- images
def scan_with_nodules(planned: PlannedScan) -> tuple[ChestPhantom, list[Nodule]]:
    """A chest phantom with nodules in its lungs.

    Their middles lie in air, as those of most real ones do; edges may touch vessels, pleura and each other's
    surroundings. Three in four are solid, the others part-solid or ground glass.
    """
    rng = np.random.default_rng([planned.seed, 1])
    anatomy = random_anatomy(rng)
    middle = 0.5 * (min(anatomy.dome) + max(anatomy.apex))
    centre = (0.0, 0.0, middle)
    affine = axial_affine(planned.shape, (planned.spacing,) * 3, centre)
    noise = float(rng.uniform(10, 45))
    acquisition = Acquisition(planned.shape, affine, planned.spacing, noise, float(rng.uniform(-1, 0.5)), None)
    phantom = chest_phantom(planned.seed, acquisition=acquisition, anatomy=anatomy, masses=False)
    placed: list[Nodule] = []
    for _ in range(planned.nodules):
        nodule = _placed(phantom, placed, rng)
        if nodule is not None:
            placed.append(nodule)
            _paint(phantom, nodule, noise, rng)
    return phantom, placed


def _placed(phantom: ChestPhantom, others: Sequence[Nodule], rng: np.random.Generator) -> Nodule | None:
    """A nodule in the lungs, clear of the others; None where there is no place for it."""
    diameter = float(np.clip(np.exp(rng.normal(np.log(8.5), 0.5)), _SHORTEST, _LONGEST))
    kind = rng.random()
    low, high = (-60, 90) if kind < 0.75 else (-380, -180) if kind < 0.88 else (-600, -450)
    hu = float(rng.uniform(low, high))
    lung = phantom.labels >= 2
    air = np.argwhere(lung & (phantom.array < -600))
    step, spacing = phantom.affine, np.array(phantom.spacing)
    for _ in range(40 if len(air) else 0):
        index = air[rng.integers(len(air))]
        point = step[:3, :3] @ index + step[:3, 3]
        reach = np.ceil((_REACH * diameter / 2 + _MARGIN) / spacing).astype(int)
        # the window, with its nodule, lies in the scan
        if (index < reach).any() or (index + reach >= np.array(lung.shape)).any():
            continue
        if any(np.linalg.norm(point - o.centre) < (diameter + o.diameter) / 2 + 6 for o in others):
            continue
        window = tuple(slice(i - r, i + r + 1) for i, r in zip(index, reach, strict=True))
        inside = _shape(point, diameter, index - reach, 2 * reach + 1, step, rng)
        held = inside < 0
        if held.any() and lung[window][held].mean() < 0.7:
            continue
        start = (int(window[0].start), int(window[1].start), int(window[2].start))
        return Nodule((float(point[0]), float(point[1]), float(point[2])), diameter, hu, inside, start)
    return None


def _shape(
    point: npt.NDArray[Any],
    diameter: float,
    start: npt.NDArray[Any],
    size: npt.NDArray[Any],
    affine: npt.NDArray[Any],
    rng: np.random.Generator,
) -> Field:
    own = affine.copy()
    own[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    coords = Coordinates.of_grid((int(size[0]), int(size[1]), int(size[2])), own)
    radii = diameter / 2 * np.array([1.0, *rng.uniform(0.7, 1.0, 2)])[rng.permutation(3)]
    rough = float(rng.uniform(0.0, 0.08)) * diameter
    return ellipsoid(coords, point, radii, float(rng.uniform(0, np.pi))) + rough * plane_waves(
        coords, rng, (0.5 * diameter, 2 * diameter), 8
    )


def _paint(phantom: ChestPhantom, nodule: Nodule, noise: float, rng: np.random.Generator) -> None:
    """Put a nodule into the scan, with partial volume at its edge and noise within."""
    part = phantom.array[nodule.window()]
    weight = occupancy(nodule.inside, phantom.spacing[0])
    value = nodule.hu + rng.normal(0, noise, part.shape)
    part += ((np.maximum(value, part) - part) * weight).astype(np.float32)
    np.rint(part, out=part)


# ---------------------------------------------------------------------- readers
def marks_of(nodules: Sequence[Nodule], spacing: float, seed: int) -> list[Mark]:
    """What readers mark: large solid nodules nearly all of them do, small or faint ones only some."""
    rng = np.random.default_rng([seed, 2])
    marks = []
    for number, nodule in enumerate(nodules, start=1):
        faint = nodule.hu < -150
        chance = float(np.clip(0.6 + 0.05 * (nodule.diameter - 4), 0.5, 0.97)) - 0.15 * faint
        sees = rng.random(READERS) < chance
        sees[rng.integers(READERS)] = True
        common = _grades(nodule, rng)
        for reader in np.flatnonzero(sees).tolist():
            bias = float(rng.normal(0, 0.2 + 0.04 * nodule.diameter))
            wobble = rng.normal(0, 0.35, nodule.inside.shape)
            mask = nodule.inside + bias + wobble < 0
            mask = _whole(mask, nodule.inside)
            measured = max(0.5, nodule.diameter * float(rng.normal(1, 0.06)))
            grades = tuple(int(np.clip(g + rng.integers(-1, 2), 1, n)) for g, n in common)
            marks.append(Mark(number, reader + 1, mask, measured, grades))
    return marks


def _grades(nodule: Nodule, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Grades that readers scatter around, and how many there are of each."""
    size = 1 + int(np.searchsorted([4, 6, 9, 14], nodule.diameter))
    texture = 5 if nodule.hu > -150 else 3 if nodule.hu > -420 else 1
    subtlety = max(1, min(5, size + (texture - 3) // 2))
    any_ = [int(x) for x in rng.integers(1, 6, 4)]
    return [(subtlety, 5), (1, 1), (6, 6), *((x, 5) for x in any_), (texture, 5), (size, 5)]


def _whole(mask: Mask, inside: Field) -> Mask:
    """The part of a mask that is connected with the nodule's middle; at least its innermost voxel."""
    from scipy import ndimage

    middle = np.unravel_index(int(inside.argmin()), inside.shape)
    mask[middle] = True
    parts = ndimage.label(mask)[0]
    return np.asarray(parts == parts[middle])


def mesh_area(mask: Mask, spacing: Sequence[float]) -> float:
    """About the area of a mask's smooth surface in mm2: two thirds of that of its voxels' outer faces."""
    padded = np.pad(mask, 1).astype(np.int8)
    faces = [float(np.abs(np.diff(padded, axis=axis)).sum()) for axis in range(3)]
    sizes = [spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]]
    return 2 / 3 * float(np.dot(faces, sizes))


# ---------------------------------------------------------------------- writing
def write_store(planned: Sequence[PlannedScan], store: Path, workers: int = 0) -> list[Row]:
    """Write the scans that are not there yet, and give their manifest, without its split.

    Parameters
    ----------
    planned : sequence of PlannedScan
    store : path
        Gets a folder for each series.
    workers : int
        Processes.
    """
    store.mkdir(parents=True, exist_ok=True)
    jobs = [(one, store) for one in planned]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_write, jobs, chunksize=2))
    else:
        found = [_write(job) for job in jobs]
    return [row for rows in found for row in rows]


def _write(job: tuple[PlannedScan, Path]) -> list[Row]:
    """Write all series of a scan; a list of them says that they are complete."""
    planned, store = job
    digest = derived_uid("stand-in scan", planned.name).rsplit(".", 1)[1]
    listed = store / f"{digest}.json"
    if listed.exists():
        return [Row(**row) for row in json.loads(listed.read_text(encoding="utf-8"))]
    phantom, nodules = scan_with_nodules(planned)
    marks = marks_of(nodules, planned.spacing, planned.seed)
    rows = [_put(store, digest, lambda folder: _write_ct(folder, phantom, planned.name), "image")]
    series = store / rows[0].url.removesuffix("/*").rsplit("/", 1)[1]
    volume = dml.read_volume(series)
    for mark in marks:
        rows += _write_mark(store, volume, nodules[mark.nodule - 1], mark, planned)
    write_json(listed, [asdict(row) for row in rows])
    return rows


def _write_ct(folder: Path, phantom: ChestPhantom, name: str) -> None:
    write_ct_series(folder, phantom.array, phantom.affine, CTDescription(f"lidc stand-in {name}", "Chest, thin"))


def _put(store: Path, name: str, write: Callable[[Path], Any], role: str, **more: Any) -> Row:
    """Write a series into a folder of its own, whole or not at all; its row of the manifest."""
    partial, final = store / f".{name}.part", store / name
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    os.replace(partial, final)
    files = sorted(final.iterdir())
    patient, study, series = _identity(files[0])
    size = sum(path.stat().st_size for path in files)
    more |= {"instances": len(files), "size": size, "url": f"s3://stand-in/{name}/*"}
    return Row(COLLECTION, patient, study, series, role, **more)


def _identity(path: Path) -> tuple[str, str, str]:
    import pydicom

    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(names))
    return str(head.PatientID), str(head.StudyInstanceUID), str(head.SeriesInstanceUID)


def _write_mark(store: Path, volume: dml.Volume, nodule: Nodule, mark: Mark, planned: PlannedScan) -> list[Row]:
    """One reader, one nodule: a segmentation and a report."""
    coding = CODINGS[planned.coding]
    about, by = f"Nodule {mark.nodule}", f"R{mark.reader}_{mark.nodule:03d}"
    uids = [derived_uid("stand-in mark", planned.name, mark.nodule, mark.reader, k) for k in range(4)]
    tracking = derived_uid("stand-in nodule", planned.name, mark.nodule)
    whole = np.zeros(volume.grid.shape, dtype=np.uint8)
    whole[nodule.window()] = mark.mask
    segment = dml.Segment(
        about,
        coding.nodule,
        coding.abnormal,
        dml.Algorithm.manual(),
        anatomy=coding.lung,
        tracking_id=about,
        tracking_uid=tracking,
    )
    seg = dml.Segmentation.from_array(
        whole,
        source=volume,
        segments=[segment],
        series_description=f"Segmentation of {about} - Annotation {by}",
        series_instance_uid=uids[0],
        sop_instance_uid=uids[1],
        created=_CREATED,
    )
    report = dml.Report(
        volume,
        [_group(seg, mark, coding, about, tracking, volume)],
        observers=f"Reader^{mark.reader}",
        series_description=f"{about} - Annotation {by} evaluations",
        series_instance_uid=uids[2],
        sop_instance_uid=uids[3],
        created=_CREATED,
    )
    named = {"group": about, "annotation": by}
    folders = [uid.rsplit(".", 1)[1] for uid in (uids[0], uids[2])]
    return [
        _put(store, folders[0], lambda folder: seg.save(folder / "seg.dcm"), "segmentation", **named),
        _put(store, folders[1], lambda folder: report.save(folder / "sr.dcm"), "report", **named),
    ]


def _group(
    seg: dml.Segmentation, mark: Mark, coding: Coding, name: str, tracking: str, volume: dml.Volume
) -> dml.MeasurementGroup:
    spacing = volume.grid.spacing
    voxel = float(np.prod(spacing))
    return dml.MeasurementGroup(
        finding=coding.nodule,
        site=(dml.Site(coding.lung),),
        region=dml.SegmentReference(seg, 1),
        tracking_id=name,
        tracking_uid=tracking,
        measurements=(
            dml.Measurement(coding.volume, voxel * float(mark.mask.sum()), MM3),
            dml.Measurement(coding.diameter, mark.diameter, MM),
            dml.Measurement(SURFACE, mesh_area(mark.mask, spacing), MM2),
        ),
        evaluations=evaluations(mark.grades),
    )
