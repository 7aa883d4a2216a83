"""A model over a whole cohort: series by series, on many processes, resumable, with what became of each.

Names are loaded when first used: finding and sharing out cases needs neither torch nor Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_ml.cohorts.bundles import BundleModel as BundleModel
    from dicom_ml.cohorts.bundles import BundleProgram as BundleProgram
    from dicom_ml.cohorts.cases import Case as Case
    from dicom_ml.cohorts.cases import find_cases as find_cases
    from dicom_ml.cohorts.cases import shard as shard
    from dicom_ml.cohorts.predictor import LightningPredictor as LightningPredictor
    from dicom_ml.cohorts.results import Outcome as Outcome
    from dicom_ml.cohorts.results import read_results as read_results
    from dicom_ml.cohorts.running import predict_cohort as predict_cohort

_HOMES = {
    "BundleModel": "dicom_ml.cohorts.bundles",
    "BundleProgram": "dicom_ml.cohorts.bundles",
    "Case": "dicom_ml.cohorts.cases",
    "LightningPredictor": "dicom_ml.cohorts.predictor",
    "Outcome": "dicom_ml.cohorts.results",
    "find_cases": "dicom_ml.cohorts.cases",
    "predict_cohort": "dicom_ml.cohorts.running",
    "read_results": "dicom_ml.cohorts.results",
    "shard": "dicom_ml.cohorts.cases",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'dicom_ml.cohorts' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
