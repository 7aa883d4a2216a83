"""Reports that the tests of labels share."""

from __future__ import annotations

import dicom_ml as dml

NET = dml.Algorithm("NoduleNet", "1.0")
NODULE, CYST = "SCT:27925004", "SCT:367643001"
MALIGNANCY = "RADLEX:RID36042"


def saved(path, volume, *groups, **options) -> str:
    return dml.Report(volume, groups, NET, **options).save(path)


def group(region=None, finding=NODULE, **more) -> dml.MeasurementGroup:
    return dml.MeasurementGroup(finding=finding, region=region, **more)


def rated(value, region=None, **more) -> dml.MeasurementGroup:
    return group(region, evaluations=[dml.Evaluation(MALIGNANCY, value)], **more)
