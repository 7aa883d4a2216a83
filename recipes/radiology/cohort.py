"""Which CT series: LIDC-IDRI, with the readers' segmentations and reports of nodules that were derived from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_ml.errors import SeriesError
from recipes.common.idc import folds_by_patient, idc_series, idc_version, row_of
from recipes.common.manifest import Row, write_manifest

__all__ = ["MANIFEST", "build_manifest"]

#: The committed manifest.
MANIFEST = Path(__file__).resolve().parent / "manifest" / "nodules.csv.gz"

_COLLECTION = "lidc_idri"
_RESULT = "dicom_lidc_idri_nodules"
_SEED = 0
_FOLDS = 10
#: Patients whose segmentations do not lie in their CT.
_OUTSIDE = (262, 291, 311, 313, 415, 423, 671, 697, 733, 785, 796, 850, 938)
#: Numbers that the collection has no patient of.
_ABSENT = (238, 585)
# "Segmentation of Nodule 1 - Annotation IL057_127364" and "Nodule 1 - Annotation IL057_127364 evaluations"
_NAME = re.compile(r"(?:Segmentation of )?(?P<nodule>Nodule \d+) - Annotation (?P<name>.+?)(?: evaluations)?$")


def build_manifest(folder: Path) -> list[Path]:
    """Select the series from the index of IDC, put patients into folds, and write the manifest.

    A CT has a row of its own, and so has each reader's SEG and SR of a nodule: ``group`` names the nodule,
    ``annotation`` the reader's mark, and both files of a mark have the same two. CT series without any are scans in
    which no reader marked a nodule of 3 mm or more.
    """
    series = idc_series([_COLLECTION], modalities=["CT", "SEG", "SR"])
    numbers = {_number(one["PatientID"]) for one in series}
    unexpected = numbers & set(_ABSENT)
    if unexpected:
        raise SeriesError(f"patients {sorted(unexpected)} were not in the collection until now; look at them first")
    scans: dict[str, int] = {}
    for one in series:
        if one["Modality"] == "CT":
            scans[one["StudyInstanceUID"]] = scans.get(one["StudyInstanceUID"], 0) + 1
    rows = [row for row in (_row(one, scans) for one in series) if row is not None]
    rows = [row.with_(split=_part(row.fold)) for row in folds_by_patient(rows, _FOLDS, _SEED)]
    about = {
        **idc_version(),
        "selection": f"CT series of {_COLLECTION}; SEG and SR series of {_RESULT}",
        "split": f"{_FOLDS} folds by patient, seed {_SEED}; fold 0 is test, fold 1 is val, the others are train",
        "excluded": "patients whose segmentations lie outside of their CT: "
        + ", ".join(f"LIDC-IDRI-{number:04d}" for number in _OUTSIDE),
        "absent": ", ".join(f"LIDC-IDRI-{number:04d}" for number in _ABSENT),
        "left_to_fetch": "slice thickness of the CT series; how many readers marked a nodule, and its size: SEG and SR",
    }
    return write_manifest(folder / MANIFEST.name, rows, about)


def _number(patient: str) -> int:
    return int(patient.rsplit("-", 1)[1])


def _part(fold: int) -> str:
    return {0: "test", 1: "val"}.get(fold, "train")


def _row(series: dict[str, Any], scans: Mapping[str, int]) -> Row | None:
    """A row; None for what belongs to other derived results."""
    kind, result = series["Modality"], series["analysis_result_id"]
    excluded = "segmentations outside of the CT" if _number(series["PatientID"]) in _OUTSIDE else ""
    if kind == "CT" and result is None:
        if not excluded and scans[series["StudyInstanceUID"]] != 1:
            excluded = "the study has several CT series"
        return row_of(series, "image", excluded=excluded)
    if result != _RESULT:
        return None
    named = _NAME.match(str(series["SeriesDescription"] or ""))
    if named is None:
        raise SeriesError(f"the description of derived series {series['SeriesInstanceUID']} names no nodule")
    role = "segmentation" if kind == "SEG" else "report"
    return row_of(series, role, group=named["nodule"], annotation=named["name"], excluded=excluded)
