"""Objects of every kind that the package writes, as data sets, with the source of each."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset

import dicom_ml as dml
from tests.objects.annotations.test_annotations import AREA, group
from tests.objects.key_objects.test_key_objects import NAMES as SELECTIONS
from tests.objects.key_objects.test_key_objects import selection
from tests.objects.presentation.scenes import NAMES as STATES
from tests.objects.presentation.scenes import state_of
from tests.objects.report.scenes import slide as report_slide
from tests.objects.report.test_conformance import NAMES as REPORTS
from tests.objects.report.test_conformance import report_of
from tests.objects.secondary_capture.test_secondary_capture import SHAPES, capture
from tests.objects.segmentation.scenes import axial, channels, label_map, oblique, segments, source_on
from tests.objects.segmentation.test_tiled import slide_source

ADC = "DCM:113041"


def _seg(kind: str, grid: Any = None, compression: str | None = None, multiframe: bool = False, **more: Any) -> Any:
    source = source_on(grid or axial(), multiframe=multiframe)
    mask = label_map(source.grid.shape) if kind != "fractional" else channels(source.grid.shape).astype(np.float32) / 2
    return (
        dml.Segmentation.from_array(mask, source=source, segments=segments(3), kind=kind, **more),
        source,
        compression,
    )


def _slide_seg(kind: str, sparse: bool = True, **more: Any) -> Any:
    source = slide_source()
    mask = np.zeros((150, 210), np.uint8)
    mask[20:60, 30:100], mask[100:140, 150:180] = 1, 2
    given = mask if kind != "fractional" else np.stack([mask == 1, mask == 2]).astype(np.float32)
    return dml.Segmentation.from_array(given, source=source, segments=segments(2), kind=kind, **more), source, None


def _map(grid: Any = None, slide: bool = False, **more: Any) -> Any:
    source = slide_source() if slide else source_on(grid or axial())
    shape = (150, 210) if slide else source.grid.shape
    array = np.random.default_rng(0).random(shape).astype(more.pop("of", "float32"))
    made = dml.ParametricMap.from_array(array, source=source, quantity=ADC, unit="mm2/s", **more)
    return made, source, None


def _annotations(**options: Any) -> Any:
    source = slide_source()
    kinds = ("polygon", "polyline", "point", "ellipse", "rectangle")
    dims = options.pop("dims", 2)
    groups = [group(kind, dims, label=kind) for kind in kinds]
    areas = np.arange(50, dtype=np.float32)
    sparse = areas.copy()
    sparse[::3] = np.nan
    groups.append(group("polygon", dims, label="all", measurements={AREA: areas}))
    groups.append(group("polygon", dims, label="some", measurements={AREA: sparse}))
    return dml.Annotations.from_groups(groups, source=source, **options), source, None


def _report(name: str) -> Any:
    plain = name in ("regions", "regions-in-space", "comprehensive", "enhanced", "images", "no-library", "all-said")
    source = report_slide() if name.startswith("slide") else source_on(oblique()) if plain else None
    return report_of(name), source, None


KINDS: dict[str, Callable[[], Any]] = {
    **{f"seg {kind}": lambda kind=kind: _seg(kind) for kind in ("binary", "labelmap", "fractional")},
    **{f"seg {kind} oblique": lambda kind=kind: _seg(kind, oblique()) for kind in ("binary", "labelmap")},
    **{
        f"seg {kind} {c}": lambda kind=kind, c=c: _seg(kind, compression=c)
        for kind, c in (("binary", "rle"), ("labelmap", "jpeg-ls"), ("labelmap", "jpeg2000"), ("fractional", "deflate"))
    },
    "seg of frames": lambda: _seg("binary", multiframe=True),
    "seg on its own grid": lambda: _seg("binary", affine=axial((9, 40, 64), (2, 0.5, 0.5)).affine),
    **{f"slide seg {kind}": lambda kind=kind: _slide_seg(kind) for kind in ("binary", "labelmap", "fractional")},
    "map": _map,
    "map oblique": lambda: _map(oblique()),
    "map of doubles": lambda: _map(of="float64"),
    "map of integers": lambda: _map(dtype="uint16"),
    "slide map": lambda: _map(slide=True),
    "annotations": _annotations,
    "annotations in space": lambda: _annotations(dims=3),
    **{f"report {name}": lambda name=name: _report(name) for name in REPORTS},
    **{f"selection {name}": lambda name=name: (selection(name), None, None) for name in SELECTIONS},
    **{f"state {name}": lambda name=name: (state_of(name), None, None) for name in STATES},
    **{f"capture {name}": lambda name=name: (capture(name), None, None) for name in SHAPES},
}


@cache
def _written(name: str, folder: str) -> tuple[Path, Any]:
    made, source, compression = KINDS[name]()
    path = Path(folder) / f"{name.replace(' ', '-')}.dcm"
    if compression:
        made.save(path, compression)
    else:
        made.save(path)
    return path, source


def written(name: str, folder: Path) -> tuple[Path, Any]:
    """The file of an object, and its source or None; written once."""
    return _written(name, str(folder))


def dataset(name: str, folder: Path) -> tuple[Dataset, Any]:
    """A data set of its own of an object, to be changed, and its source."""
    path, source = written(name, folder)
    return pydicom.dcmread(io.BytesIO(path.read_bytes())), source
