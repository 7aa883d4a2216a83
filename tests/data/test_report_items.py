"""Reports as labels of volumes: boxes, classes and label maps in the items of a dataset."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.errors import EncodingError
from tests.series import write_series

torch = pytest.importorskip("torch")

from dicom_ml.data import VolumeDataset, collate_detections, find_series  # noqa: E402

NODULE, MALIGNANCY = "SCT:27925004", "RADLEX:RID36042"
GRADES = {"99LIDCQIICR:901": 0, "99LIDCQIICR:905": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two series, each with the reports of two readers, and one without."""
    folder = tmp_path_factory.mktemp("reported")
    for i, name in enumerate("ab"):
        write_series(folder / name / "ct", name=name, patient=name)
        volume = dml.read_volume(folder / name / "ct")
        for reader, grade in enumerate(("99LIDCQIICR:901", "99LIDCQIICR:905")):
            boxes = [dml.Box((3 + k, 4, 5), (7 + k, 9, 11)) for k in range(i + 1)]
            evaluations = [dml.Evaluation(MALIGNANCY, grade)]
            groups = [dml.MeasurementGroup(finding=NODULE, region=box, evaluations=evaluations) for box in boxes]
            report = dml.Report(volume, groups, dml.Algorithm("Reader", str(reader)))
            report.save(folder / name / f"{reader}.sr.dcm")
    write_series(folder / "c" / "ct", name="c", patient="c")
    return folder


def test_reports_are_found_with_their_series(root):
    records = find_series(root, reports=True)
    assert [len(record.get("report", ())) for record in records] == [2, 2, 0]
    assert all("report" not in record for record in find_series(root))


@pytest.mark.parametrize("monai", [True, False])
def test_boxes(root, monai):
    if monai:
        pytest.importorskip("monai")
    records = [record for record in find_series(root, reports=True) if "report" in record]
    data = VolumeDataset(records, reports={"classes": [NODULE], "score_key": "score"}, monai=monai)
    first = [5, 4, 3, 11, 9, 7] if monai else [3, 4, 5, 7, 9, 11]  # along the axes of the image's array
    assert data[0]["box"].tolist() == [first] * 2 and data[0]["label"].tolist() == [0, 0]
    cut = tuple(slice(int(a), int(b)) for a, b in zip(first[:3], first[3:], strict=True))
    assert data[0]["image"][0][cut].shape == ((6, 5, 4) if monai else (4, 5, 6))
    loader = torch.utils.data.DataLoader(data, batch_size=2, collate_fn=collate_detections)
    (batch,) = list(loader)
    assert [len(b) for b in batch["box"]] == [len(s) for s in batch["score"]] == [2, 4]
    assert batch["image"].shape[:2] == (2, 1)


def test_classes_and_label_maps(root):
    record = find_series(root, reports=True)[0]
    asked = {"classes": GRADES, "question": MALIGNANCY}
    whole = VolumeDataset([record], reports={"kind": "class", "several": "highest", **asked})
    assert whole[0]["label"] == 1
    several = VolumeDataset([record], reports={"kind": "classes", "label_key": "grades", **asked})
    assert several[0]["grades"].tolist() == [1, 1]
    drawn = VolumeDataset([record], reports={"kind": "label", "classes": [NODULE]}, monai=False)[0]
    expected = np.zeros(drawn["image"].shape[1:], np.uint8)
    expected[3:7, 4:9, 5:11] = 1
    assert np.array_equal(drawn["label"][0], expected)
    pytest.importorskip("monai")
    tensor = VolumeDataset([record], reports={"kind": "channels", "classes": [NODULE]})[0]["label"]
    assert np.array_equal(tensor[0].numpy().transpose(2, 1, 0), expected) and "dicom_source" in tensor.meta


def test_cached_items_know_how_reports_were_read(root, tmp_path):
    record = find_series(root, reports=True)[0]
    for options, expected in (({"classes": [NODULE]}, [0, 0]), ({"classes": {NODULE: 4}}, [4, 4])):
        for _ in range(2):
            data = VolumeDataset([record], reports=options, cache=tmp_path)
            assert data[0]["label"].tolist() == expected
    assert len(list(tmp_path.glob("*.pt"))) == 2
    VolumeDataset([record], reports={"classes": _nodules}, cache=tmp_path)[0]
    VolumeDataset([record], reports={"classes": _nodules}, cache=tmp_path)[0]
    assert len(list(tmp_path.glob("*.pt"))) == 3


def _nodules(group) -> int:
    return 0


def test_refusals(root):
    record = find_series(root, reports=True)[0]
    with pytest.raises(EncodingError, match="reports are of kind"):
        VolumeDataset([record], reports={"kind": "masks"})
    with pytest.raises(EncodingError, match=r"unknown options of reports \['several'\]"):
        VolumeDataset([record], reports={"kind": "label", "several": "first"})
    with pytest.raises(EncodingError, match="take the place of the segmentation"):
        VolumeDataset([{**record, "label": "x.seg.dcm"}], reports={})[0]


def test_data_module_finds_reports(root):
    pytest.importorskip("lightning")
    from dicom_ml.data import VolumeDataModule

    module = VolumeDataModule(
        predict=root, dataset={"reports": {"classes": [NODULE]}}, loader={"collate_fn": collate_detections}
    )
    boxes = [batch["box"][0] for batch in module.predict_dataloader() if "box" in batch]
    assert [len(b) for b in boxes] == [2, 4]
