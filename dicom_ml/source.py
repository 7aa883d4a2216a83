"""The record of a source image series: what derived objects must refer to, and copy.

A :class:`SourceSeries` is small, immutable and picklable. It travels as one string through MONAI's collate and
through worker processes, so that whatever writes a result can refer to every source image without opening it again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_ml.encoding.untrusted import inflated
from dicom_ml.errors import DicomMLError, EncodingError, SeriesError
from dicom_ml.geometry import Grid, affine_from_plane, stack_planes

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "COPIED_KEYWORDS",
    "DESCRIBED_KEYWORDS",
    "SourceLevel",
    "SourceSeries",
    "as_source",
    "copied_attributes",
    "described_attributes",
    "patient_digest",
]

#: Attributes of the patient, study and frame of reference that an object derived from a series carries over:
#: the Patient, Clinical Trial, General Study, Patient Study and Frame of Reference modules (PS3.3 C.7.1, C.7.2,
#: C.7.4.1) and the specimen (C.7.6.22), which all objects of one study must agree on.
COPIED_KEYWORDS: tuple[str, ...] = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC",
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
    "OtherPatientIDsSequence", "PatientBirthDate", "PatientBirthTime", "PatientSex", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence", "ResponsiblePerson",
    "ResponsibleOrganization",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "StudyDescription", "ProcedureCodeSequence",
    "PatientAge", "PatientSize", "PatientWeight",
    "PositionReferenceIndicator", "BodyPartExamined", "Laterality",
    "ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence",
    "SpecimenDescriptionSequence",
)  # fmt: skip

#: Attributes that tell how a series was acquired, which reports repeat beside its images (PS3.16 TID 1602 to 1607).
DESCRIBED_KEYWORDS: tuple[str, ...] = (
    "SliceThickness", "ContentDate", "AcquisitionDate", "ImageLaterality", "ViewCodeSequence", "PatientOrientation",
    "ImagerPixelSpacing", "PositionerPrimaryAngle", "PositionerSecondaryAngle", "PulseSequenceName", "SequenceName",
    "RadiopharmaceuticalInformationSequence", "AcquisitionType", "ReconstructionAlgorithm",
)  # fmt: skip

#: Bytes and instances of the largest record: one of ten thousands of files has some megabytes.
_MOST_RECORD, _MOST_VALUES = 1 << 28, 1 << 24


def described_attributes(datasets: Iterable[Dataset]) -> dict[str, Any]:
    """Attributes of :data:`DESCRIBED_KEYWORDS` that the datasets have and agree on, in the DICOM JSON model by keyword.

    Of multi-frame images also those that all frames share.
    """
    found: list[dict[str, Any]] = []
    for dataset in datasets:
        own: dict[str, Any] = {}
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        groups = [item for element in (shared[0] if shared else ()) if element.VR == "SQ" for item in element.value]
        for place in (dataset, *groups):
            for keyword in DESCRIBED_KEYWORDS:
                if keyword in place and keyword not in own:
                    try:
                        own[keyword] = place[keyword].to_json_dict(None, 0)
                    except Exception:
                        continue
        found.append(own)
    if not found:
        return {}
    return {k: v for k, v in found[0].items() if len(v) > 1 and all(other.get(k) == v for other in found[1:])}


def copied_attributes(dataset: Dataset) -> dict[str, Any]:
    """Attributes of :data:`COPIED_KEYWORDS` that ``dataset`` has, in the DICOM JSON model by keyword.

    An element that pydicom cannot convert is left out: it could not be written correctly either.
    """
    found: dict[str, Any] = {}
    for keyword in COPIED_KEYWORDS:
        if keyword in dataset:
            try:
                found[keyword] = dataset[keyword].to_json_dict(None, 0)
            except Exception:
                continue
    return found


@dataclass(frozen=True)
class SourceLevel:
    """One resolution of a slide, as objects on its pixels must refer to it.

    Attributes
    ----------
    grid : Grid
        The total pixel matrix as one plane ``(1, rows, columns)`` in millimetres of the slide coordinate system
        (PS3.3 C.8.12.2.1): its spacing, the centre of its first pixel, and Image Orientation (Slide).
    tile_size : tuple of int
        Rows and columns of the source's frames.
    sop_class_uids, sop_instance_uids : tuple of str
        Of the files that hold the level: one, unless it is a concatenation or split otherwise.
    """

    grid: Grid
    tile_size: tuple[int, int]
    sop_class_uids: tuple[str, ...]
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True)
class SourceSeries:
    """What an object derived from an image series must refer to (PS3.3 C.7.6.16.2.6, C.12.4).

    Attributes
    ----------
    modality : str
        Modality of the source, such as ``"CT"``.
    study_instance_uid, series_instance_uid, frame_of_reference_uid : str
        Empty where the source has none.
    sop_class_uids, sop_instance_uids : tuple of str
        One for each slice of :attr:`grid`, in the grid's order; an instance stands several times when it holds
        several of the frames, and an empty UID marks a slice that no instance holds (a filled gap). For slides: the
        files of level 0.
    frame_numbers : tuple of int, optional
        The frame, from 1, that holds each slice of a multi-frame source.
    grid : Grid, optional
        The lattice of the source's planes; None for sources that have no patient geometry.
    attributes : dict
        Patient, study and specimen attributes to copy, in the DICOM JSON model by keyword.
    problems : tuple of str
        Why the series cannot serve as a source of a conformant object; empty when it can.
    levels : tuple of SourceLevel
        The levels of a slide, finest first; empty for volumes.
    described : dict
        How the images were acquired, as far as its first and last image agree; as ``attributes``, but not copied.
    """

    modality: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_class_uids: tuple[str, ...]
    sop_instance_uids: tuple[str, ...]
    frame_numbers: tuple[int, ...] | None = None
    grid: Grid | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    problems: tuple[str, ...] = ()
    levels: tuple[SourceLevel, ...] = ()
    described: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        size = f"{len(self.sop_instance_uids)} slices" if self.grid is not None else "no grid"
        if self.levels:
            size = f"{len(self.levels)} levels from {' x '.join(map(str, self.levels[0].grid.shape[1:]))}"
        bad = f", {len(self.problems)} problems" if self.problems else ""
        return f"SourceSeries({self.modality}, series {self.series_instance_uid or '(none)'}, {size}{bad})"

    def __hash__(self) -> int:
        return hash((self.study_instance_uid, self.series_instance_uid, self.sop_instance_uids, self.frame_numbers))

    @property
    def is_multiframe(self) -> bool:
        """Whether slices are frames of multi-frame instances."""
        return self.frame_numbers is not None

    @property
    def instances(self) -> dict[str, str]:
        """SOP class UID of every distinct SOP instance, in order of first use."""
        pairs = zip(self.sop_instance_uids, self.sop_class_uids, strict=True)
        found: dict[str, str] = {}
        for instance, sop_class in pairs:
            if instance:
                found.setdefault(instance, sop_class)
        for level in self.levels:
            for instance, sop_class in zip(level.sop_instance_uids, level.sop_class_uids, strict=True):
                if instance:
                    found.setdefault(instance, sop_class)
        return found

    def attribute_dataset(self) -> Dataset:
        """The copied attributes as a pydicom Dataset."""
        from pydicom import DataElement, Dataset
        from pydicom.datadict import tag_for_keyword

        dataset = Dataset()
        for keyword, model in self.attributes.items():
            tag = tag_for_keyword(keyword)
            if tag is None:
                continue
            value_key = next((k for k in ("Value", "InlineBinary", "BulkDataURI") if k in model), None)
            value = model.get(value_key, "") if value_key else ""
            with warnings.catch_warnings():
                # what is malformed is told, once, by whoever writes it
                warnings.simplefilter("ignore")
                dataset.add(DataElement.from_json(Dataset, f"{tag:08X}", model["vr"], value, value_key))
        return dataset

    def check(self) -> SourceSeries:
        """Return self, or raise when the series cannot serve as a source.

        Raises
        ------
        SeriesError
            Naming every problem.
        """
        if self.problems:
            raise SeriesError(
                "the series cannot be the source of a DICOM object: "
                + "; ".join(self.problems)
                + ". Repair the files (for example give them UIDs) and read them again."
            )
        return self

    # ------------------------------------------------------------------ as one string
    def to_string(self) -> str:
        """A self-contained handle: one ASCII string that survives collation, pickling and files.

        It holds the patient attributes to be copied (compressed, not encrypted): treat it as the images themselves.
        """
        record: dict[str, Any] = {
            "v": 1,
            "modality": self.modality,
            "uids": [self.study_instance_uid, self.series_instance_uid, self.frame_of_reference_uid],
            "classes": _runs(self.sop_class_uids),
            "instances": _runs(self.sop_instance_uids),
            "frames": self.frame_numbers,
            "attributes": self.attributes,
            "problems": self.problems,
        }
        if self.described:
            record["described"] = self.described
        if self.grid is not None:
            record |= _grid_record(self.grid)
        if self.levels:
            record["levels"] = [
                {
                    **_grid_record(level.grid),
                    "tile": level.tile_size,
                    "classes": _runs(level.sop_class_uids),
                    "instances": _runs(level.sop_instance_uids),
                }
                for level in self.levels
            ]
        text = json.dumps(record, separators=(",", ":"), sort_keys=True)
        return "dml1:" + base64.b85encode(zlib.compress(text.encode(), 6)).decode("ascii")

    @classmethod
    def from_string(cls, handle: str) -> SourceSeries:
        """The record that :meth:`to_string` wrote.

        Raises
        ------
        SeriesError
            If the string is not such a handle.
        """
        try:
            if not handle.startswith("dml1:"):
                raise ValueError("no dml1: prefix")
            record = json.loads(inflated(base64.b85decode(handle[5:].encode("ascii")), _MOST_RECORD))
            grid = _grid_from(record) if "shape" in record else None
            levels = tuple(
                SourceLevel(
                    _grid_from(level), tuple(level["tile"]), _unruns(level["classes"]), _unruns(level["instances"])
                )
                for level in record.get("levels", ())
            )
            study, series, frame = record["uids"]
            return cls(
                modality=record["modality"],
                study_instance_uid=study,
                series_instance_uid=series,
                frame_of_reference_uid=frame,
                sop_class_uids=_unruns(record["classes"]),
                sop_instance_uids=_unruns(record["instances"]),
                frame_numbers=None if record["frames"] is None else tuple(record["frames"]),
                grid=grid,
                attributes=record["attributes"],
                problems=tuple(record["problems"]),
                levels=levels,
                described=record.get("described", {}),
            )
        except DicomMLError:
            raise
        except Exception as error:
            raise SeriesError(
                f"the text is no source handle of dicom_ml ({type(error).__name__}); "
                "pass what SourceSeries.to_string() returned, unchanged"
            ) from error

    # ------------------------------------------------------------------ from pydicom
    @classmethod
    def from_datasets(cls, datasets: Sequence[Dataset]) -> SourceSeries:
        """Describe a series given as pydicom datasets: single-frame planes in any order, or one multi-frame.

        Raises
        ------
        SeriesError
            If they are not one series, or their planes do not form one regular stack.
        """
        if not datasets:
            raise SeriesError("no datasets were given as a source")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            values = {str(ds.get(keyword, "")) for ds in datasets}
            if len(values) > 1:
                raise SeriesError(f"the datasets given as a source differ in {keyword}: {len(values)} values")
        if len(datasets) == 1 and int(datasets[0].get("NumberOfFrames", 1) or 1) > 1:
            planes = _frames(datasets[0])
        else:
            planes = [(ds, None, _plane_of(ds)) for ds in datasets]
        first = datasets[0]
        order, grid = _grid_of([p for _, _, p in planes], int(first.Rows), int(first.Columns))
        chosen = [planes[i] for i in order]
        problems = [
            f"{keyword} is missing"
            for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
            if any(not ds.get(keyword) for ds in datasets)
        ]
        numbers = [n for _, n, _ in chosen]
        return cls(
            modality=str(first.get("Modality", "") or ""),
            study_instance_uid=str(first.get("StudyInstanceUID", "") or ""),
            series_instance_uid=str(first.get("SeriesInstanceUID", "") or ""),
            frame_of_reference_uid=str(first.get("FrameOfReferenceUID", "") or ""),
            sop_class_uids=tuple(str(ds.get("SOPClassUID", "") or "") for ds, _, _ in chosen),
            sop_instance_uids=tuple(str(ds.get("SOPInstanceUID", "") or "") for ds, _, _ in chosen),
            frame_numbers=None if numbers[0] is None else tuple(int(n or 0) for n in numbers),
            grid=grid,
            attributes=copied_attributes(first),
            problems=tuple(problems),
            described=described_attributes([chosen[0][0], chosen[-1][0]]),
        )

    def downsamples_of(self, sop_instance_uid: str) -> tuple[float, float] | None:
        """Pixels of level 0 that a pixel of one of a slide's images stands for, along rows and columns.

        As slides are read: sizes of levels are rounded to pixels. None where the image is no level of the slide.
        """
        for level in self.levels:
            if sop_instance_uid in level.sop_instance_uids:
                base = self.levels[0].grid
                row, column = (
                    _downsample(base.shape[i], level.grid.shape[i], level.grid.spacing[i] / base.spacing[i])
                    for i in (1, 2)
                )
                return row, column
        return None

    def on(self, grid: Grid | None) -> SourceSeries:
        """The same record with another grid."""
        return replace(self, grid=grid)


def _downsample(finest: int, size: int, stated: float) -> float:
    whole = round(finest / size)
    if whole >= 1 and finest // whole <= size <= -(-finest // whole):
        return float(whole)
    return stated if abs(finest / stated - size) <= 1 else finest / size


def patient_digest(identifier: str, issuer: str) -> str:
    """What tells patients apart and names nobody: Patient ID and its issuer, hashed; empty where there is no ID."""
    if not identifier.strip():
        return ""
    return hashlib.sha256(f"{issuer.strip()}\0{identifier.strip()}".encode()).hexdigest()[:16]


def as_source(source: Any) -> SourceSeries:
    """Turn whatever names a source into a :class:`SourceSeries`.

    Parameters
    ----------
    source : Volume, Slide, SourceSeries, str or sequence of pydicom Dataset
        A string is a handle of :meth:`SourceSeries.to_string`.

    Raises
    ------
    EncodingError
        If the argument is none of these.
    """
    if isinstance(source, SourceSeries):
        return source
    if isinstance(source, str) and source.startswith("dml1:"):
        return SourceSeries.from_string(source)
    inner = getattr(source, "source", None)
    if isinstance(inner, SourceSeries):
        return inner
    if hasattr(source, "SOPClassUID") and not isinstance(source, type):
        return SourceSeries.from_datasets([source])
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        items = list(source)
        if items and all(hasattr(item, "file_meta") or hasattr(item, "to_json_dict") for item in items):
            return SourceSeries.from_datasets(items)
    raise EncodingError(
        f"a source is a Volume, a Slide, a SourceSeries or pydicom datasets, found {type(source).__name__}"
        + ("; read the series first, with dicom_ml.read_volume(path)" if isinstance(source, str) else "")
    )


def _grid_record(grid: Grid) -> dict[str, Any]:
    return {"shape": grid.shape, "affine": [float(v).hex() for v in grid.affine[:3].ravel()]}


def _grid_from(record: Mapping[str, Any]) -> Grid:
    affine = np.eye(4)
    affine[:3] = np.array([float.fromhex(v) for v in record["affine"]]).reshape(3, 4)
    return Grid(tuple(record["shape"]), affine)


def _runs(values: Sequence[str]) -> list[Any]:
    """Shorten runs of equal strings to [string, count]."""
    runs: list[Any] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return [run[0] if run[1] == 1 else run for run in runs]


def _unruns(runs: Sequence[Any]) -> tuple[str, ...]:
    values: list[str] = []
    for run in runs:
        if isinstance(run, str):
            values.append(run)
        else:
            if len(values) + int(run[1]) > _MOST_VALUES:
                raise ValueError("it has more instances than a series can")
            values.extend([run[0]] * run[1])
    return tuple(values)


def _plane_of(dataset: Dataset) -> tuple[Any, Any, Any, Any]:
    """Position, orientation, pixel spacing and thickness, None where absent."""
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    between = dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness")
    return dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient"), spacing, between


def _frames(dataset: Dataset) -> list[tuple[Dataset, int | None, tuple[Any, Any, Any, Any]]]:
    """Frames of an enhanced multi-frame image with their plane (PS3.3 C.7.6.16)."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    found: list[tuple[Dataset, int | None, tuple[Any, Any, Any, Any]]] = []
    for number, item in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or [], start=1):

        def group(keyword: str, own: Dataset = item) -> Any:
            sequence = own.get(keyword) or (shared.get(keyword) if shared is not None else None)
            return sequence[0] if sequence else {}

        measures = group("PixelMeasuresSequence")
        plane = (
            group("PlanePositionSequence").get("ImagePositionPatient"),
            group("PlaneOrientationSequence").get("ImageOrientationPatient"),
            measures.get("PixelSpacing"),
            measures.get("SpacingBetweenSlices") or measures.get("SliceThickness"),
        )
        found.append((dataset, number, plane))
    if not found:
        raise SeriesError("the multi-frame source has no Per-Frame Functional Groups, so its frames have no position")
    return found


