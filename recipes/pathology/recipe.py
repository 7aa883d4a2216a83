"""The recipe; see the README beside it."""

from __future__ import annotations

from recipes.common.fetching import fetch_step
from recipes.common.run import Recipe, Step
from recipes.pathology.cohort import build_manifest
from recipes.pathology.evaluation import evaluate
from recipes.pathology.learning import predict, train
from recipes.pathology.reporting import report
from recipes.pathology.steps import cohort, labels

__all__ = ["RECIPE"]

RECIPE = Recipe(
    name="pathology",
    title="Lung slides: normal tissue, adenocarcinoma, squamous cell carcinoma",
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
        "stand-in": "generated slides in three textures, with the specimen codes of real ones",
        "real-tiles": "slides put together from 750 real lung tiles of LC25000, a slide a source cluster; a "
        "classifier by colour alone separates normal from tumour there",
        "idc": "TCGA-LUAD and TCGA-LUSC to develop on, CPTAC-LUAD and CPTAC-LSCC to test on",
    },
    manifest=build_manifest,
    modelled_on=(
        "Schacherer et al. 2023, Computer Methods and Programs in Biomedicine, doi 10.1016/j.cmpb.2023.107839",
        "Coudray et al. 2018, Nature Medicine, doi 10.1038/s41591-018-0177-5",
    ),
)
