"""Planes: what single-frame files and frames of multi-frame files have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from dicom_ml.codes import Code
from dicom_ml.errors import FileError, SeriesError
from dicom_ml.reading.headers import Header, comparable, decimals, parse_items
from dicom_ml.reading.values import LARGEST, LinearMap, TableMap, ValueMap, parse_lut, real_world_maps
from dicom_ml.reading.voi import DisplayTable, Window

__all__ = ["PHASE_ATTRIBUTES", "Plane", "PhaseAttribute", "single_plane"]


@dataclass(frozen=True)
class PhaseAttribute:
    """An attribute that may tell apart images of one position."""

    tag: int
    vr: str
    #: Where it lies in functional groups, if it has a place there; ``tag`` is then not looked up at top level.
    path: tuple[int, ...] | None = None


#: In the order in which they are tried; the times, which nearly always differ, come last.
PHASE_ATTRIBUTES: dict[str, PhaseAttribute] = {
    "StackID": PhaseAttribute(0x00209056, "SH", (0x00209111, 0x00209056)),
    "TemporalPositionIdentifier": PhaseAttribute(0x00200100, "IS"),
    "TemporalPositionIndex": PhaseAttribute(0x00209128, "UL", (0x00209111, 0x00209128)),
    "EchoNumbers": PhaseAttribute(0x00180086, "IS"),
    "EchoTime": PhaseAttribute(0x00180081, "DS"),
    "EffectiveEchoTime": PhaseAttribute(0x00189082, "FD", (0x00189114, 0x00189082)),
    "DiffusionBValue": PhaseAttribute(0x00189087, "FD", (0x00189117, 0x00189087)),
    "DiffusionGradientOrientation": PhaseAttribute(0x00189089, "FD", (0x00189117, 0x00189076, 0x00189089)),
    "InversionTime": PhaseAttribute(0x00180082, "DS"),
    "FlipAngle": PhaseAttribute(0x00181314, "DS", (0x00189112, 0x00181314)),
    "NominalCardiacTriggerDelayTime": PhaseAttribute(0x00209153, "FD", (0x00189118, 0x00209153)),
    "TriggerTime": PhaseAttribute(0x00181060, "DS"),
    "FrameReferenceTime": PhaseAttribute(0x00541300, "DS"),
    "KVP": PhaseAttribute(0x00180060, "DS"),
    "ConvolutionKernel": PhaseAttribute(0x00181210, "SH"),
    "ImageType": PhaseAttribute(0x00080008, "CS"),
    "FrameType": PhaseAttribute(0x00089007, "CS"),
    "AcquisitionNumber": PhaseAttribute(0x00200012, "IS"),
    "FrameAcquisitionNumber": PhaseAttribute(0x00209156, "US", (0x00209111, 0x00209156)),
    "AcquisitionTime": PhaseAttribute(0x00080032, "TM"),
    "FrameReferenceDateTime": PhaseAttribute(0x00189151, "DT", (0x00209111, 0x00189151)),
    "FrameAcquisitionDateTime": PhaseAttribute(0x00189074, "DT", (0x00209111, 0x00189074)),
}


@dataclass(slots=True)
class Plane:
    """One image plane. Geometry is None where the file does not give it."""

    header: Header
    #: Frame in the file, from 0.
    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    between: float | None
    #: Raw functional group values of the frame; None for single-frame files.
    groups: Mapping[str, bytes | None] | None = None
    _attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How messages call the plane."""
        return self.header.name if self.groups is None else f"frame {self.frame + 1} of {self.header.name}"

    def attribute(self, keyword: str) -> str | float | tuple[float, ...]:
        """Value of one of :data:`PHASE_ATTRIBUTES`; empty where absent."""
        if keyword not in self._attributes:
            wanted = PHASE_ATTRIBUTES[keyword]
            value: str | float | tuple[float, ...] = ""
            if self.groups is not None and keyword in self.groups:
                value = comparable(self.groups[keyword], wanted.vr)
            elif self.groups is None or wanted.path is None:
                value = self.header.attribute(wanted.tag)
            self._attributes[keyword] = value
        return self._attributes[keyword]  # type: ignore[no-any-return]

    # ------------------------------------------------------------------ values
    def text(self, name: str, tag: int) -> str:
        """A string value, from the frame's functional groups or the top level."""
        if self.groups is not None:
            raw = self.groups.get(name)
            if raw is not None:
                return raw.decode("latin-1").strip("\0 ")
        return self.header.view.text(tag)

    def modality_map(self) -> ValueMap:
        """Stored values to the values that the modality means (PS3.3 C.11.1)."""
        header = self.header
        if 0x00283000 in header.view:
            items = header.items(0x00283000)
            if items:
                first, _, table = parse_lut(items[0], header.view.integer(0x00280103) == 1)
                return TableMap(first, table)
        return _linear(self.text("slope", 0x00281053), self.text("intercept", 0x00281052), header.name)

    def rescale_type(self) -> str:
        """Rescale Type or Modality LUT Type; empty where absent."""
        found = self.text("rescale_type", 0x00281054)
        if not found and 0x00283000 in self.header.view:
            items = self.header.items(0x00283000)
            found = str(items[0].get("ModalityLUTType", "") or "") if items else ""
        return found

    def real_world(self) -> list[tuple[str, Code | None, ValueMap]]:
        """Label, unit and map of each real-world value mapping."""
        header = self.header
        raw = None if self.groups is None else self.groups.get("real_world")
        if raw:
            return _real_world_of(raw, header.view.implicit, header.name)
        if 0x00409096 in header.view:
            return real_world_maps(header.items(0x00409096))
        return []

    def presets(self) -> tuple[Window | DisplayTable, ...]:
        """Windows, then lookup tables, that the file offers for display. Broken ones are left out."""
        center, width = self.text("window_center", 0x00281050), self.text("window_width", 0x00281051)
        function = self.text("window_function", 0x00281056) or "LINEAR"
        names = self.text("window_name", 0x00281055)
        found: list[Window | DisplayTable] = list(_windows(center, width, function, names))
        raw = None if self.groups is None else self.groups.get("voi_lut")
        header = self.header
        if raw:
            found += _tables(parse_items(raw, 0, len(raw), header.view.implicit, header.name), header)
        elif 0x00283010 in header.view:
            found += _tables(header.items(0x00283010), header)
        return tuple(found)


