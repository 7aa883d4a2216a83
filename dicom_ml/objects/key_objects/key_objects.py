"""Key object selections: made from slices, images and other objects, or read from any maker's document."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.derived import Description, describe
from dicom_ml.objects.key_objects.document import DESCRIPTION, content_of, selection_bytes
from dicom_ml.objects.key_objects.selecting import Selector, record_of
from dicom_ml.objects.key_objects.titles import MODIFIER, REJECTIONS, check_modifiers, parse_title
from dicom_ml.objects.report.canvas import Canvas, array_canvas, rebase_slice
from dicom_ml.objects.report.context import Observer, default_observer, observer_of, read_observers
from dicom_ml.objects.report.document import StoredDocument, read_document
from dicom_ml.objects.report.items import ContentItem, Reference
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicom_ml.objects.algorithm import Algorithm

__all__ = ["KeyObjects", "read_key_objects"]


class KeyObjects:
    """A selection of objects, and why they were selected (PS3.16 TID 2010).

    Parameters
    ----------
    source : Volume, Slide, SourceSeries, str or list of pydicom Dataset
        The series whose patient and study the selection belongs to.
    title : code or str
        Why: of PS3.16 CID 7010, as a code or by its meaning, such as ``"For Teaching"`` or
        ``"Rejected for Quality Reasons"``.
    images : sequence, optional
        What is selected, each of: a slice of the source's array (an integer); a SOP Instance UID of the source; a
        :class:`~dicom_ml.objects.report.Reference`, which may name frames, segments or waveform channels; a
        :class:`~dicom_ml.objects.report.SegmentReference`; a data set or any object of this package; a volume,
        slide or other source, for all of its images, also of another study; or a pair of any of these and the
        presentation state to show it with. Without them, all images of the source.
    description : str
        Free text.
    reasons : sequence of code or str
        Modifiers of the title. A rejection for quality or a quality issue needs one (CID 7011), such as
        ``"Motion blur"``; a best in set says which set (CID 7012), such as ``"Series"``.
    observers : Person, Device, str or sequence of them, optional
        Who selected; by default the program that ``algorithm`` is. A string is a person's name.
    algorithm : Algorithm, optional
        What selected.
    copies : bool
        Where objects of other studies are selected, say that an identical document lies in each of those studies:
        those of :attr:`copies`, which then must be stored too (PS3.3 C.17.6.2.1).
    deterministic : bool
        Derive the document's UIDs from source and content.
    **settings
        As in :class:`dicom_ml.objects.derived.Description`.

    Raises
    ------
    EncodingError, CodeError, GeometryError
        Naming what cannot be selected or said.
    """

    def __init__(
        self,
        source: Any,
        title: Any = "DCM:113000",
        images: Sequence[Any] | None = None,
        *,
        description: str = "",
        reasons: Sequence[Any] = (),
        observers: Any = None,
        algorithm: Algorithm | None = None,
        copies: bool = False,
        deterministic: bool = False,
        **settings: Any,
    ) -> None:
        record = record_of(source)
        selector = Selector(source, record)
        self._stored: StoredDocument | None = None
        self._source: SourceSeries | None = record
        self.title: Code | None = parse_title(title)
        self.reasons: tuple[Code, ...] = check_modifiers(self.title, [reasons] if isinstance(reasons, str) else reasons)
        self.references: list[Reference] = selector.references(images)
        self.description = description
        listed = [] if observers is None else [observers] if isinstance(observers, str) else observers
        listed = list(listed) if isinstance(listed, list | tuple) else [listed]
        self.observers: list[Observer] = [observer_of(o) for o in listed] or [default_observer(algorithm)]
        defaults: dict[str, Any] = {"series_description": f"Key objects: {self.title.meaning}"}
        if algorithm is not None and not algorithm.is_manual:
            defaults |= {"model": algorithm.name, "software_versions": algorithm.version}
        seed = None
        if deterministic:
            names = [(r.sop_instance_uid, r.frames, r.segments, r.channels) for r in self.references]
            seed = ("ko", record.series_instance_uid, str(self.title), description, repr(names))
        self._made: Description | None = describe(settings, defaults, seed)
        self.copies: list[KeyObjects] = []
        self.identical: list[Reference] = []
        if copies:
            self._make_copies(selector.records)

    def _make_copies(self, records: dict[str, SourceSeries]) -> None:
        """An identical document for each other study that is referred to."""
        assert self._source is not None
        assert self._made is not None
        studies = dict.fromkeys(r.study_instance_uid for r in self.references)
        others = [study for study in studies if study != self._source.study_instance_uid]
        unknown = [study for study in others if study not in records]
        if unknown:
            raise EncodingError(
                f"identical documents need the patient and study attributes of study {unknown[0]}: select its images "
                "by their Volume, Slide or SourceSeries"
            )
        for study in others:
            twin = object.__new__(KeyObjects)
            twin.__dict__.update(self.__dict__)
            uids = [derived_uid("identical document", self.sop_instance_uid, study, part) for part in ("SOP", "series")]
            made = {**vars(self._made), "sop_instance_uid": uids[0], "series_instance_uid": uids[1]}
            twin._made, twin._source, twin.copies = Description(**made), records[study], []
            self.copies.append(twin)
        family = [self, *self.copies]
        for one in family:
            one.identical = [
                Reference(
                    sop.KEY_OBJECT_SELECTION,
                    other.sop_instance_uid,
                    series_instance_uid=other.series_instance_uid,
                    study_instance_uid=other.study_instance_uid,
                )
                for other in family
                if other is not one
            ]

    # ------------------------------------------------------------------ facts
    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return sop.KEY_OBJECT_SELECTION

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return self._stored.view.text(0x00080018) if self._stored else self._described.sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the document itself."""
        return self._stored.view.text(0x0020000E) if self._stored else self._described.series_instance_uid

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        if self._stored is not None:
            return self._stored.view.text(0x0020000D)
        return self._source.study_instance_uid if self._source is not None else ""

    @property
    def is_rejection(self) -> bool:
        """Whether the title takes the objects out of use."""
        return self.title in REJECTIONS

    @property
    def studies(self) -> dict[str, dict[str, list[Reference]]]:
        """What is selected, by study and series UID."""
        found: dict[str, dict[str, list[Reference]]] = {}
        for r in self.references:
            found.setdefault(r.study_instance_uid, {}).setdefault(r.series_instance_uid, []).append(r)
        return found

    @property
    def evidence(self) -> dict[str, tuple[str, str]]:
        """SOP Instance UID of every object listed as evidence -> its series and study UID."""
        return (self._stored or StoredDocument(self._bytes, "key objects")).evidence

    def slices(self, on: Any) -> list[int]:
        """Slices of a volume's array that are selected, in ascending order.

        Parameters
        ----------
        on : Volume or SourceSeries
            Of a cropped or resampled volume, slices that are no slices of its series are left out.
        """
        record = record_of(on)
        canvas, array = Canvas.of(record), array_canvas(on, record)
        chosen = {r.sop_instance_uid: set[int]() for r in self.references}
        for r in self.references:
            chosen[r.sop_instance_uid].update(r.frames or (0,))
        depth = len(canvas.references) if array is None or array.grid is None else array.grid.shape[0]
        found = []
        for place in range(depth):
            d = place if array is None else rebase_slice(place, array, canvas)
            if not 0 <= d < len(canvas.references):
                continue
            image = canvas.references[d]
            frames = chosen.get(image.sop_instance_uid)
            if frames is not None and (0 in frames or not image.frames or image.frames[0] in frames):
                found.append(place)
        return found

    def tree(self) -> ContentItem:
        """The whole content as content items."""
        if self._stored is not None:
            return self._stored.root
        assert self.title is not None
        return content_of(self.title, self.reasons, self.description, self.references, self.observers)

    def __len__(self) -> int:
        return len(self.references)

    def __repr__(self) -> str:
        title = self.title.meaning if self.title is not None else "no title"
        return f"KeyObjects({title}, {len(self.references)} objects of {len(self.studies)} studies)"

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the document to ``path``, which appears only when it is complete.

        A document that was read is written as it was.
        """
        save_bytes(path, self._bytes)
        return os.fspath(path)

    @property
    def dataset(self) -> Dataset:
        """The document as a pydicom Dataset."""
        from dicom_ml.encoding.untrusted import dcmread

        return dcmread(io.BytesIO(self._bytes))

    @property
    def _described(self) -> Description:
        assert self._made is not None
        return self._made

    @property
    def _bytes(self) -> bytes:
        if self._stored is not None:
            return self._stored.data
        assert self._source is not None
        return selection_bytes(self.tree(), self._source, self._described, self.identical)


# ---------------------------------------------------------------------- reading
def read_key_objects(path: str | os.PathLike[str] | bytes) -> KeyObjects:
    """Read a key object selection of any maker.

    Parameters
    ----------
    path : path or bytes

    Raises
    ------
    FileError
        If the file is no key object selection, or damaged.
    """
    stored = read_document(path)
    kind = stored.view.text(0x00080016)
    if kind != sop.KEY_OBJECT_SELECTION:
        raise FileError(
            f"{stored.name}: is no key object selection: its SOP class is {kind or 'missing'}; "
            "other structured reports are read with read_report or read_sr_tree"
        )
    root = stored.root
    found = object.__new__(KeyObjects)
    found._stored, found._source, found._made = stored, None, None
    found.title = root.name
    found.reasons = tuple(i.value for i in root.find(MODIFIER, value_type="CODE") if isinstance(i.value, Code))
    texts = root.find(DESCRIPTION, value_type="TEXT") or root.find(value_type="TEXT", relationship="CONTAINS")
    found.description = "\n".join(str(i.value) for i in texts if i.value)
    found.references = [
        i.value
        for i in root.walk()
        if i.value_type in ("IMAGE", "COMPOSITE", "WAVEFORM") and isinstance(i.value, Reference)
    ]
    found.observers = read_observers(root)
    found.copies = []
    found.identical = _identical(stored)
    return found


def _identical(stored: StoredDocument) -> list[Reference]:
    """Identical Documents Sequence."""
    if 0x0040A525 not in stored.view:
        return []
    from dicom_ml.encoding.untrusted import dcmread

    ds = dcmread(io.BytesIO(stored.data), specific_tags=["IdenticalDocumentsSequence"])
    return [
        Reference(
            str(item.get("ReferencedSOPClassUID", "")),
            str(item.get("ReferencedSOPInstanceUID", "")),
            series_instance_uid=str(series.get("SeriesInstanceUID", "")),
            study_instance_uid=str(study.get("StudyInstanceUID", "")),
        )
        for study in ds.get("IdenticalDocumentsSequence") or []
        for series in study.get("ReferencedSeriesSequence") or []
        for item in series.get("ReferencedSOPSequence") or []
    ]
