"""Who observed, and whom or what: observer and subject context (PS3.16 TID 1001 to 1010)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dicom_ml.codes import Code, parse_code
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.items import ContentItem, Number, code_item, text_item, uid_item
from dicom_ml.source import SourceSeries

__all__ = ["Device", "DeviceSubject", "Fetus", "Observer", "Person", "Specimen", "Subject", "observer_of"]

_REL = "HAS OBS CONTEXT"


@dataclass(frozen=True)
class Person:
    """A person who observed (PS3.16 TID 1003).

    Parameters
    ----------
    name : str
        As DICOM writes names: ``"Family^Given"``.
    organization, login : str, optional
    role : code, optional
        In the organization.
    procedure_role : code, optional
        In this procedure.
    """

    name: str
    organization: str | None = None
    role: Code | None = None
    procedure_role: Code | None = None
    login: str | None = None

    def __post_init__(self) -> None:
        if not str(self.name).strip(" ^"):
            raise EncodingError("a person who observed needs a name, such as 'Family^Given'")
        for name in ("role", "procedure_role"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else parse_code(value))


@dataclass(frozen=True)
class Device:
    """A device or program that observed (PS3.16 TID 1004).

    Parameters
    ----------
    name : str
    uid : str, optional
        By default derived from the name and the rest: the same program has the same one everywhere.
    manufacturer, model, serial_number, location : str, optional
    role : code, optional
        In the procedure.
    """

    name: str = ""
    uid: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial_number: str | None = None
    location: str | None = None
    role: Code | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", None if self.role is None else parse_code(self.role))
        if self.uid is None:
            if not self.name:
                raise EncodingError("a device that observed needs a name, a UID, or both")
            parts = (self.name, self.manufacturer, self.model, self.serial_number)
            object.__setattr__(self, "uid", derived_uid("device observer", *parts))


@dataclass(frozen=True)
class Fetus:
    """A fetus that was observed (PS3.16 TID 1008)."""

    id: str
    mother: str | None = None
    uid: str | None = None
    count: int | None = None


@dataclass(frozen=True)
class Specimen:
    """A specimen that was observed (PS3.16 TID 1009)."""

    uid: str
    id: str | None = None
    container: str | None = None
    type: Code | None = None
    issuer: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", None if self.type is None else parse_code(self.type))


@dataclass(frozen=True)
class DeviceSubject:
    """A device that was observed, such as a phantom (PS3.16 TID 1010)."""

    name: str
    uid: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial_number: str | None = None
    location: str | None = None


Observer: TypeAlias = Person | Device
Subject: TypeAlias = Fetus | Specimen | DeviceSubject


def observer_of(x: Any) -> Observer:
    """A Person or Device; a string is a person's name."""
    if isinstance(x, Person | Device):
        return x
    if isinstance(x, str):
        return Person(x)
    raise EncodingError(f"an observer is a Person, a Device or a person's name, found {type(x).__name__}")


def default_observer(algorithm: Algorithm | None) -> Device:
    """The program that stands for an algorithm; this software where there is none."""
    if algorithm is None or algorithm.is_manual:
        return Device("dicom_ml", manufacturer="dicom_ml", model="dicom_ml")
    model = f"{algorithm.name} {algorithm.version}"[:64].strip()
    return Device(algorithm.name, manufacturer=algorithm.source or "dicom_ml", model=model)


def observer_items(observers: Sequence[Observer]) -> Iterator[ContentItem]:
    """Content items of TID 1002."""
    for observer in observers:
        if isinstance(observer, Person):
            yield code_item(c.OBSERVER_TYPE, c.PERSON, _REL)
            yield ContentItem("PNAME", c.PERSON_NAME, observer.name, _REL)
            yield from _texts([(c.PERSON_LOGIN, observer.login), (c.PERSON_ORGANIZATION, observer.organization)])
            yield from _codes([(c.PERSON_ROLE, observer.role), (c.PERSON_PROCEDURE_ROLE, observer.procedure_role)])
        else:
            yield code_item(c.OBSERVER_TYPE, c.DEVICE, _REL)
            yield uid_item(c.DEVICE_UID, str(observer.uid), _REL)
            yield from _texts(
                [
                    (c.DEVICE_NAME, observer.name),
                    (c.DEVICE_MANUFACTURER, observer.manufacturer),
                    (c.DEVICE_MODEL, observer.model),
                    (c.DEVICE_SERIAL, observer.serial_number),
                    (c.DEVICE_LOCATION, observer.location),
                ]
            )
            yield from _codes([(c.DEVICE_ROLE, observer.role)])


def subject_items(subject: Subject | None) -> Iterator[ContentItem]:
    """Content items of TID 1006; none where the subject is the patient."""
    if isinstance(subject, Fetus):
        yield code_item(c.SUBJECT_CLASS, c.FETUS, _REL)
        if subject.mother:
            yield ContentItem("PNAME", c.MOTHER, subject.mother, _REL)
        if subject.uid:
            yield uid_item(c.SUBJECT_UID, subject.uid, _REL)
        yield text_item(c.SUBJECT_ID, subject.id, _REL)
        if subject.count is not None:
            yield ContentItem("NUM", c.FETUS_COUNT, Number(subject.count, c.ONE), _REL)
    elif isinstance(subject, Specimen):
        yield code_item(c.SUBJECT_CLASS, c.SPECIMEN, _REL)
        yield uid_item(c.SPECIMEN_UID, subject.uid, _REL)
        yield from _texts([(c.SPECIMEN_ID, subject.id), (c.SPECIMEN_ISSUER, subject.issuer)])
        yield from _codes([(c.SPECIMEN_TYPE, subject.type)])
        yield from _texts([(c.SPECIMEN_CONTAINER, subject.container)])
    elif isinstance(subject, DeviceSubject):
        yield code_item(c.SUBJECT_CLASS, c.DEVICE_SUBJECT, _REL)
        yield text_item(c.SUBJECT_DEVICE_NAME, subject.name, _REL)
        if subject.uid:
            yield uid_item(c.SUBJECT_DEVICE_UID, subject.uid, _REL)
        yield from _texts(
            [
                (c.SUBJECT_DEVICE_MANUFACTURER, subject.manufacturer),
                (c.SUBJECT_DEVICE_MODEL, subject.model),
                (c.SUBJECT_DEVICE_SERIAL, subject.serial_number),
                (c.SUBJECT_DEVICE_LOCATION, subject.location),
            ]
        )


