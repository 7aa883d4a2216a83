"""What writes files, each as one call that a process of its own can make and be killed in."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dicom_ml as dml
from dicom_ml.cli.nifti import save_nifti
from dicom_ml.encoding.writer import atomic_file
from dicom_ml.objects.report import Status, Verification
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.view import Page

__all__ = ["WRITERS", "make_source", "read_back"]

SHAPE = (8, 64, 64)


def make_source(folder: Path) -> Path:
    array = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.float32)
    write_ct_series(folder, array, axial_affine(SHAPE, (2.5, 0.8, 0.8), (0, 0, 0)), "faults")
    return folder


def _mask() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, SHAPE).astype(np.uint8)


def _segmentation(source: Path, target: Path, compression: str | None = None) -> None:
    segment = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm="manual")
    made = dml.Segmentation.from_array(_mask(), source=dml.read_volume(source), segments=[segment], kind="labelmap")
    made.save(target, compression=compression)


def _compressed(source: Path, target: Path) -> None:
    _segmentation(source, target, "rle")


def _map(source: Path, target: Path) -> None:
    values = np.random.default_rng(2).random(SHAPE, dtype=np.float32)
    dml.ParametricMap.from_array(values, source=dml.read_volume(source), quantity="DCM:113041", unit="mm2/s").save(
        target
    )


def _verified(source: Path, target: Path) -> None:
    person = Verification("Doe^Jane", "A hospital", datetime.datetime.now().astimezone())
    _report(source, target, status=Status(verified_by=[person]))


def _report(source: Path, target: Path, **options: Any) -> None:
    groups = [
        dml.MeasurementGroup(
            finding="SCT:27925004", tracking_id=f"Nodule {i}", region=dml.Box((1, 2, 3), (4, 9, 12)),
            measurements=[dml.Measurement("SCT:81827009", 7.3, "mm")],
        )
        for i in range(40)
    ]  # fmt: skip
    made_by = dml.Algorithm("NoduleNet", "1.0")
    dml.Report(source=dml.read_volume(source), algorithm=made_by, groups=groups, **options).save(target)


def _nifti(source: Path, target: Path) -> None:
    save_nifti(dml.read_volume(source), target)


def _series(source: Path, target: Path) -> None:
    """A phantom's slice stands for all files that :func:`atomic_file` writes at once."""
    content = sorted(source.iterdir())[0].read_bytes()
    with atomic_file(target) as file:
        file.write(content)


def _page(source: Path, target: Path) -> None:
    page = Page("A page")
    for number in range(200):
        page.text(f"Line {number}")
    page.save(target)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "segmentation": _segmentation,
    "compressed segmentation": _compressed,
    "parametric map": _map,
    "report": _report,
    "verified report": _verified,
    "page": _page,
    "NIfTI": _nifti,
    "any file": _series,
}


def read_back(name: str, path: Path, source: Path) -> None:
    """Fails unless the file is whole."""
    if "segmentation" in name:
        np.testing.assert_array_equal(dml.read_segmentation(path).label_map(on=dml.read_volume(source)), _mask())
    elif name == "parametric map":
        assert np.isfinite(dml.read_parametric_map(path).array).all()
    elif name == "NIfTI":
        assert path.stat().st_size == 352 + int(np.prod(SHAPE)) * 4
    elif name == "page":
        assert path.read_text().rstrip().endswith("</html>")
    elif "report" in name:
        assert len(dml.read_report(path).groups) == 40
    else:
        assert path.read_bytes() == sorted(source.iterdir())[0].read_bytes()
