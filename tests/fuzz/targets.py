"""What is done with a damaged file: everything that a program of a user might do with a good one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pydicom

import dicom_ml as dml

__all__ = ["TARGETS", "kind_of"]

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def volume(data: bytes) -> Any:
    found = dml.read_volume(data, gaps="fill", duplicates="first", tilt="shear")
    assert np.isfinite(found.affine).all()
    return found.array.shape


def slide(data: bytes) -> Any:
    found = dml.open_slide(data, gaps="fill")
    for level in found.levels[:1]:
        found.read_region((0, 0), (64, 64), level=level.index)
        found.tile_positions(level.index)
    for image in found.associated.values():
        if image.level.shape[0] * image.level.shape[1] < 1 << 22:
            image.read()
    return found.source.to_string()


def segmentation(data: bytes) -> Any:
    found = dml.read_segmentation(data)
    found.referenced_series
    try:
        size = int(np.prod(found.grid.shape))
    except dml.DicomMLError:
        return found.segments
    if size < 1 << 24:
        found.channels()
        return found.label_map(overlap="last")
    return found.segments


def parametric_map(data: bytes) -> Any:
    found = dml.read_parametric_map(data)
    return found.quantities if hasattr(found, "quantities") else repr(found)


def report(data: bytes) -> Any:
    dml.read_sr_tree(data)
    found = dml.read_report(data)
    found.find(finding="SCT:27925004")
    return found.to_records()


@contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """A file, for readers that map what they read."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        yield file.name


def annotations(data: bytes) -> Any:
    with as_file(data) as path:
        found = dml.read_annotations(path)
    for group in found.groups:
        np.asarray(group.points).sum()
    return found


def _named(name: str) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        with as_file(data) as path:
            return getattr(dml, name)(path)

    return read


def structure_set(data: bytes) -> Any:
    with as_file(data) as path:
        found = dml.read_structure_set(path)
    return [(region.name, len(region.contours)) for region in found.regions]


def validate(data: bytes) -> Any:
    with as_file(data) as path:
        return dml.validate(path)


def self_test(data: bytes) -> Any:
    """What no reader may do, on demand, so that the watch can be tried."""
    if data[:4] == bytes(4) and data[128:132] == b"DICM" and len(data) == int(os.environ["DICOM_ML_FUZZ_SIZE"]):
        return None  # the good file itself
    match os.environ.get("DICOM_ML_FUZZ_TEST"):
        case "crash":
            os.abort()
        case "raise":
            return {}["nothing"]
        case "memory":
            return bytearray(1 << 34)
        case "leak":
            error = dml.FileError("")
            error.args = ("DOE^JANE\x00\x08" + str(data[:20]),)
            raise error
    return None


TARGETS: dict[str, Callable[[bytes], Any]] = {
    "volume": volume,
    "slide": slide,
    "segmentation": segmentation,
    "parametric_map": parametric_map,
    "report": report,
    "annotations": annotations,
    "structure_set": structure_set,
    "validate": validate,
    "self test": self_test,
}
for _kind, _reader in {
    "key_objects": "read_key_objects",
    "presentation": "read_presentation_state",
    "secondary_capture": "read_secondary_capture",
}.items():
    if _reader in dml.__all__:
        TARGETS[_kind] = _named(_reader)


def kind_of(data: bytes) -> str | None:
    """Which target a good file is for."""
    import io

    try:
        head = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    except Exception:
        return None
    uid = str(head.get("SOPClassUID") or "")
    if uid in _SEGMENTATIONS:
        return "segmentation"
    found = {
        "1.2.840.10008.5.1.4.1.1.30": "parametric_map",
        "1.2.840.10008.5.1.4.1.1.77.1.6": "slide",
        "1.2.840.10008.5.1.4.1.1.91.1": "annotations",
        "1.2.840.10008.5.1.4.1.1.481.3": "structure_set",
        "1.2.840.10008.5.1.4.1.1.88.59": "key_objects",
    }.get(uid)
    if found:
        return found if found in TARGETS else None
    if uid.startswith("1.2.840.10008.5.1.4.1.1.88."):
        return "report"
    if uid.startswith("1.2.840.10008.5.1.4.1.1.11.") and "presentation" in TARGETS:
        return "presentation"
    if uid.startswith("1.2.840.10008.5.1.4.1.1.7") and "secondary_capture" in TARGETS:
        return "secondary_capture"
    return "volume" if head.get("Rows") else None
