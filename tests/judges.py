"""Independent readers and validators, asked what they make of a file that we wrote.

A judge that is not installed skips the test and says why; with ``DICOM_ML_REQUIRE_JUDGES=1``, as in CI, it fails
the test instead, so that a green run means that every judge has spoken.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pydicom
import pytest

__all__ = [
    "DcmqiSegments",
    "dciodvfy",
    "dcmdump",
    "dcmp2pgm",
    "dcmpschk",
    "dcmqi_read_seg",
    "dcmqi_read_sr",
    "dsrdump",
    "highdicom_read_seg",
    "highdicom_read_sr",
    "itk_volume",
    "need",
]

LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"


def dciodvfy(path: str | Path) -> list[str]:
    """Errors that dciodvfy (package dicom3tools) finds; an unknown kind of object counts as one.

    The one complaint left out is that Laterality is missing when Body Part Examined is absent: the attribute is of
    type 2C, for paired body parts only, and the tool then cannot know the part.
    """
    done = _run([_program("dciodvfy", "dicom3tools"), "-new", str(path)])
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(Error|Abort|Fatal)\b", line)]
    if "BodyPartExamined" not in pydicom.dcmread(path, stop_before_pixels=True):
        errors = [e for e in errors if not ("Laterality" in e and "Type 2C" in e and "Missing attribute" in e)]
    if not any(re.fullmatch(r"[A-Z]\w+", line) for line in lines):  # it prints the name of the IOD that it checked
        errors.append(f"dciodvfy did not recognise the object: {' / '.join(lines[:3])}")
    return errors


def dcmdump(path: str | Path) -> list[str]:
    """Errors and warnings of DCMTK's parser; never required, because DCMTK comes from no Python package."""
    done = _run([_program("dcmdump", "DCMTK", required=False), "-q", str(path)], check=False)
    lines = [line for line in done.stderr.splitlines() if re.match(r"[WEF]: ", line)]
    return lines or ([f"dcmdump ended with {done.returncode}"] if done.returncode else [])


def highdicom_read_seg(path: str | Path) -> Any:
    """The segmentation as highdicom's own class."""
    return need("highdicom", "highdicom").seg.segread(str(path))


@dataclass
class DcmqiSegments:
    """What dcmqi read: its metadata, and each segment as an array (d, h, w) with its affine to LPS mm.

    Values are 0 and 1, or the stored values of a fractional segmentation.
    """

    meta: dict[str, Any]
    arrays: dict[int, np.ndarray] = field(default_factory=dict)
    affines: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[int, dict[str, Any]]:
        """Segment number -> dcmqi's description of the segment."""
        return {s["labelID"]: s for group in self.meta["segmentAttributes"] for s in group}


def dcmqi_read_seg(path: str | Path, tmp: str | Path) -> DcmqiSegments:
    """Let dcmqi's segimage2itkimage read a segmentation in patient geometry; it writes into a new folder under tmp."""
    program = _program("segimage2itkimage", "dcmqi")
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    out = Path(tmp) / f"dcmqi_{Path(path).stem}"
    out.mkdir(parents=True)
    done = _run([program, "--inputDICOM", str(path), "--outputDirectory", str(out), "--outputType", "nrrd"])
    result = DcmqiSegments(json.loads((out / "meta.json").read_text(encoding="utf-8")))
    files = sorted(out.glob("*.nrrd"))
    assert files, f"dcmqi wrote no image: {done.stdout[-500:]} {done.stderr[-500:]}"
    for file in files:
        array, affine = itk_volume(file)
        if ds.SOPClassUID == LABEL_MAP_SEGMENTATION:
            planes = {int(s.SegmentNumber): array == int(s.SegmentNumber) for s in ds.SegmentSequence}
        elif ds.SegmentationType == "FRACTIONAL":
            planes = {int(file.stem): array}
        else:
            planes = {int(file.stem): array > 0}  # dcmqi stores the segment's number in it
        for number, plane in planes.items():
            if number:
                result.arrays[number], result.affines[number] = plane, affine
    return result


