"""What several readers outlined, as one target a finding."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Compose, Orientationd

import dicom_ml as dml
from dicom_ml.transforms import Consensus, LoadDicomd, LoadReport, LoadReportd
from tests.transforms.reports import MALIGNANCY, NODULE, group, rated, saved


@pytest.fixture
def readers(case, tmp_path):
    boxes = [((3, 4, 5), (7, 9, 11)), ((3, 5, 5), (7, 10, 11)), ((3, 6, 5), (7, 11, 11))]
    grades = ["99LIDCQIICR:901", "99LIDCQIICR:905", "99LIDCQIICR:905"]
    files = []
    for i, (box, grade) in enumerate(zip(boxes, grades, strict=True)):
        own = [rated(grade, dml.Box(*box), tracking_id="N1", tracking_uid="2.25.1")]
        own += [rated(grade, dml.Box((0, 0, 0), (2, 2, 2)), tracking_uid=f"2.25.{10 + i}")] if i < 2 else []
        files.append(saved(tmp_path / f"{i}.dcm", case.volume, *own))
    return files


def test_readers_are_joined(case, readers):
    ratings = {"99LIDCQIICR:901": 0, "99LIDCQIICR:905": 1}

    def load(**how):
        consensus = Consensus(**how) if how else None
        loaded = LoadReport(ratings, question=MALIGNANCY, consensus=consensus)(readers, case.volume)
        return loaded["boxes"].tolist(), loaded["labels"].tolist()

    assert len(load()[0]) == 5
    assert load(by="tracking", min_readers=2) == ([[5, 5, 3, 11, 10, 7]], [1])
    assert load(min_readers=2, box="union")[0] == [[5, 4, 3, 11, 11, 7]]
    assert load(min_readers=2, box="intersection", label="lowest") == ([[5, 6, 3, 11, 9, 7]], [0])
    assert load()[1] == [0, 0, 1, 1, 1] and len(load(by="tracking")[0]) == 3
    boxes, labels = load(by="overlap", overlap=0.6)
    assert boxes == [[5, 5, 3, 11, 10, 7], [0, 0, 0, 2, 2, 2]] and labels == [1, 0]
    assert len(load(by="overlap", overlap=0.9)[0]) == 4


def test_voxels_that_readers_agree_on(case, tmp_path):
    """One reader and nodule a file, segmentation and report, as nodules of several readers are published."""
    rng = np.random.default_rng(3)
    made_by = dml.Segment("Nodule", type=NODULE, category="SCT:49755003", algorithm="manual")
    masks, reports, segs = [], [], []
    for reader in range(3):
        index = np.stack(np.meshgrid(*map(np.arange, case.grid.shape), indexing="ij"), axis=-1)
        mask = (((index - (6, 9, 8) - rng.uniform(-1, 1, 3)) / (2.5, 4, 4)) ** 2).sum(-1) <= 1
        # files of others hold their own part of the series only, in their own order of slices
        part = case.volume.crop(((3, 2, 1), (10, 18, 15))).flip(0)
        own = mask[3:10, 2:18, 1:15][::-1]
        options = {"source": case.volume, "affine": part.affine, "segments": [made_by]}
        seg = dml.Segmentation.from_array(own.astype(np.uint8), **options)
        segs.append(seg.save(tmp_path / f"{reader}.seg.dcm"))
        stored = dml.read_segmentation(segs[-1])
        region = dml.SegmentReference(stored, 1)
        reports.append(saved(tmp_path / f"{reader}.sr.dcm", case.volume, group(region, tracking_uid="2.25.77")))
        masks.append(mask)
    counts = np.sum(masks, axis=0)
    data = {"image": str(case.series), "report": reports, "seg": segs}
    turn = Orientationd("image", axcodes="PIR", labels=None)
    for agreement, least in ((0.5, 2), (1.0, 3), (0.1, 1)):
        consensus = Consensus(min_readers=3, box="voxels", agreement=agreement)
        load = LoadReportd("report", segmentation_key="seg", consensus=consensus)
        (box,) = Compose([LoadDicomd("image"), load])(data)["box"].numpy()
        where = np.argwhere(counts >= least)
        np.testing.assert_allclose(box, [*where.min(0)[::-1], *(where.max(0)[::-1] + 1)], atol=1e-3)
        (turned,) = Compose([LoadDicomd("image"), turn, load])(data)["box"].numpy()
        assert sorted(turned[3:] - turned[:3]) == pytest.approx(sorted(box[3:] - box[:3]), abs=1e-3)
    outlines = [dml.Polygon([(1, 1), (1, 9), (9 + k, 9), (9 + k, 1)], slice=4) for k in range(3)]
    drawn = [saved(tmp_path / f"{k}.dcm", case.volume, group(o, tracking_uid="2.25.8")) for k, o in enumerate(outlines)]
    half = LoadReport(consensus=Consensus(box="voxels"))(drawn, case.volume)
    assert half["boxes"].tolist() == [[1, 1, 4, 9, 10, 5]]
    apart = [group(dml.Box((i, 0, 0), (i + 1, 2, 2)), tracking_uid="2.25.9") for i in range(3)]
    none = [saved(tmp_path / f"n{i}.dcm", case.volume, g) for i, g in enumerate(apart)]
    assert len(LoadReport(consensus=Consensus(box="voxels"))(none, case.volume)["boxes"]) == 0


def test_keys_are_readers(case, readers):
    keys = ["a", "b", "c"]
    item = LoadDicomd("image")({"image": str(case.series)} | dict(zip(keys, readers, strict=True)))
    load = LoadReportd(keys, consensus=Consensus(min_readers=3))
    assert load(item)["box"].tolist() == [[5, 5, 3, 11, 10, 7]]
    joined = LoadReportd("a", consensus=Consensus(min_readers=3))({**item, "a": readers})
    assert joined["box"].tolist() == [[5, 5, 3, 11, 10, 7]] and joined["a"] == readers[0]
