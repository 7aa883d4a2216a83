"""What a person says about a segment: its name, its coded meaning, its colour, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dicom_ml.codes import Code, code_from_dataset, code_to_dataset, parse_code
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.errors import CodeError, DicomMLError, EncodingError
from dicom_ml.objects.algorithm import ALGORITHM_TYPES, ARTIFICIAL_INTELLIGENCE, Algorithm, check_text
from dicom_ml.objects.color import cielab_to_rgb, parse_color, rgb_to_cielab

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Algorithm", "Segment", "number_segments"]


@dataclass(frozen=True)
class Segment:
    """One segment: a category of voxels, or one thing that is delineated (PS3.3 C.8.20.4).

    Parameters
    ----------
    label : str
        Name for people, up to 64 characters.
    type : code
        What it is: Segmented Property Type, such as ``"SCT:10200004"`` (Liver).
    category : code
        What kind of thing that is: Segmented Property Category, such as ``"SCT:123037004"`` (Anatomical Structure).
    algorithm : Algorithm or ``"manual"``
        Who or what made it; must be known when the segment is written.
    modifiers : sequence of code
        Modifiers of the type, such as laterality ``"SCT:7771000"`` (Left).
    anatomy : code, optional
        Anatomic region in which it lies, for findings whose type does not say.
    anatomy_modifiers : sequence of code
        Modifiers of the anatomic region.
    color : str or tuple, optional
        Colour to be shown in: ``"#rrggbb"`` or sRGB 0 to 255.
    tracking_id : str, optional
        Name under which this thing is followed over time; by default the label.
    tracking_uid : str, optional
        Its unique identifier; by default derived from the source series, label and type.
    number : int, optional
        Value in a label map; by default its place in the list, from 1.
    description : str, optional

    Examples
    --------
    >>> Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm="manual").type.meaning
    'Liver'
    """

    label: str
    type: Code
    category: Code
    algorithm: Algorithm | None = None
    modifiers: tuple[Code, ...] = ()
    anatomy: Code | None = None
    anatomy_modifiers: tuple[Code, ...] = ()
    color: tuple[int, int, int] | None = None
    tracking_id: str | None = None
    tracking_uid: str | None = None
    number: int | None = None
    description: str | None = None
    #: CIELab as stored in a file that was read, so that it is written back unchanged.
    cielab: tuple[int, int, int] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        label = str(self.label)
        if not label.strip():
            raise EncodingError("a segment needs a label")
        check_text("segment label", label, 64)
        set_ = object.__setattr__
        set_(self, "type", parse_code(self.type))
        set_(self, "category", parse_code(self.category))
        set_(self, "modifiers", _codes(self.modifiers))
        set_(self, "anatomy_modifiers", _codes(self.anatomy_modifiers))
        if self.anatomy is not None:
            set_(self, "anatomy", parse_code(self.anatomy))
        elif self.anatomy_modifiers:
            raise EncodingError(f"segment {label!r} has modifiers of an anatomic region but no region")
        algorithm: Any = self.algorithm
        if isinstance(algorithm, str):
            if algorithm.lower() != "manual":
                raise EncodingError(f"an algorithm is an Algorithm(name, version) or 'manual', found {algorithm!r}")
            set_(self, "algorithm", Algorithm.manual())
        if self.color is not None:
            set_(self, "color", parse_color(self.color))
        if self.number is not None:
            number = int(self.number)
            if not 1 <= number <= 65535:
                raise EncodingError(f"a segment number lies from 1 to 65535, found {self.number}")
            set_(self, "number", number)
        if self.tracking_id is not None:
            check_text("tracking identifier", self.tracking_id, 10240)

    def check_algorithm(self) -> Algorithm:
        """Who or what made the segment.

        Raises
        ------
        EncodingError
            If that is not known, which no segment can be written without.
        """
        if self.algorithm is None:
            raise EncodingError(
                f"segment {self.label!r} does not say how it was made; give it algorithm=Algorithm(name, version), "
                "or algorithm='manual' where a person drew it"
            )
        return self.algorithm

    def to_dataset(self, number: int, tracking_seed: str) -> Dataset:
        """One item of a Segment Sequence.

        Parameters
        ----------
        number : int
            Its Segment Number.
        tracking_seed : str
            What a Tracking UID that was not given is derived from: the UID of the source series.
        """
        from pydicom import Dataset, Sequence

        algorithm = self.check_algorithm()
        item = Dataset()
        item.SegmentedPropertyCategoryCodeSequence = Sequence([code_to_dataset(self.category)])
        item.SegmentNumber = number
        item.SegmentLabel = self.label
        if self.description:
            item.SegmentDescription = self.description
        item.SegmentAlgorithmType = algorithm.type
        if not algorithm.is_manual:
            item.SegmentAlgorithmName = algorithm.name
            item.SegmentationAlgorithmIdentificationSequence = Sequence([algorithm.to_dataset()])
        lab = self.cielab or (None if self.color is None else rgb_to_cielab(self.color))
        if lab is not None:
            item.RecommendedDisplayCIELabValue = list(lab)
        kind = code_to_dataset(self.type)
        if self.modifiers:
            kind.SegmentedPropertyTypeModifierCodeSequence = Sequence(code_to_dataset(m) for m in self.modifiers)
        item.SegmentedPropertyTypeCodeSequence = Sequence([kind])
        if self.anatomy is not None:
            region = code_to_dataset(self.anatomy)
            if self.anatomy_modifiers:
                region.AnatomicRegionModifierSequence = Sequence(code_to_dataset(m) for m in self.anatomy_modifiers)
            item.AnatomicRegionSequence = Sequence([region])
        item.TrackingID = self.tracking_id or self.label
        item.TrackingUID = self.tracking_uid or derived_uid(
            "tracking", tracking_seed, item.TrackingID, self.type.sct.scheme, self.type.sct.value
        )
        return item

    @classmethod
    def from_dataset(cls, item: Dataset) -> Segment:
        """Read one item of a Segment Sequence, of any maker: what is missing is left out, never guessed."""
        number = item.get("SegmentNumber")
        kind = _first(item, "SegmentedPropertyTypeCodeSequence")
        region = _first(item, "AnatomicRegionSequence")
        lab = item.get("RecommendedDisplayCIELabValue")
        cielab = tuple(int(v) for v in lab) if lab is not None and len(lab) == 3 else None
        segment = cls(
            label=str(item.get("SegmentLabel") or item.get("SegmentDescription") or f"Segment {number}")[:64].strip()
            or f"Segment {number}",
            type=_read_code(kind),
            category=_read_code(_first(item, "SegmentedPropertyCategoryCodeSequence")),
            algorithm=_read_algorithm(item),
            modifiers=_read_codes(kind, "SegmentedPropertyTypeModifierCodeSequence"),
            anatomy=None if region is None else _read_code(region),
            anatomy_modifiers=_read_codes(region, "AnatomicRegionModifierSequence"),
            color=None if cielab is None else cielab_to_rgb(cielab),  # type: ignore[arg-type]
            tracking_id=str(item.get("TrackingID") or "") or None,
            tracking_uid=str(item.get("TrackingUID") or "") or None,
            description=str(item.get("SegmentDescription") or "") or None,
            cielab=cielab,  # type: ignore[arg-type]
        )
        # a background of label maps has number 0, which nobody may give to a segment of their own
        object.__setattr__(segment, "number", None if number is None else int(number))
        return segment


def number_segments(segments: Sequence[Segment]) -> tuple[list[Segment], list[int]]:
    """Give every segment its number: all have their own, or none has and they count from 1.

    Returns
    -------
    numbered : list of Segment
        By ascending number.
    order : list of int
        Where each of them stood: the channel that belongs to it.

    Raises
    ------
    EncodingError
        If only some have a number, or two share one.
    """
    if not segments:
        raise EncodingError("a segmentation describes at least one segment; pass segments=[Segment(...), ...]")
    for segment in segments:
        if not isinstance(segment, Segment):
            raise EncodingError(f"segments are Segment objects, found {type(segment).__name__}")
    given = [s.number for s in segments if s.number is not None]
    if not given:
        return [replace(s, number=i) for i, s in enumerate(segments, start=1)], list(range(len(segments)))
    if len(given) != len(segments):
        raise EncodingError("either all segments have a number or none has; some have one here")
    if len(set(given)) != len(given):
        raise EncodingError(f"two segments share a number: {sorted(given)}")
    order = sorted(range(len(segments)), key=lambda i: segments[i].number or 0)
    return [segments[i] for i in order], order


# ---------------------------------------------------------------------- reading
def _first(item: Dataset | None, keyword: str) -> Dataset | None:
    sequence = None if item is None else item.get(keyword)
    found: Dataset | None = sequence[0] if sequence else None
    return found


def _read_code(item: Dataset | None) -> Code:
    try:
        if item is not None:
            return code_from_dataset(item)
    except DicomMLError:
        pass
    return Code("UNKNOWN", "99UNKNOWN", "Unknown")


def _read_codes(item: Dataset | None, keyword: str) -> tuple[Code, ...]:
    return tuple(_read_code(i) for i in (item.get(keyword) or [])) if item is not None else ()


def _read_algorithm(item: Dataset) -> Algorithm | None:
    kind = str(item.get("SegmentAlgorithmType") or "").upper()
    if kind == "MANUAL":
        return Algorithm.manual()
    if kind not in ALGORITHM_TYPES:
        return None
    identification = _first(item, "SegmentationAlgorithmIdentificationSequence")
    name = str(item.get("SegmentAlgorithmName") or "")
    version, family, source, parameters = "unknown", ARTIFICIAL_INTELLIGENCE, None, None
    if identification is not None:
        name = str(identification.get("AlgorithmName") or name)
        version = str(identification.get("AlgorithmVersion") or version)
        source = str(identification.get("AlgorithmSource") or "") or None
        parameters = str(identification.get("AlgorithmParameters") or "") or None
        family = _read_code(_first(identification, "AlgorithmFamilyCodeSequence"))
    return Algorithm((name or "unknown")[:64], version[:64], family, kind, source, parameters)


# ---------------------------------------------------------------------- checks
def _codes(values: Any) -> tuple[Code, ...]:
    if isinstance(values, str | Code):
        values = (values,)
    return tuple(parse_code(v) for v in values)


def segment_index(segments: Sequence[Segment], wanted: Sequence[Any]) -> list[int]:
    """Indices of the ``wanted`` segments: by number, by label, or by coded type.

    Raises
    ------
    CodeError
        If one is not there, or a name fits several.
    """
    found: list[int] = []
    for want in wanted:
        if isinstance(want, Segment):
            hits = [i for i, s in enumerate(segments) if s == want or (s.number, s.label) == (want.number, want.label)]
        elif isinstance(want, int):
            hits = [i for i, s in enumerate(segments) if s.number == want]
        else:
            hits = [i for i, s in enumerate(segments) if isinstance(want, str) and s.label == want]
            if not hits:
                try:
                    code = parse_code(want)
                    hits = [i for i, s in enumerate(segments) if s.type == code]
                except DicomMLError:
                    hits = []
        if len(hits) != 1:
            have = ", ".join(f"{s.number}: {s.label!r}" for s in segments[:20])
            state = "no segment is" if not hits else f"{len(hits)} segments are"
            raise CodeError(f"{state} {want!r}; the object has {have}. Ask by number where labels repeat")
        found.append(hits[0])
    return found