def _grid_of(planes: Sequence[tuple[Any, Any, Any, Any]], rows: int, columns: int) -> tuple[list[int], Grid | None]:
    """Order of the planes and their grid; no grid where no plane has a position at all."""
    have = [p[0] is not None and p[1] is not None and p[2] is not None for p in planes]
    if not any(have):
        return list(range(len(planes))), None
    if not all(have):
        raise SeriesError(
            f"{len(planes) - sum(have)} of {len(planes)} source planes have no position, orientation or pixel spacing"
        )
    orientations = np.array([[float(v) for v in p[1]] for p in planes])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise SeriesError("the source planes have several orientations; a source is one stack of parallel planes")
    stack = stack_planes([[float(v) for v in p[0]] for p in planes], orientations[0])
    if stack.duplicates or stack.gaps or not stack.regular:
        raise SeriesError(
            f"the source planes are no regular stack: {len(stack.duplicates)} positions held twice, "
            f"{len(stack.gaps)} gaps, planes up to {stack.residual:.3f} mm off; "
            "read the series with dicom_ml.read_volume and its policies, and pass the volume"
        )
    first = planes[int(stack.order[0])]
    step = stack.step if stack.spacing else float(first[3] or 1.0)
    affine = affine_from_plane([float(v) for v in first[0]], orientations[0], [float(v) for v in first[2]], step)
    return [int(i) for i in stack.order], Grid((len(planes), rows, columns), affine)
