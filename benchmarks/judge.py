"""Read a written segmentation by pydicom alone and hold it against the truth. Slow and plain on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.phantom import ORIGIN, SPACING
from benchmarks.registry import Case, WrongResult


def frames(path: Path, case: Case) -> Iterator[tuple[int | None, int, np.ndarray]]:
    """Yield (segment number, slice, values) of every frame; the number is None in a LABELMAP."""
    from pydicom import dcmread

    if not path.is_file():
        raise WrongResult("no file was written")
    ds = dcmread(path)
    if (ds.Rows, ds.Columns) != case.size.shape[1:]:
        raise WrongResult(f"frames of {ds.Rows} x {ds.Columns} pixels")
    shared = ds.SharedFunctionalGroupsSequence[0]
    count = int(ds.NumberOfFrames)
    groups = ds.PerFrameFunctionalGroupsSequence
    if len(groups) != count:
        raise WrongResult(f"{count} frames but {len(groups)} functional groups")
    for group, values in zip(groups, _pixels(ds, count), strict=True):
        plane = group.get("PlanePositionSequence") or shared.get("PlanePositionSequence")
        at = [float(value) for value in plane[0].ImagePositionPatient]
        d = (at[2] - ORIGIN[2]) / SPACING[0]
        away = max(abs(at[0] - ORIGIN[0]), abs(at[1] - ORIGIN[1]), abs(d - round(d)) * SPACING[0])
        if away > 0.01 or not 0 <= round(d) < case.size.slices:
            raise WrongResult(f"a frame at {at} is not on the source's grid")
        if ds.SegmentationType == "LABELMAP":
            number = None
        else:
            identified = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
            number = int(identified[0].ReferencedSegmentNumber)
        yield number, round(d), values


def _pixels(ds, count: int) -> Iterator[np.ndarray]:  # type: ignore[no-untyped-def]
    from pydicom.encaps import generate_frames

    shape = (ds.Rows, ds.Columns)
    size = ds.Rows * ds.Columns
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        data = np.frombuffer(ds.PixelData, np.uint8)
        if ds.BitsAllocated == 1:
            data = np.unpackbits(data, bitorder="little")
        dtype = np.dtype("<u2") if ds.BitsAllocated == 16 else np.dtype(np.uint8)
        data = data[: count * size * dtype.itemsize].view(dtype)
        yield from data.reshape(count, *shape)
        return
    from pydicom.uid import RLELossless

    if ds.file_meta.TransferSyntaxUID != RLELossless:
        raise WrongResult(f"no judge for transfer syntax {ds.file_meta.TransferSyntaxUID.name}")
    import imagecodecs

    dtype = np.dtype(np.uint16 if ds.BitsAllocated == 16 else np.uint8)
    for code in generate_frames(ds.PixelData, number_of_frames=count):
        yield np.frombuffer(imagecodecs.dicomrle_decode(code, dtype), dtype)[:size].reshape(shape)


def compare_labels(labels: np.ndarray, truth: np.ndarray) -> None:
    """Raise unless two label maps are equal."""
    labels = np.asarray(labels)
    if labels.shape != truth.shape:
        raise WrongResult(f"shape {labels.shape}, expected {truth.shape}")
    wrong = sum(int(np.count_nonzero(labels[d] != truth[d])) for d in range(truth.shape[0]))
    if wrong:
        raise WrongResult(f"{wrong} of {truth.size} voxels have the wrong label")


def check_labels(dataset: str):  # type: ignore[no-untyped-def]
    """The check of a row that writes a BINARY or LABELMAP object of a label map."""

    def check(case: Case, _: object) -> None:
        labels = np.zeros(case.size.shape, np.uint16)
        for number, d, values in frames(case.output, case):
            if number is None:
                labels[d] = values
            else:
                labels[d][values != 0] = number
        compare_labels(labels, case.array(dataset, "labels.npy", mapped=True))

    return check


def check_fractional(case: Case, _: object) -> None:
    """Every frame within one level of 255, and no frame missing that holds a level above 0."""
    info = case.info("probability-20")
    expected = {}
    for number, box in enumerate(info["boxes"], start=1):
        values = case.array("probability-20", f"organ-{number}.npy")
        rows, columns = slice(*box[1]), slice(*box[2])
        for d in range(*box[0]):
            expected[number, d] = values[d - box[0][0]], rows, columns
    found = set()
    for number, d, values in frames(case.output, case):
        assert number is not None
        found.add((number, d))
        whole = np.zeros(case.size.shape[1:], np.float32)
        if (number, d) in expected:
            part, rows, columns = expected[number, d]
            whole[rows, columns] = part
        off = np.abs(values.astype(np.float32) - whole * 255).max()
        if off > 1:
            raise WrongResult(f"segment {number}, slice {d}: off by {off:.1f} of 255")
    for key, (part, _, _) in expected.items():
        if key not in found and part.max() * 255 >= 1:
            raise WrongResult(f"segment {key[0]} has no frame for slice {key[1]}")