def itk_volume(path: str | Path | list[str]) -> tuple[np.ndarray, np.ndarray]:
    """An image as SimpleITK reads it: array (d, h, w) and the affine from its index to LPS mm."""
    sitk = need("SimpleITK", "SimpleITK")
    image = sitk.ReadImage([str(p) for p in path] if isinstance(path, list) else str(path))
    columns = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = columns[:, ::-1]  # ITK counts (x, y, z), an array (d, h, w)
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def need(module: str, package: str) -> Any:
    """Import a judge's module, or skip (in CI fail) the test."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        _absent(package, str(error))


def _program(name: str, package: str, required: bool = True) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    return found or _absent(package, f"there is no program {name}", required)


def _absent(package: str, why: str, required: bool = True) -> NoReturn:
    message = f"the judge {package} is not installed ({why})"
    if required and os.environ.get("DICOM_ML_REQUIRE_JUDGES") == "1":
        pytest.fail(message)
    pytest.skip(message)


def _run(command: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
    # dciodvfy ends with 1 when it finds errors, which are its answer
    if check and done.returncode not in ((0, 1) if command[0].endswith("dciodvfy") else (0,)):
        pytest.fail(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr[-1000:]}")
    return done


def dsrdump(path: str | Path) -> list[str]:
    """Errors and warnings of DCMTK's reader of structured reports; never required, see :func:`dcmdump`.

    That it cannot check texts in UTF-8, or the template of key objects, is no fault of the report.
    """
    done = _run([_program("dsrdump", "DCMTK", required=False), "+Pc", str(path)], check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if re.match(r"[WEF]: ", line)]
    noise = ("VR checker does not support this Specific Character Set", "Check for template constraints not yet supp")
    lines = [line for line in lines if not any(text in line for text in noise)]
    return lines or ([f"dsrdump ended with {done.returncode}"] if done.returncode else [])


def dcmpschk(path: str | Path) -> list[str]:
    """What DCMTK's checker of presentation states complains of; never required, see :func:`dcmdump`.

    It takes text in UTF-8 for malformed.
    """
    done = _run([_program("dcmpschk", "DCMTK", required=False), str(path)], check=False)
    lines = [line for line in done.stderr.splitlines() if re.match(r"[EF]: ", line) and line.strip() != "E:"]
    passed = "Test passed" in done.stderr
    if pydicom.dcmread(path).get("SpecificCharacterSet") == "ISO_IR 192":
        return []
    return lines or ([] if passed else [f"dcmpschk did not pass it: {done.stderr[-200:]}"])


def dcmp2pgm(state: str | Path, image: str | Path, tmp: str | Path) -> np.ndarray:
    """A grey image as DCMTK shows it by a presentation state, uint8; never required, see :func:`dcmdump`."""
    out = Path(tmp) / f"{Path(state).stem}.pgm"
    _run([_program("dcmp2pgm", "DCMTK", required=False), "-p", str(state), str(image), str(out)])
    data = out.read_bytes()
    found = re.match(rb"P5\s+(?:#[^\n]*\s+)*(\d+)\s+(\d+)\s+255\s", data)
    assert found, f"dcmp2pgm wrote no bitmap: {data[:40]!r}"
    columns, rows = (int(n) for n in found.groups())
    return np.frombuffer(data, np.uint8, rows * columns, found.end()).reshape(rows, columns)


def highdicom_read_sr(path: str | Path) -> Any:
    """The report as highdicom's own class."""
    return need("highdicom", "highdicom").sr.srread(str(path))


def dcmqi_read_sr(path: str | Path, tmp: str | Path) -> dict[str, Any]:
    """What dcmqi's tid1500reader makes of a report."""
    out = Path(tmp) / f"dcmqi_{Path(path).stem}.json"
    _run([_program("tid1500reader", "dcmqi"), "--inputDICOM", str(path), "--outputMetadata", str(out)])
    return json.loads(out.read_text(encoding="utf-8"))
