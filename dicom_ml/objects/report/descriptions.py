"""What a person says in a report: measurements, evaluations, and groups of them (PS3.16 TID 1501 and 300)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom_ml.codes import Code, parse_code, parse_unit
from dicom_ml.errors import CodeError, EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.report.items import ContentItem, Reference
from dicom_ml.objects.report.regions import Contours, Region, Shape

__all__ = ["Evaluation", "Measurement", "MeasurementGroup", "NormalRange", "Site", "Statistic", "TimePoint"]

Pairs = tuple[tuple[Code, Code], ...]
_CODES: dict[Any, Code] = {}
_UNITS: dict[Any, Code] = {}


def _code(x: Any) -> Code:
    """Like parse_code, looking up each short form once: reports repeat few codes thousands of times."""
    if isinstance(x, Code) and x.meaning:
        return x
    if isinstance(x, str):
        known = _CODES.get(x)
        if known is None:
            known = _remember(_CODES, x, parse_code(x))
        return known
    return parse_code(x)


def _unit(x: Any) -> Code:
    if isinstance(x, Code) and x.meaning:
        return x
    if isinstance(x, str):
        known = _UNITS.get(x)
        if known is None:
            known = _remember(_UNITS, x, parse_unit(x))
        return known
    return parse_unit(x)


def _remember(table: dict[Any, Code], key: str, code: Code) -> Code:
    if len(table) >= 4096:
        table.clear()
    table[key] = code
    return code


def _maybe(x: Any) -> Code | None:
    return None if x is None else _code(x)


def _pairs(given: Any) -> Pairs:
    items = given.items() if isinstance(given, Mapping) else given
    return tuple((_code(name), _code(value)) for name, value in items)


@dataclass(frozen=True)
class Site:
    """Where something was found (PS3.16 TID 1419 rows 2 to 4).

    Parameters
    ----------
    location : code
    laterality : code, optional
        Such as ``"SCT:7771000"`` (Left).
    modifier : code, optional
        Topographical modifier.
    """

    location: Code
    laterality: Code | None = None
    modifier: Code | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "location", _code(self.location))
        object.__setattr__(self, "laterality", _maybe(self.laterality))
        object.__setattr__(self, "modifier", _maybe(self.modifier))


def _sites(given: Any) -> tuple[Site, ...]:
    """One code or Site, or several."""
    if given is None:
        return ()
    if isinstance(given, Site):
        return (given,)
    if isinstance(given, list) or (isinstance(given, tuple) and not all(isinstance(p, str) for p in given)):
        return tuple(site if isinstance(site, Site) else Site(site) for site in given)
    return (Site(given),)


@dataclass(frozen=True)
class Statistic:
    """A number that puts a measurement into context: of a population, or of its uncertainty.

    Parameters
    ----------
    name : code
        PS3.16 CID 221 or 225.
    value : float
    unit : code
    description : str, optional
        Of the population.
    authority : str or code, optional
        Who says so.
    """

    name: Code
    value: float
    unit: Code
    description: str | None = None
    authority: str | Code | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _code(self.name))
        object.__setattr__(self, "unit", _unit(self.unit))
        object.__setattr__(self, "value", float(self.value))


@dataclass(frozen=True)
class NormalRange:
    """The range that is normal for a measurement (PS3.16 TID 312).

    Parameters
    ----------
    lower, upper : float, optional
        In the measurement's unit; at least one of them.
    description : str, optional
    authority : str or code, optional
    """

    lower: float | None = None
    upper: float | None = None
    description: str | None = None
    authority: str | Code | None = None

    def __post_init__(self) -> None:
        if self.lower is None and self.upper is None:
            raise EncodingError("a NormalRange has a lower or an upper limit, or both")


@dataclass(frozen=True)
class Measurement:
    """A number that was measured (PS3.16 TID 300).

    Parameters
    ----------
    name : code
        What was measured, such as ``"SCT:81827009"`` (Diameter).
    value : float or None
        NaN, infinities and None are written as missing, with ``qualifier`` or the one that says so.
    unit : code
        UCUM, such as ``"mm"``; ``"1"`` for none.
    derivation : code, optional
        How many values became one, such as ``"SCT:373098007"`` (Mean).
    method : code, optional
        Measurement method.
    site : code, Site or sequence of either, optional
        Where this one was measured, if not where the group was.
    modifiers : mapping or sequence of pairs of code
        Further concept modifiers, ``{name: value}``.
    normality, significance, selection : code, optional
        PS3.16 CID 222, 220, 224.
    statistics : sequence of Statistic
        Of the population.
    normal_range : NormalRange, optional
    uncertainty : float or tuple of 2 floats, optional
        Plus and minus, or minus and plus, in the measurement's unit.
    qualifier : code, optional
        Why there is no value (PS3.16 CID 42).
    algorithm : Algorithm, optional
        What measured it, if not what made the group.
    region : Shape or Contours, optional
        What this one was measured on, where the group has no region of its own.
    tracking_id, tracking_uid : str, optional
    meaning : str, optional
        Equivalent meaning of the concept name.
    real_world_value_map : Reference, optional

    Examples
    --------
    >>> Measurement("SCT:81827009", 7.3, "mm").name.meaning
    'Diameter'
    """

    name: Code
    value: float | None
    unit: Code = "1"  # type: ignore[assignment]
    derivation: Code | None = None
    method: Code | None = None
    site: tuple[Site, ...] = ()
    modifiers: Pairs = ()
    normality: Code | None = None
    significance: Code | None = None
    selection: Code | None = None
    statistics: tuple[Statistic, ...] = ()
    normal_range: NormalRange | None = None
    uncertainty: float | tuple[float, float] | None = None
    qualifier: Code | None = None
    algorithm: Algorithm | None = None
    region: Region | None = None
    tracking_id: str | None = None
    tracking_uid: str | None = None
    meaning: str | None = None
    real_world_value_map: Reference | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "name", _code(self.name))
        set_(self, "unit", _unit(self.unit))
        if self.value is not None:
            try:
                set_(self, "value", float(self.value))
            except (TypeError, ValueError) as error:
                raise EncodingError(
                    f"the value of a measurement is a number, found {type(self.value).__name__}; "
                    "what is not numeric is an Evaluation"
                ) from error
        if self.derivation is not None:
            set_(self, "derivation", _code(self.derivation))
        if self.site:
            set_(self, "site", _sites(self.site))
        if self.modifiers:
            set_(self, "modifiers", _pairs(self.modifiers))
        for field_name in ("method", "normality", "significance", "selection", "qualifier"):
            value = getattr(self, field_name)
            if value is not None:
                set_(self, field_name, _code(value))
        if self.statistics:
            set_(self, "statistics", tuple(self.statistics))
        if self.region is not None and not isinstance(self.region, Shape | Contours):
            raise EncodingError("the region of a single measurement is a shape; give the group the segment")

    @property
    def concept(self) -> str:
        """The code of the name in its short form, without meaning."""
        return f"{self.name.scheme}:{self.name.value}"


@dataclass(frozen=True)
class Evaluation:
    """A question that was answered in words: a coded answer, or free text (PS3.16 TID 1501).

    Parameters
    ----------
    name : code
        The question, such as ``"RADLEX:RID36042"`` (Malignancy).
    value : code, optional
        The answer.
    text : str, optional
        Instead of a coded answer.
    modifiers : mapping or sequence of pairs of code
        Of the answer.
    """

    name: Code
    value: Code | None = None
    text: str | None = None
    modifiers: Pairs = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _code(self.name))
        if (self.value is None) == (self.text is None):
            raise EncodingError("an Evaluation has either a coded value or text=")
        if self.value is not None:
            try:
                object.__setattr__(self, "value", _code(self.value))
            except CodeError as error:
                raise CodeError(f"{error}; free text goes into text=") from error
        if self.modifiers:
            object.__setattr__(self, "modifiers", _pairs(self.modifiers))


@dataclass(frozen=True)
class TimePoint:
    """The point in the course of a disease or trial at which something was observed (PS3.16 TID 1502).

    Parameters
    ----------
    name : str
        Label for people.
    type : code, optional
        Such as baseline or follow-up (PS3.16 CID 6146).
    order : int, optional
        Its place among the time points.
    subject_id, protocol_id : str, optional
        Identifier for this subject, and in the protocol.
    offset : float, optional
        Days since an event.
    event : code, optional
        That event, such as enrolment (PS3.16 CID 280); needed with an offset.
    """

    name: str | None = None
    type: Code | None = None
    order: int | None = None
    subject_id: str | None = None
    protocol_id: str | None = None
    offset: float | None = None
    event: Code | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", _maybe(self.type))
        object.__setattr__(self, "event", _maybe(self.event))
        if self.offset is not None and self.event is None:
            raise EncodingError("the offset of a time point is the days since an event; name it with event=")


@dataclass(frozen=True)
class MeasurementGroup:
    """What was found at one place: what it is, where it is, what was measured (PS3.16 TID 1501, 1410 and 1411).

    Parameters
    ----------
    finding : code, optional
        What it is, such as ``"SCT:27925004"`` (Nodule).
    site : code, Site or sequence of either, optional
        Where in the body it is.
    region : Region, optional
        Where in the image it is; without one the group is about whole images.
    measurements : sequence of Measurement
    evaluations : sequence of Evaluation
    tracking_id : str, optional
        Name under which it is followed; by default its place in the report.
    tracking_uid : str, optional
        By default derived from the source, the tracking id and the finding: so a repeated run, and the same
        tracking id, give the same one.
    category : code, optional
        Kind of finding.
    method : code, optional
        Measurement method of all its measurements.
    algorithm : Algorithm, optional
        If not the report's.
    purpose : code, optional
        Geometric purpose of the region (PS3.16 CID 219); a box bounds its finding unless this says otherwise.
    time_point : TimePoint, optional
    session : str, optional
        Activity session.
    images : sequence of int or Reference
        Slices (or images) that a group without region is about; all of the source, if none are named.
    source : Volume, Slide or SourceSeries, optional
        The images the region lies on, if not the report's source.
    real_world_value_map : Reference, optional
    item : ContentItem
        The content item that the group was read from.
    """

    finding: Code | None = None
    site: tuple[Site, ...] = ()
    region: Region | None = None
    measurements: tuple[Measurement, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    tracking_id: str | None = None
    tracking_uid: str | None = None
    category: Code | None = None
    method: Code | None = None
    algorithm: Algorithm | None = None
    purpose: Code | None = None
    time_point: TimePoint | None = None
    session: str | None = None
    images: tuple[int | Reference, ...] = ()
    source: Any = field(default=None, repr=False, compare=False)
    real_world_value_map: Reference | None = None
    item: ContentItem | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if self.finding is not None:
            set_(self, "finding", _code(self.finding))
        set_(self, "site", _sites(self.site) if self.site else ())
        for name in ("category", "method", "purpose"):
            value = getattr(self, name)
            if value is not None:
                set_(self, name, _code(value))
        for name, kind in (("measurements", Measurement), ("evaluations", Evaluation)):
            given = getattr(self, name)
            values = (given,) if isinstance(given, kind) else tuple(given)
            wrong = next((v for v in values if not isinstance(v, kind)), None)
            if wrong is not None:
                raise EncodingError(f"{name} of a group are {kind.__name__} objects, found {type(wrong).__name__}")
            set_(self, name, values)
        if self.region is not None and not isinstance(self.region, Region):
            raise EncodingError(
                f"a region is a Box, Polygon, ... or SegmentReference, found {type(self.region).__name__}"
            )
        images: Any = self.images
        set_(self, "images", (images,) if isinstance(images, int | Reference) else tuple(images))
        if self.images and self.region is not None:
            raise EncodingError("a group has either a region or images=, whose whole it is about")

    # ------------------------------------------------------------------ looking up
    def measurement(self, name: Any, derivation: Any = None) -> Measurement | None:
        """The first measurement of that name (and derivation), or None."""
        wanted = parse_code(name, need_meaning=False)
        how = None if derivation is None else parse_code(derivation, need_meaning=False)
        return next(
            (m for m in self.measurements if m.name == wanted and (how is None or m.derivation == how)),
            None,
        )

    def value(self, name: Any, derivation: Any = None) -> float | None:
        """The number measured under that name, or None."""
        found = self.measurement(name, derivation)
        return None if found is None else found.value

    def evaluation(self, name: Any) -> Evaluation | None:
        """The first evaluation of that name, or None."""
        wanted = parse_code(name, need_meaning=False)
        return next((e for e in self.evaluations if e.name == wanted), None)

    @property
    def regions(self) -> list[Region]:
        """The region of the group, and those of its single measurements."""
        own = [] if self.region is None else [self.region]
        return own + [m.region for m in self.measurements if m.region is not None]


def check_sequence(groups: Any) -> tuple[MeasurementGroup, ...]:
    """The groups as a tuple.

    Raises
    ------
    EncodingError
        If something else is among them.
    """
    listed: Sequence[Any] = (groups,) if isinstance(groups, MeasurementGroup) else tuple(groups)
    wrong = next((g for g in listed if not isinstance(g, MeasurementGroup)), None)
    if wrong is not None:
        raise EncodingError(f"a report's groups are MeasurementGroup objects, found {type(wrong).__name__}")
    return tuple(listed)