@lru_cache(maxsize=4096)
def _linear(slope: str, intercept: str, name: str) -> LinearMap:
    a = decimals(slope, 0x00281053, name)[0] if slope else 1.0
    b = decimals(intercept, 0x00281052, name)[0] if intercept else 0.0
    if a == 0:
        raise FileError(f"{name}: Rescale Slope is 0, which makes every pixel alike; expected another number")
    if max(abs(a), abs(b)) > LARGEST:
        raise FileError(f"{name}: Rescale Slope {a:g} and Intercept {b:g} lead out of the range of numbers")
    return LinearMap(a, b)


@lru_cache(maxsize=64)
def _real_world_of(raw: bytes, implicit: bool, name: str) -> list[tuple[str, Code | None, ValueMap]]:
    return real_world_maps(parse_items(raw, 0, len(raw), implicit, name))


@lru_cache(maxsize=1024)
def _windows(center: str, width: str, function: str, names: str) -> tuple[Window, ...]:
    labels = [part.strip() for part in names.split("\\")]
    found = []
    try:
        pairs = zip([float(c) for c in center.split("\\")], [float(w) for w in width.split("\\")], strict=False)
        for number, (c, w) in enumerate(pairs):
            if np.isfinite([c, w]).all() and w > 0:
                found.append(Window(c, w, function, labels[number] if number < len(labels) else ""))
    except ValueError:
        return ()
    return tuple(found)


def _tables(items: list[Any], header: Header) -> list[DisplayTable]:
    found = []
    for item in items:
        try:
            first, bits, table = parse_lut(item, header.view.integer(0x00280103) == 1)
        except SeriesError:
            continue
        top = float(2 ** min(max(bits, 1), 16) - 1)
        name = str(item.get("LUTExplanation", "") or "")
        found.append(DisplayTable(first, np.clip(table / top, 0, 1).astype(np.float32), name))
    return found


def single_plane(header: Header) -> Plane:
    """The plane of a single-frame file (PS3.3 C.7.6.2)."""
    return Plane(
        header=header,
        frame=0,
        position=header.numbers(0x00200032, 3),
        orientation=_cached(header.view.text(0x00200037), 0x00200037, header.name, 6),
        spacing=_cached(header.view.text(0x00280030), 0x00280030, header.name, 2),
        thickness=_optional(header.view.text(0x00180050)),
        between=_optional(header.view.text(0x00180088)),
    )


@lru_cache(maxsize=1024)
def _parsed(text: str, tag: int, count: int) -> tuple[float, ...]:
    return decimals(text, tag, "", count)


def _cached(text: str, tag: int, name: str, count: int) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        return _parsed(text, tag, count)
    except FileError:
        return decimals(text, tag, name, count)  # with the file's name


@lru_cache(maxsize=256)
def _optional(text: str) -> float | None:
    """A length in mm that is used only where nothing better is known: broken ones count as absent."""
    try:
        value = float(text.split("\\")[0])
    except ValueError:
        return None
    return abs(value) if np.isfinite(value) and value != 0 else None
