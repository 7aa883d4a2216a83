"""The recipe; see the README beside it."""

from __future__ import annotations

from recipes.common.fetching import fetch_step
from recipes.common.run import Recipe, Step
from recipes.radiology.cohort import build_manifest
from recipes.radiology.evaluation import evaluate
from recipes.radiology.learning import predict, train
from recipes.radiology.reporting import report
from recipes.radiology.steps import cohort, labels

__all__ = ["RECIPE"]

RECIPE = Recipe(
    name="radiology",
    title="Chest CT: detection of lung nodules",
    steps=(
        Step("cohort", cohort, settings=("recipe.cohort",), seeded=False),
        Step("fetch", fetch_step, needs=("cohort",), settings=("recipe.fetch",), seeded=False),
        Step("labels", labels, needs=("fetch",), settings=("recipe.labels",), seeded=False),
        Step("train", train, needs=("labels",), settings=("trainer", "model", "data")),
        Step("predict", predict, needs=("labels", "train"), settings=("recipe.predict", "data")),
        Step("evaluate", evaluate, needs=("labels", "predict"), settings=("recipe.evaluate",)),
        Step("report", report, needs=("labels", "train", "predict", "evaluate")),
    ),
    data={
        "stand-in": "generated chest scans with nodules, which up to four readers marked",
        "real": "the same to train and test on; real CT series without labels are predicted beside",
        "idc": "LIDC-IDRI, with the readers' segmentations and reports of nodules",
    },
    manifest=build_manifest,
    modelled_on=(
        "Fedorov et al. 2018, annotations of LIDC-IDRI as DICOM, doi 10.7937/TCIA.2018.h7umfurq",
        "the bundle lung_nodule_ct_detection of the MONAI model zoo",
        "Setio et al. 2017, Medical Image Analysis (LUNA16), doi 10.1016/j.media.2017.06.015",
    ),
)
