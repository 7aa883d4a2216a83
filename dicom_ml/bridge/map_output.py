"""From a prediction to a parametric map: the counterpart of :class:`~dicom_ml.bridge.output.SegmentationOutput`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.output import MISMATCHES, as_algorithm, place_on_source
from dicom_ml.bridge.results import NamedResults, Written, plain
from dicom_ml.errors import EncodingError
from dicom_ml.objects.parametric_map import ParametricMap, Quantity
from dicom_ml.objects.parametric_map.tiled import MapStream
from dicom_ml.source import SourceSeries, as_source

__all__ = ["ParametricMapOutput", "as_quantities"]

Array = npt.NDArray[Any]
# Arguments of ParametricMap.from_array that its stream does not have.
_WHOLE_ONLY = ("padding",)


def as_quantities(quantity: Any, unit: Any = "1") -> tuple[Quantity, ...]:
    """Quantities from what a program or a configuration file holds.

    Parameters
    ----------
    quantity : Quantity, code, mapping of Quantity's parameters, list of these, or path of a JSON file that holds such
    unit : code
        For quantities that are given as codes.
    """
    if isinstance(quantity, os.PathLike) or (isinstance(quantity, str) and quantity.endswith(".json")):
        quantity = json.loads(Path(quantity).read_text(encoding="utf-8"))
    # a tuple of texts is one code: value, scheme and meaning
    several = isinstance(quantity, list) or (
        isinstance(quantity, tuple) and not all(isinstance(part, str) for part in quantity)
    )
    found = []
    for item in quantity if several else [quantity]:
        if isinstance(item, Mapping):
            parts = {"unit": unit, **item}
            if isinstance(parts.get("concept"), list):
                parts["concept"] = tuple(parts["concept"])
            item = Quantity(**parts)
        found.append(item if isinstance(item, Quantity) else Quantity(item, unit))
    if not found:
        raise EncodingError("a parametric map has at least one quantity; pass quantity=dicom_ml.Quantity(...)")
    return tuple(found)


@dataclass(frozen=True)
class ParametricMapOutput(NamedResults):
    """How predictions become DICOM parametric maps.

    Parameters
    ----------
    quantities : sequence of Quantity
        One for each channel written.
    channels : sequence of int, optional
        Channels of the prediction that are written, one for each quantity; by default all.
    algorithm : Algorithm, mapping or None
    dtype : str, optional
        ``"float32"``, ``"float64"`` or ``"uint16"``, as of :meth:`ParametricMap.from_array`.
    value_range : sequence of 2 floats, optional
    compression : str, optional
        Of maps of integers only.
    on_mismatch : {"error", "own-grid", "resample"}
        See :func:`dicom_ml.bridge.output.place_on_source`.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.results.NamedResults`.
    options : mapping
        Further arguments of :meth:`ParametricMap.from_array`.
    settings : mapping
        Settings of the caller that change the result.
    """

    ending = "pm"
    quantities: tuple[Quantity, ...]
    channels: Sequence[int] | None = None
    algorithm: Any = None
    dtype: str | None = None
    value_range: Sequence[float] | None = None
    compression: str | None = None
    on_mismatch: str = "error"
    filename: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantities", as_quantities(list(self.quantities)))
        object.__setattr__(self, "algorithm", as_algorithm(self.algorithm))
        if self.value_range is not None:
            low, high = self.value_range
            object.__setattr__(self, "value_range", (float(low), float(high)))
        if self.channels is not None:
            object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
            if len(self.channels) != len(self.quantities):
                raise EncodingError(f"{len(self.channels)} channels are chosen for {len(self.quantities)} quantities")
        if self.on_mismatch not in MISMATCHES:
            raise EncodingError(f"on_mismatch is one of {', '.join(MISMATCHES)}, found {self.on_mismatch!r}")
        self.check_filename()

    def facts(self) -> dict[str, Any]:
        """What results follow from beside source and model."""
        return {
            "quantities": [plain(q) for q in self.quantities],
            "channels": plain(self.channels),
            "algorithm": plain(self.algorithm),
            "storage": [self.dtype, plain(self.value_range)],
            "on_mismatch": self.on_mismatch,
            "options": plain(dict(self.options)),
            "settings": plain(dict(self.settings)),
        }

    @property
    def algorithm_name(self) -> str:
        """Name of the algorithm."""
        return "" if self.algorithm is None else self.algorithm.name

    def values(self, array: Array) -> Array:
        """The channels that are written of a prediction ``(C, ...)``.

        Raises
        ------
        EncodingError
            If there are not as many as quantities.
        """
        if self.channels is not None:
            if max(self.channels) >= len(array):
                raise EncodingError(f"channels {self.channels} are chosen, and the prediction has {len(array)}")
            array = array[list(self.channels)]
        if len(array) != len(self.quantities):
            raise EncodingError(
                f"{len(array)} channels, {len(self.quantities)} quantities: describe every channel, or choose some "
                "with channels="
            )
        return array.astype(np.uint8) if array.dtype == np.bool_ else array

    # ------------------------------------------------------------------ volumes
    def write(
        self,
        array: Array,
        affine: npt.ArrayLike,
        source: Any,
        folder: str | os.PathLike[str],
        *,
        model: str = "",
        path: str | os.PathLike[str] | None = None,
    ) -> Written:
        """Write a prediction of a volume; an earlier file of the same name is replaced in one step.

        Parameters
        ----------
        array : ndarray of shape (C, D, H, W)
        affine : array_like of shape (4, 4)
            Maps the prediction's ``(d, h, w)`` to LPS millimetres.
        source : SourceSeries, or what :func:`dicom_ml.source.as_source` takes
        folder : path
            Made where missing.
        model : str
            What tells this model from others; it takes part in the UIDs.
        path : path, optional
            Write exactly there instead.
        """
        record = as_source(source).check()
        target = self.path(record, folder, model) if path is None else Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        placed, own = place_on_source(self.values(array), affine, record, self.on_mismatch)
        uids = self.record(record, target, model, written=True)
        made = ParametricMap.from_array(
            placed, source=record, affine=own, **self._described(), **self._identified(uids)
        )
        made.save(target, compression=self.compression)
        return uids

    def _described(self) -> dict[str, Any]:
        dtype = {} if self.dtype is None else {"dtype": self.dtype}
        return {
            "quantity": list(self.quantities),
            "value_range": self.value_range,
            "algorithm": self.algorithm,
            **dtype,
        }

    def _identified(self, uids: Written) -> dict[str, Any]:
        return {
            **{k: v for k, v in self.options.items() if k != "tile_size"},
            "sop_instance_uid": uids.sop_instance_uid,
            "series_instance_uid": uids.series_instance_uid,
        }

    # ------------------------------------------------------------------ slides
    #: How predictions of tiles wait on disk.
    spool_type = "<f4"

    def tile(self, array: Array) -> Array:
        """Channels ``(C, rows, columns)`` of a prediction of a tile."""
        return self.values(array)

    def needs_bytes(self) -> bool:
        """Whether frames must have a multiple of 8 pixels."""
        return False

    def stream(self, path: Path, source: SourceSeries, uids: Written, shard: str, **place: Any) -> MapStream:
        """A stream of tiles; ``place`` as of :meth:`ParametricMap.stream`. Tiles that never come are left out."""
        options = {k: v for k, v in self._identified(uids).items() if k not in _WHOLE_ONLY}
        settings = {"organization": "sparse", **self._described(), **options}
        return ParametricMap.stream(path, source=source, compression=self.compression, shard=shard, **settings, **place)

    def whole(self, array: Array, path: Path, source: SourceSeries, uids: Written, **place: Any) -> None:
        """Write a matrix of a slide; ``place`` as of :meth:`ParametricMap.from_array`."""
        settings = {**self._described(), **self._identified(uids)}
        ParametricMap.from_array(array, source=source, **settings, **place).save(path, compression=self.compression)
