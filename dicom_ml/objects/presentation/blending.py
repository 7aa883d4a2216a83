"""Several series shown as one: inputs, and how they are blended (PS3.3 A.33.7, C.11.14, C.11.30)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.presentation.lookup import VOI, LookupTable, Rescale, as_voi, read_table, read_voi_items
from dicom_ml.objects.presentation.palettes import Palette

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Blend", "BlendInput", "Threshold", "blend_arrays", "read_blends", "read_threshold"]

FloatArray = npt.NDArray[np.float64]
THRESHOLDS = {
    "inside": "RANGE_INCL",
    "outside": "RANGE_EXCL",
    ">=": "GREATER_OR_EQUAL",
    "<=": "LESS_OR_EQUAL",
    ">": "GREATER_THAN",
    "<": "LESS_THAN",
}


@dataclass(frozen=True)
class Threshold:
    """Which values of an input are shown at all (PS3.3 C.11.30).

    Parameters
    ----------
    kind : str
        ``"inside"`` or ``"outside"`` two values, or ``">="``, ``"<="``, ``">"``, ``"<"`` than one.
    values : sequence of float
        In real-world or rescaled values of the input.
    """

    kind: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        given = self.values
        values = (float(given),) if np.isscalar(given) else tuple(float(v) for v in given)  # type: ignore[arg-type]
        object.__setattr__(self, "values", values)
        if self.kind not in THRESHOLDS:
            raise EncodingError(f"a threshold is one of {', '.join(THRESHOLDS)}, found {self.kind!r}")
        wanted = 2 if self.kind in ("inside", "outside") else 1
        if len(self.values) != wanted or not np.isfinite(self.values).all():
            raise EncodingError(f"a threshold {self.kind!r} has {wanted} finite values, found {self.values}")

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which values are shown."""
        x = np.asarray(values)
        low, high = self.values[0], self.values[-1]
        tests = {
            "inside": lambda: (x >= low) & (x <= high),
            "outside": lambda: (x < low) | (x > high),
            ">=": lambda: x >= low,
            "<=": lambda: x <= low,
            ">": lambda: x > low,
            "<": lambda: x < low,
        }
        return np.asarray(tests[self.kind]())

    def to_dataset(self) -> Dataset:
        """The item of Threshold Sequence."""
        from pydicom import Dataset

        item = Dataset()
        item.ThresholdType = THRESHOLDS[self.kind]
        item.ThresholdValueSequence = []
        for value in self.values:
            one = Dataset()
            one.ThresholdValue = value
            item.ThresholdValueSequence.append(one)
        return item


