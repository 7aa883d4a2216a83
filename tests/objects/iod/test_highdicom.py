"""Segmentations written by highdicom: sound as they come, and found out when they are broken."""

from __future__ import annotations

import io
import warnings

import pydicom
import pytest

import dicom_ml as dml
from tests.judges import need
from tests.series import blobs, write_series

from .broken import BROKEN, LABELS, PARTS, SEG

TYPES = {SEG: "BINARY", LABELS: "LABELMAP", PARTS: "FRACTIONAL"}
#: What asks for a third segment, or changes nothing in what highdicom writes.
NOT_HERE = {"segments with a gap", "label without a segment", "rows for columns", "index of another segment"}
CASES = [name for name, broken in BROKEN.items() if broken.kind in TYPES and name not in NOT_HERE]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of each type, and the folder of the images."""
    hd = need("highdicom", "highdicom")
    folder = tmp_path_factory.mktemp("highdicom")
    grid = write_series(folder / "ct")
    images = [pydicom.dcmread(p) for p in sorted((folder / "ct").iterdir())]
    images.sort(key=lambda ds: float(dml.read_volume(folder / "ct").source.sop_instance_uids.index(ds.SOPInstanceUID)))
    mask = blobs(grid, 2)
    algorithm = hd.AlgorithmIdentificationSequence(
        name="N", version="1", family=pydicom.sr.codedict.codes.DCM.ArtificialIntelligence
    )
    described = [
        hd.seg.SegmentDescription(
            n, f"part {n}", pydicom.sr.codedict.codes.SCT.Organ, pydicom.sr.codedict.codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm, tracking_uid=hd.UID(), tracking_id=str(n),
        )
        for n in (1, 2)
    ]  # fmt: skip
    files = {}
    for kind, name in TYPES.items():
        seg = hd.seg.Segmentation(
            images, mask, hd.seg.SegmentationTypeValues[name], described, hd.UID(), 1, hd.UID(), 1, "M", "N", "1", "1",
            max_fractional_value=200, omit_empty_frames=True,
        )  # fmt: skip
        seg.ContentLabel = "SEG"
        files[kind] = io.BytesIO()
        seg.save_as(files[kind])
    return {kind: file.getvalue() for kind, file in files.items()}, folder / "ct"


def found_in(x, sources):
    return [f for f in dml.validate(x, sources=sources) if f.severity != "info"]


@pytest.mark.judge
@pytest.mark.parametrize("kind", TYPES)
def test_what_highdicom_writes_is_sound(kind, written):
    files, images = written
    assert [str(f) for f in found_in(files[kind], images)] == []


@pytest.mark.judge
@pytest.mark.parametrize("name", CASES)
def test_it_is_found(name, written):
    files, images = written
    broken = BROKEN[name]
    ds = pydicom.dcmread(io.BytesIO(files[broken.kind]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken.change(ds)
    found = found_in(ds, images if broken.with_sources else None)
    assert broken.words in "\n".join(map(str, found)), [str(f) for f in found]
