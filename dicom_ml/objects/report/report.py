"""Measurement reports (PS3.16 TID 1500): what they say, and how they are put together."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.derived import Description, describe
from dicom_ml.objects.report import builders
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.canvas import Canvas, array_canvas
from dicom_ml.objects.report.context import (
    Observer,
    Subject,
    default_observer,
    observer_items,
    observer_of,
    specimen_of,
    subject_items,
)
from dicom_ml.objects.report.descriptions import Evaluation, Measurement, MeasurementGroup, check_sequence
from dicom_ml.objects.report.document import DOCUMENTS, StoredDocument, document_bytes
from dicom_ml.objects.report.geojson import regions_to_geojson
from dicom_ml.objects.report.group_items import algorithm_items, evaluation_item, group_item, measurement_item
from dicom_ml.objects.report.group_reading import find_groups
from dicom_ml.objects.report.groups import on_series, tracked
from dicom_ml.objects.report.items import ContentItem, Reference, code_item, container
from dicom_ml.objects.report.library import library_item
from dicom_ml.objects.report.records import records_of
from dicom_ml.objects.report.region_items import COORDINATES
from dicom_ml.objects.report.regions import Region
from dicom_ml.objects.report.segments import SegmentReference
from dicom_ml.objects.report.status import Status, read_status
from dicom_ml.objects.saving import saved_file
from dicom_ml.source import SourceSeries, as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Report"]


class Report:
    """A measurement report (PS3.16 TID 1500).

    Parameters
    ----------
    source : Volume, Slide, SourceSeries, str or list of pydicom Dataset
        The images that it is about; the report belongs to their patient and study. Indices are those of the array of
        the volume that is given, cropped or resampled as it may be.
    groups : sequence of MeasurementGroup
        None of them for a report that says that nothing was found.
    algorithm : Algorithm, optional
        What found and measured it all, where a group does not say otherwise.
    observers : Person, Device, str or sequence of them, optional
        Who observed; by default the program that the algorithm is. A string is a person's name.
    subject : Fetus, Specimen or DeviceSubject, optional
        What was observed, if not the patient; a slide's specimen by default.
    document : str
        ``"comprehensive3d"``, ``"comprehensive"`` or ``"enhanced"``: the two latter hold no millimetres.
    coordinates : str
        How regions are written: ``"auto"`` as :mod:`dicom_ml.objects.report.region_items` says, ``"image"`` on the
        pixels of images wherever possible (a 3-D box is then rounded to whole slices), ``"patient"`` in millimetres.
    procedure : code, optional
        Procedure reported (PS3.16 CID 100).
    title : code
        PS3.16 CID 7021.
    evaluations : sequence of Evaluation
        Of the whole, where there are no groups.
    derived : sequence of Measurement
        Derived imaging measurements (PS3.16 TID 1420), such as a sum over lesions.
    image_library : bool
        List the source's images with their place in space, from which a reader learns the slice of each region.
    evidence : sequence of Reference
        Objects to list as evidence beside all that the report refers to.
    status : Status, optional
        Whether it is complete, preliminary or final, and who has verified it; complete and unverified by default.
    deterministic : bool
        Derive the document's UIDs from source and content.
    **settings
        As in :class:`dicom_ml.objects.derived.Description`: ``series_description``, ``manufacturer`` and so on.

    Raises
    ------
    EncodingError, GeometryError, CodeError
        Here or when it is written, naming what cannot be said in DICOM.
    """

    def __init__(
        self,
        source: Any,
        groups: Sequence[MeasurementGroup] = (),
        algorithm: Algorithm | None = None,
        *,
        observers: Any = None,
        subject: Subject | None = None,
        document: str = "comprehensive3d",
        coordinates: str = "auto",
        procedure: Any = None,
        title: Any = c.IMAGING_MEASUREMENT_REPORT,
        evaluations: Sequence[Evaluation] = (),
        derived: Sequence[Measurement] = (),
        image_library: bool = True,
        evidence: Sequence[Reference] = (),
        status: Status | None = None,
        deterministic: bool = False,
        **settings: Any,
    ) -> None:
        record = as_source(source).check()
        self._array = array_canvas(source, record)
        if document not in DOCUMENTS:
            raise EncodingError(f"document is one of {', '.join(DOCUMENTS)}, found {document!r}")
        if coordinates not in COORDINATES:
            raise EncodingError(f"coordinates is one of {', '.join(COORDINATES)}, found {coordinates!r}")
        if algorithm is not None and not isinstance(algorithm, Algorithm):
            raise EncodingError("an algorithm is an Algorithm(name, version)")
        self._stored: StoredDocument | None = None
        self._source: SourceSeries | None = record
        self._document, self._coordinates, self._library = document, coordinates, image_library
        self._title = parse_code(title)
        self._procedure = None if procedure is None else parse_code(procedure)
        self._extra = tuple(evidence)
        self._status: Status | None = status if status is not None else Status()
        self.algorithm = algorithm
        self.groups: list[MeasurementGroup] = tracked(check_sequence(groups), record)
        self.evaluations = list(evaluations)
        self.derived = list(derived)
        listed = [] if observers is None else [observers] if isinstance(observers, str) else observers
        listed = list(listed) if isinstance(listed, list | tuple) else [listed]
        self.observers: list[Observer] = [observer_of(o) for o in listed] or [default_observer(algorithm)]
        self.subject = subject if subject is not None else specimen_of(record)
        self.problems: list[str] = []
        defaults: dict[str, Any] = {"series_description": "Measurement report"}
        if algorithm is not None and not algorithm.is_manual:
            defaults |= {"model": algorithm.name, "software_versions": algorithm.version}
        seed = None
        if deterministic:
            names = [(g.tracking_uid, len(g.measurements), len(g.evaluations)) for g in self.groups]
            seed = ("sr", record.series_instance_uid, *record.sop_instance_uids, repr(names), repr(algorithm))
        self._description: Description | None = describe(settings, defaults, seed)

    # ------------------------------------------------------------------ from model outputs
    @classmethod
    def from_detections(
        cls, boxes: Any, scores: Any = None, labels: Any = None, *, source: Any, **options: Any
    ) -> Report:
        """A report with a group for each detected box.

        Parameters
        ----------
        boxes : array_like of shape (N, 6) or (N, 4)
            Start, then stop, in array indices ``(d, h, w)`` or ``(row, column)`` with corners at pixel edges; with
            ``space="mm"``, ``x, y, z`` twice. What reaches outside the image is cut off.
        scores : array_like of shape (N,), optional
            From 0 to 1; written as Certainty of Finding in percent.
        labels : sequence, optional
            A code for each box, or integers that ``classes`` explains.
        source : Volume, Slide or SourceSeries
        **options
            ``classes`` (mapping or sequence of codes by label), ``site``, ``space``, ``slices`` (of flat boxes on
            a volume), ``measurements`` (a sequence of Measurement for each box), ``tracking_ids``,
            ``tracking_uids``, ``min_score``, and whatever :class:`Report` takes.
        """
        record = as_source(source).check()
        chosen, rest = builders.split_options(options, builders.DETECTION_OPTIONS)
        canvas = array_canvas(source, record) or Canvas.of(record)
        groups = builders.detection_groups(boxes, scores, labels, canvas, **chosen)
        return cls(source, groups, **{"series_description": "Detections", **rest})

    @classmethod
    def from_classification(cls, scores: Any, *, source: Any, **options: Any) -> Report:
        """A report on whole images: which class they are of, with the certainty of each class.

        Parameters
        ----------
        scores : mapping of code to float, or array_like with ``classes``
            Probability of each class, from 0 to 1.
        source : Volume, Slide or SourceSeries
        **options
            ``classes`` (codes, for an array of scores), ``question`` (code of an evaluation that the most certain
            class answers; without one it is the finding), ``site``, ``images``, ``tracking_id``, and whatever
            :class:`Report` takes.
        """
        chosen, rest = builders.split_options(options, builders.CLASSIFICATION_OPTIONS)
        group = builders.classification_group(scores, **chosen)
        return cls(source, [group], **{"series_description": "Classification", **rest})

    @classmethod
    def from_measurements(cls, segmentation: Any, volume: Any, **options: Any) -> Report:
        """A report with the size of each segment, and what the volume's values are within it.

        Each segment that holds any voxel becomes a group that refers to it: volume, largest diameter, and, of
        volumes in Hounsfield units, SUV or MR signal, mean, standard deviation, minimum and maximum.

        Parameters
        ----------
        segmentation : Segmentation
            Made or read by this package; of the volume's patient and study.
        volume : Volume
        **options
            ``segments`` (labels or numbers; all by default), and whatever :class:`Report` takes.
        """
        chosen, rest = builders.split_options(options, builders.MEASUREMENT_OPTIONS)
        groups = builders.segment_groups(segmentation, volume, **chosen)
        return cls(volume, groups, **{"series_description": "Segment measurements", **rest})

    # ------------------------------------------------------------------ facts
    @property
    def title(self) -> Code | None:
        """Title of the document."""
        return self._title if self._stored is None else self._stored.root.name

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return self._stored.view.text(0x00080016) if self._stored is not None else DOCUMENTS[self._document]

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return self._stored.view.text(0x00080018) if self._stored else self._made().sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the document itself."""
        return self._stored.view.text(0x0020000E) if self._stored else self._made().series_instance_uid

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        if self._stored is not None:
            return self._stored.view.text(0x0020000D)
        return self._source.study_instance_uid if self._source is not None else ""

    @property
    def status(self) -> Status:
        """Whether it is complete, preliminary or final, and who has verified it."""
        if self._status is None:
            assert self._stored is not None
            self._status = read_status(self._stored.data)
        return self._status

    @property
    def evidence(self) -> dict[str, tuple[str, str]]:
        """SOP Instance UID of every object listed as evidence -> its series and study UID."""
        return (self._stored or StoredDocument(self._bytes, "report")).evidence

    def __repr__(self) -> str:
        kind = {uid: name for name, uid in DOCUMENTS.items()}.get(self.sop_class_uid, self.sop_class_uid)
        title = self.title.meaning if self.title is not None else "no title"
        return f"Report({title}, {kind}, {len(self.groups)} groups)"

    # ------------------------------------------------------------------ looking into it
    def find(
        self,
        *,
        finding: Any = None,
        site: Any = None,
        tracking_id: str | None = None,
        tracking_uid: str | None = None,
        category: Any = None,
        image: str | None = None,
        segment: int | None = None,
        region: str | type[Region] | None = None,
        measurement: Any = None,
        evaluation: Any = None,
    ) -> list[MeasurementGroup]:
        """Groups that fit everything asked for; SNOMED's two codings are one.

        Parameters
        ----------
        finding, site, category : code, optional
        tracking_id, tracking_uid : str, optional
        image : str, optional
            SOP Instance UID of an object that the group refers to.
        segment : int, optional
            Number of the segment that is its region.
        region : str or type, optional
            Kind of region: ``"box"``, ``"polygon"``, ``"segment"``, or the class.
        measurement, evaluation : code, optional
            What it measures or evaluates.
        """
        codes = [None if x is None else parse_code(x, need_meaning=False)
                 for x in (finding, site, category, measurement, evaluation)]  # fmt: skip
        items = self._group_items if image is not None else [None] * len(self.groups)
        found = []
        for group, item in zip(self.groups, items, strict=True):
            tests = (
                codes[0] is None or group.finding == codes[0],
                codes[1] is None or any(s.location == codes[1] for s in group.site),
                codes[2] is None or group.category == codes[2],
                codes[3] is None or any(m.name == codes[3] for m in group.measurements),
                codes[4] is None or any(e.name == codes[4] for e in group.evaluations),
                tracking_id is None or group.tracking_id == tracking_id,
                tracking_uid is None or group.tracking_uid == tracking_uid,
                segment is None or (isinstance(group.region, SegmentReference) and group.region.number == segment),
                region is None or any(_is_kind(r, region) for r in group.regions),
            )
            if all(tests) and (item is None or image in _uids(item)):
                found.append(group)
        return found

    def to_records(self) -> list[dict[str, Any]]:
        """One dict for each measurement or evaluation, with what identifies its group.

        A group that has neither still has one, of type ``"finding"``.
        """
        return records_of(self.groups, self.derived, self.evaluations)

    def to_geojson(self, path: str | os.PathLike[str], source: Any = None) -> str:
        """Write the regions as GeoJSON in pixels, a feature a region, as QuPath reads it.

        The finding is a feature's class; measurements and evaluations go with it. A box of a volume becomes a
        rectangle on each of its slices. Bodies and references to segments are left out with a warning.

        Parameters
        ----------
        path : path
        source : Slide, Volume or SourceSeries, optional
            The images, where regions of a report that was read are in millimetres.

        Raises
        ------
        EncodingError
            If there is no region to write.
        """
        return regions_to_geojson(self.groups, path, self._source, source)

    def boxes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[MeasurementGroup]]:
        """The groups' regions as boxes: what :meth:`from_detections` took, and what detectors are trained on.

        Returns
        -------
        boxes : ndarray of shape (N, 6) or (N, 4)
            Start, then stop, of each region's bounds, in the coordinates of the regions; a flat region on slice ``d``
            reaches from ``d`` to ``d + 1``. Four columns where all regions are flat and none names a slice.
        scores : ndarray of shape (N,)
            Certainty of Finding from 0 to 1; NaN where a group has none.
        groups : list of MeasurementGroup
            That these are of; groups without a shape, or with one in other coordinates than the first, have no box.
        """
        return builders.boxes_of(self.groups)

    def tree(self) -> ContentItem:
        """The whole content as content items: ``print(report.tree())`` shows it, its ``find`` searches it."""
        return self._stored.root if self._stored is not None else self._root

    @cached_property
    def _group_items(self) -> list[ContentItem]:
        return find_groups(self.tree())

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str], validate: bool = False) -> str:
        """Write the report to ``path``, which appears only when it is complete.

        A report that was read is written as it was. With ``validate`` the complete file is checked as
        :func:`dicom_ml.validate` does, and one with an error leaves nothing but an EncodingError.
        """
        with saved_file(path, self._source, validate) as file:
            file.write(self._bytes)
        return os.fspath(path)

    def to_bytes(self) -> bytes:
        """The document as :meth:`save` writes it; :func:`read_report` takes it as it takes a path."""
        return self._bytes

    @property
    def dataset(self) -> Dataset:
        """The document as a pydicom Dataset."""
        from dicom_ml.encoding.untrusted import dcmread

        return dcmread(io.BytesIO(self._bytes))

    def _made(self) -> Description:
        assert self._description is not None
        return self._description

    @property
    def _bytes(self) -> bytes:
        return self._stored.data if self._stored is not None else self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        assert self._source is not None
        references = [r for _, canvas in self._canvases for r in canvas.references if r.sop_instance_uid]
        evidence = [*references, *self._extra]
        return document_bytes(self._root, self._source, self._made(), self._document, evidence, self.status)

    @cached_property
    def _canvases(self) -> list[tuple[SourceSeries, Canvas]]:
        """The report's source, and those of groups that have their own."""
        assert self._source is not None
        records = [self._source]
        for group in self.groups:
            if group.source is not None:
                record = as_source(group.source).check()
                if all(record.series_instance_uid != r.series_instance_uid for r in records):
                    records.append(record)
        return [(record, Canvas.of(record)) for record in records]

    @cached_property
    def _root(self) -> ContentItem:
        canvases = {record.series_instance_uid: canvas for record, canvas in self._canvases}
        source = self._canvases[0][0]
        own = self._canvases[0][1]
        items = [code_item(c.LANGUAGE, c.ENGLISH, "HAS CONCEPT MOD")]
        items += observer_items(self.observers)
        items += subject_items(self.subject)
        procedure = self._procedure or c.PROCEDURES.get(source.modality, c.IMAGING_PROCEDURE)
        items.append(code_item(c.PROCEDURE_REPORTED, procedure, "HAS CONCEPT MOD"))
        if self._library:
            items.append(library_item(self._canvases))
        # every group names its algorithm; where nothing was found, this is the place that says who looked
        measured = [] if self.groups else algorithm_items(self.algorithm)
        for group in self.groups:
            canvas, array = own, self._array
            if group.source is not None:
                record = as_source(group.source)
                canvas, array = canvases[record.series_instance_uid], array_canvas(group.source, record)
            if array is not None:
                group = on_series(group, array, canvas)
            algorithm = group.algorithm or self.algorithm
            identity = group.tracking_id or "", group.tracking_uid or ""
            measured.append(group_item(group, canvas, *identity, algorithm, self._coordinates))
        if self.groups or not (self.derived or self.evaluations):
            items.append(container(c.IMAGING_MEASUREMENTS, measured))
        if self.derived:
            derived = [measurement_item(m, None, self._coordinates) for m in self.derived]
            items.append(container(c.DERIVED_MEASUREMENTS, derived))
        if self.evaluations:
            items.append(container(c.QUALITATIVE_EVALUATIONS, [evaluation_item(e) for e in self.evaluations]))
        root = container(self._title, items, "1500")
        root.relationship = ""
        return root


def _is_kind(region: Region, wanted: str | type[Region]) -> bool:
    return region.kind == wanted.lower() if isinstance(wanted, str) else isinstance(region, wanted)


def _uids(item: ContentItem) -> set[str | None]:
    return {i.value.sop_instance_uid for i in item.walk() if isinstance(i.value, Reference)}
