"""What was read as targets is written as findings, and is the same."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Compose, Flipd, Orientationd, Spacingd, SpatialCropd

import dicom_ml as dml
from dicom_ml.geometry import Grid
from dicom_ml.transforms import LoadDicomd, LoadReport, LoadReportd, SaveReportd
from tests.series import write_series

CODES = {0: "SCT:27925004", 1: "SCT:367643001"}
CLASSES = {code: number for number, code in CODES.items()}
BOXES = np.array([[3, 4, 5, 7, 9, 11], [1, 1.5, 1, 2, 3, 4.25], [4, 0, 0, 5, 20, 16]])
MOVES = {
    "as it is": [],
    "turned": [Orientationd("image", axcodes="PIR", labels=None), Flipd("image", (0, 2))],
    "cropped": [SpatialCropd("image", roi_start=(2, 2, 2), roi_end=(99, 99, 99))],
    "resampled": [Spacingd("image", pixdim=(0.5, 1.1, 1.3))],
}


def there_and_back(series, volume, folder, moves, **where) -> None:
    made = dml.Report.from_detections(BOXES, [0.75, 0.5, 0.25], [0, 1, 0], classes=CODES, source=volume)
    data = {"image": str(series), "report": made.save(folder / "in.sr.dcm")}
    load = LoadReportd("report", on="image", classes=CLASSES, score_key="score", **where)
    item = Compose([LoadDicomd("image"), *moves, load])(data)
    SaveReportd("box", folder / "out", label_key="label", score_key="score", classes=CODES, **where)(item)
    (path,) = (folder / "out").rglob("*.dcm")
    back = LoadReport(CLASSES)(path, volume)
    order = np.argsort(-back["scores"].numpy())
    np.testing.assert_allclose(back["boxes"][order], BOXES[:, [2, 1, 0, 5, 4, 3]], atol=2e-3)
    assert back["labels"][order].tolist() == [0, 1, 0]
    np.testing.assert_allclose(back["scores"][order], [0.75, 0.5, 0.25], atol=1e-6)


@pytest.mark.parametrize("corners", ["edge", "center"])
@pytest.mark.parametrize("moves", MOVES)
def test_boxes_in_the_image(case, tmp_path, moves, corners):
    there_and_back(case.series, case.volume, tmp_path, MOVES[moves], corners=corners)


def test_boxes_in_millimetres(tmp_path):
    """Such boxes run along the patient's axes, so they keep their size on series that do, too."""
    affine = np.eye(4)
    affine[:3] = [[0, 0, 0.7, -30], [0, 0.8, 0, 12], [2.5, 0, 0, -80]]
    write_series(tmp_path / "ct", Grid((12, 20, 16), affine))
    there_and_back(tmp_path / "ct", dml.read_volume(tmp_path / "ct"), tmp_path, MOVES["resampled"], space="world")