@dataclass(frozen=True)
class BlendInput:
    """A series, or some of its images, that takes part in a blend.

    Parameters
    ----------
    source : Volume, SourceSeries, str, list of pydicom Dataset, or an object of this package such as a ParametricMap
        None of a state that is read.
    voi : Window, (center, width), LookupTable or sequence of VOI, optional
        A volume's own window by default; images in colour have none.
    palette : Palette or str, optional
        By which grey becomes colour, such as ``"hot iron"``; without one, grey stays grey.
    threshold : Threshold, optional
        What is shown at all.
    images : sequence, optional
        Of the source; all by default.
    geometry : bool, optional
        Whether the blend is shown on this input's planes; one of them has it, by default the first.
    registration : Reference or object, optional
        Spatial registration that leads to the frame of reference of the blend, where that is not the input's own.
    references : tuple of Reference
        Of a state that is read.
    number : int
        By which blends name it, from 1; by default its place.
    rescale : Rescale or LookupTable, optional
        Of a state that is read and holds one.
    """

    source: Any = None
    voi: Any = None
    palette: Palette | str | None = None
    threshold: Threshold | None = None
    images: Sequence[Any] | None = None
    geometry: bool | None = None
    registration: Any = None
    references: tuple[Any, ...] = ()
    number: int = 0
    rescale: Rescale | LookupTable | None = None
    study_instance_uid: str = field(default="", kw_only=True)
    series_instance_uid: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if isinstance(self.palette, str):
            set_(self, "palette", Palette.named(self.palette))
        set_(self, "voi", as_voi(self.voi))

    def colors(self, values: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Colours ``(..., 3)`` from 0 to 1 of values, and which are shown.

        Values of shape (..., 3) of uint8 are in colour already.
        """
        x = np.asarray(values)
        if x.ndim >= 3 and x.shape[-1] == 3 and x.dtype == np.uint8 and not self.voi:
            return x / 255.0, np.ones(x.shape[:-1], dtype=bool)
        shown = np.isfinite(x) if self.threshold is None else self.threshold.apply(x)
        if not self.voi:
            raise EncodingError(f"input {self.number} of the blend has no window, by which its values become grey")
        unit = self.voi[0].transform.apply(np.nan_to_num(np.asarray(x, dtype=np.float64)))
        assert not isinstance(self.palette, str)
        if self.palette is None:
            return np.repeat(unit[..., None], 3, axis=-1), shown
        return self.palette.apply(unit) / 255.0, shown


@dataclass(frozen=True)
class Blend:
    """One step of blending.

    Parameters
    ----------
    inputs : sequence of int
        Numbers of inputs, or of blends before; of a foreground, it is the first, over the second.
    mode : str
        ``"equal"``: the mean of all inputs that are shown; ``"foreground"``: the first over the second.
    opacity : float
        Of the foreground, from 0 to 1.
    number : int
        By which later blends name its result; 0 of the last one, which is what is shown.
    """

    inputs: tuple[int, ...]
    mode: str = "equal"
    opacity: float = 0.5
    number: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(int(i) for i in self.inputs))
        if self.mode not in ("equal", "foreground"):
            raise EncodingError(f"a blend's mode is 'equal' or 'foreground', found {self.mode!r}")
        if not self.inputs or (self.mode == "foreground" and len(self.inputs) != 2):
            raise EncodingError("a blend has inputs, one with a foreground exactly two")
        if not 0 <= self.opacity <= 1:
            raise EncodingError(f"an opacity lies from 0 to 1, found {self.opacity}")

    def to_dataset(self) -> Dataset:
        """An item of Blending Display Sequence."""
        from pydicom import Dataset

        item = Dataset()
        item.BlendingMode = self.mode.upper()
        if self.mode == "foreground":
            item.RelativeOpacity = self.opacity
        if self.number:
            item.BlendingInputNumber = self.number
        item.BlendingDisplayInputSequence = []
        for number in self.inputs:
            one = Dataset()
            one.BlendingInputNumber = number
            item.BlendingDisplayInputSequence.append(one)
        return item


def check_blends(numbers: Sequence[int], blends: Sequence[Blend]) -> None:
    """Whether every blend uses what there is, and the last one is what is shown.

    Raises
    ------
    EncodingError
        Naming what is not there, or not used.
    """
    known, used = set(numbers), set()
    for place, blend in enumerate(blends):
        missing = set(blend.inputs) - known
        if missing:
            raise EncodingError(f"a blend uses input {min(missing)}, which is neither an input nor a blend before it")
        used |= set(blend.inputs)
        last = place == len(blends) - 1
        if last != (blend.number == 0):
            raise EncodingError("every blend but the last has a number, by which a later one uses it")
        if blend.number in known:
            raise EncodingError(f"number {blend.number} is given twice")
        known.add(blend.number)
    if known - used - {0}:
        raise EncodingError(f"input {min(known - used - {0})} takes part in no blend")


def blend_arrays(
    inputs: Sequence[BlendInput], blends: Sequence[Blend], arrays: Mapping[int, npt.ArrayLike]
) -> npt.NDArray[np.uint8]:
    """The picture, uint8 ``(..., 3)``, of arrays of the inputs' values, all on one grid.

    Raises
    ------
    EncodingError
        If an input has no array, or shapes differ.
    """
    results: dict[int, tuple[FloatArray, npt.NDArray[np.bool_]]] = {}
    for one in inputs:
        if one.number not in arrays:
            raise EncodingError(f"input {one.number} of the blend has no array; give {[i.number for i in inputs]}")
        results[one.number] = one.colors(arrays[one.number])
    if len({r[0].shape for r in results.values()}) != 1:
        shapes = {n: r[0].shape[:-1] for n, r in results.items()}
        raise EncodingError(f"arrays of a blend lie on one grid, found shapes {shapes}; resample them to one first")
    for blend in blends:
        colors, shown = zip(*(results[n] for n in blend.inputs), strict=True)
        if blend.mode == "foreground":
            weight = [np.where(shown[0], np.where(shown[1], blend.opacity, 1.0), 0.0)]
            weight.append(np.where(shown[1], 1.0 - weight[0], 0.0))
        else:
            count = np.maximum(np.sum(shown, axis=0), 1)
            weight = [s / count for s in shown]
        mixed = sum(w[..., None] * c for w, c in zip(weight, colors, strict=True))
        results[blend.number] = np.asarray(mixed, dtype=np.float64), np.any(shown, axis=0)
    return np.rint(results[0][0] * 255).astype(np.uint8)


# ---------------------------------------------------------------------- reading
def read_threshold(item: Dataset) -> Threshold | None:
    """Threshold of any maker; None where there is none."""
    for one in item.get("ThresholdSequence") or []:
        kind = {v: k for k, v in THRESHOLDS.items()}.get(str(one.get("ThresholdType") or ""))
        values = tuple(float(v.ThresholdValue) for v in one.get("ThresholdValueSequence") or [])
        if kind is None:
            raise FileError(f"a threshold is of unknown type {one.get('ThresholdType')!r}")
        try:
            return Threshold(kind, values)
        except EncodingError as error:
            raise FileError(str(error)) from error
    return None


def read_rescale(ds: Dataset) -> Rescale | LookupTable | None:
    """Modality LUT of any maker; None where there is none."""
    if ds.get("ModalityLUTSequence"):
        return read_table(ds.ModalityLUTSequence[0])
    if ds.get("RescaleSlope") in (None, ""):
        return None
    try:
        kind = str(ds.get("RescaleType") or "US")
        return Rescale(float(ds.RescaleSlope), float(ds.get("RescaleIntercept") or 0), kind)
    except (EncodingError, ValueError) as error:
        raise FileError(f"a rescale is no slope and intercept: {error}") from error


def read_inputs(ds: Dataset, references: Any, voi_images: Any) -> list[BlendInput]:
    """Inputs of an advanced blending, or of a blending, of any maker."""
    found = []
    for place, item in enumerate(ds.get("AdvancedBlendingSequence") or [], start=1):
        palette = item.get("PaletteColorLookupTableSequence") or []
        uids = str(item.get("StudyInstanceUID") or ""), str(item.get("SeriesInstanceUID") or "")
        registrations = item.get("ReferencedSpatialRegistrationSequence") or []
        found.append(
            BlendInput(
                voi=_voi(item, voi_images),
                palette=Palette.from_dataset(palette[0]) if palette else None,
                threshold=read_threshold(item),
                geometry=str(item.get("GeometryForDisplay") or "").upper() in ("YES", "TRUE"),
                registration=registrations[0] if registrations else None,
                references=references(item, *uids),
                number=int(item.get("BlendingInputNumber") or place),
                study_instance_uid=uids[0],
                series_instance_uid=uids[1],
            )
        )
    for place, item in enumerate(ds.get("BlendingSequence") or [], start=1):
        under = str(item.get("BlendingPosition") or "").upper() == "UNDERLYING"
        study = str(item.get("StudyInstanceUID") or "")
        series = item.get("ReferencedSeriesSequence") or []
        listed = tuple(r for s in series for r in references(s, study, str(s.get("SeriesInstanceUID") or "")))
        found.append(
            BlendInput(
                voi=_voi(item, voi_images),
                palette=None if under else Palette.from_dataset(ds),
                geometry=under,
                references=listed,
                number=place,
                rescale=read_rescale(item),
                study_instance_uid=study,
                series_instance_uid=str(series[0].get("SeriesInstanceUID") or "") if series else "",
            )
        )
    return found


def _voi(item: Dataset, voi_images: Any) -> tuple[VOI, ...]:
    return tuple(v for one in item.get("SoftcopyVOILUTSequence") or [] for v in read_voi_items(one, voi_images(one)))


def read_blends(ds: Dataset, inputs: Sequence[BlendInput]) -> list[Blend]:
    """Steps of an advanced blending, or the one of a blending, of any maker."""
    found = []
    for item in ds.get("BlendingDisplaySequence") or []:
        listed = tuple(int(i.get("BlendingInputNumber") or 0) for i in item.get("BlendingDisplayInputSequence") or [])
        opacity = item.get("RelativeOpacity")
        try:
            mode = str(item.get("BlendingMode") or "").lower()
            number = int(item.get("BlendingInputNumber") or 0)
            found.append(Blend(listed, mode, 0.5 if opacity is None else _shortest(opacity), number))
        except (EncodingError, ValueError) as error:
            raise FileError(f"a blending display item cannot be used: {error}") from error
    if not found and ds.get("BlendingSequence") and len(inputs) == 2:
        # superimposed over underlying, by Relative Opacity of the superimposed (PS3.3 C.11.14)
        over = [i.number for i in inputs if not i.geometry]
        under = [i.number for i in inputs if i.geometry]
        if len(over) == len(under) == 1:
            found.append(Blend((over[0], under[0]), "foreground", _shortest(ds.get("RelativeOpacity") or 0)))
    return found


def _shortest(value: float) -> float:
    """The number that a 32-bit float was made of."""
    return float(str(np.float32(value)))