def _texts(pairs: Sequence[tuple[Code, str | None]]) -> Iterator[ContentItem]:
    return (text_item(name, value, _REL) for name, value in pairs if value)


def _codes(pairs: Sequence[tuple[Code, Code | None]]) -> Iterator[ContentItem]:
    return (code_item(name, value, _REL) for name, value in pairs if value is not None)


# ---------------------------------------------------------------------- reading
def read_observers(root: ContentItem) -> list[Observer]:
    """Observers of a document, in order; an observer without a type is told by what is said of him."""
    runs: list[dict[Code, Any]] = []
    for item in root.children:
        if item.name is None:
            continue
        starts = item.name == c.OBSERVER_TYPE
        # makers leave the type of the first observer out, who is then a person
        starts = starts or (item.name in (c.PERSON_NAME, c.DEVICE_UID) and (not runs or item.name in runs[-1]))
        if starts:
            runs.append({})
        if runs and item.name in _OBSERVED:
            runs[-1].setdefault(item.name, item.value)
    found: list[Observer] = []
    for run in runs:
        if run.get(c.PERSON_NAME):
            name = str(run[c.PERSON_NAME])
            if name.strip(" ^"):
                found.append(
                    Person(
                        name,
                        run.get(c.PERSON_ORGANIZATION),
                        _a_code(run.get(c.PERSON_ROLE)),
                        _a_code(run.get(c.PERSON_PROCEDURE_ROLE)),
                        run.get(c.PERSON_LOGIN),
                    )
                )
        elif run.get(c.DEVICE_UID) or run.get(c.DEVICE_NAME):
            found.append(
                Device(
                    run.get(c.DEVICE_NAME) or "",
                    run.get(c.DEVICE_UID),
                    run.get(c.DEVICE_MANUFACTURER),
                    run.get(c.DEVICE_MODEL),
                    run.get(c.DEVICE_SERIAL),
                    run.get(c.DEVICE_LOCATION),
                    _a_code(run.get(c.DEVICE_ROLE)),
                )
            )
    return found


_OBSERVED = frozenset(
    [c.OBSERVER_TYPE, c.PERSON_NAME, c.PERSON_LOGIN, c.PERSON_ORGANIZATION, c.PERSON_ROLE, c.PERSON_PROCEDURE_ROLE]
    + [c.DEVICE_UID, c.DEVICE_NAME, c.DEVICE_MANUFACTURER, c.DEVICE_MODEL, c.DEVICE_SERIAL, c.DEVICE_LOCATION]
    + [c.DEVICE_ROLE]
)


def read_subject(root: ContentItem) -> Subject | None:
    """The subject of a document, where it is not the patient."""
    said = {item.name: item.value for item in reversed(root.children) if item.name is not None}
    kind = said.get(c.SUBJECT_CLASS)
    if kind == c.SPECIMEN or (kind is None and said.get(c.SPECIMEN_UID)):
        return Specimen(
            said.get(c.SPECIMEN_UID) or "",
            said.get(c.SPECIMEN_ID),
            said.get(c.SPECIMEN_CONTAINER),
            _a_code(said.get(c.SPECIMEN_TYPE)),
            said.get(c.SPECIMEN_ISSUER),
        )
    if kind == c.FETUS:
        number = said.get(c.FETUS_COUNT)
        count = int(number.value) if isinstance(number, Number) and number.value is not None else None
        name = said.get(c.FETUS_ID) or said.get(c.SUBJECT_ID) or ""
        return Fetus(str(name), said.get(c.MOTHER), said.get(c.SUBJECT_UID), count)
    if kind == c.DEVICE_SUBJECT or (kind is None and said.get(c.SUBJECT_DEVICE_NAME)):
        return DeviceSubject(
            said.get(c.SUBJECT_DEVICE_NAME) or "",
            said.get(c.SUBJECT_DEVICE_UID),
            said.get(c.SUBJECT_DEVICE_MANUFACTURER),
            said.get(c.SUBJECT_DEVICE_MODEL),
            said.get(c.SUBJECT_DEVICE_SERIAL),
            said.get(c.SUBJECT_DEVICE_LOCATION),
        )
    return None


def _a_code(value: Any) -> Code | None:
    return value if isinstance(value, Code) and value.meaning else None


def specimen_of(source: SourceSeries) -> Specimen | None:
    """The specimen that a slide's images describe."""
    if not source.levels or "SpecimenDescriptionSequence" not in source.attributes:
        return None
    ds = source.attribute_dataset()
    items = ds.get("SpecimenDescriptionSequence") or []
    if len(items) != 1 or not items[0].get("SpecimenUID"):
        return None
    types = items[0].get("SpecimenTypeCodeSequence") or []
    return Specimen(
        str(items[0].SpecimenUID),
        str(items[0].get("SpecimenIdentifier") or "") or None,
        str(ds.get("ContainerIdentifier") or "") or None,
        parse_code(types[0]) if types else None,
    )
