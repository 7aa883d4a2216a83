"""Run an experiment from end to end, or one step of it: DICOM in, a trained model, DICOM out, a page.

The recipes lie beside the package in a checkout of its repository (recipes/, configs/); they are looked for there,
in the present folder and those above it, and in DICOM_ML_RECIPES. Settings are changed by their dotted names.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

HELP = "an experiment from cohort to report, whole or step by step"
EXAMPLES = (
    "dicom-ml recipe run pathology --size stand-in --output out/",
    "dicom-ml recipe run pathology --output out/ --seed 1 --trainer.max_epochs 3",
    "dicom-ml recipe train pathology --size small --output out/",
    "dicom-ml recipe status pathology --output out/",
    "dicom-ml recipe manifest pathology --output manifests/",
    "dicom-ml recipe list",
)
#: Options that the parser does not know are settings.
PASSES_ON = True

_STEPS = ("cohort", "fetch", "labels", "train", "predict", "evaluate", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("run", *_STEPS, "status", "manifest", "list"),
        metavar="ACTION",
        help=f"run: all steps; {', '.join(_STEPS)}: one; status: what is done; manifest: build the cohort's manifest "
        "from the index of IDC; list: which recipes there are",
    )
    parser.add_argument("name", nargs="?", metavar="RECIPE", help="such as pathology or radiology")
    parser.add_argument("--size", default="stand-in", help="stand-in, small or full (default: %(default)s)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings, instead of those of a size")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the run's folder; what is done there is kept")
    parser.add_argument("--data", metavar="KIND", help="what to run on, such as stand-in, real-tiles or idc")
    parser.add_argument("--seed", type=int, help="instead of the settings' own")
    parser.add_argument("--until", choices=_STEPS, metavar="STEP", help="of run: the last step to do")
    parser.add_argument("--force", action="store_true", help="do steps again that are done")


def run(args: argparse.Namespace) -> int:
    # Waiting threads sleep instead of spinning: on a machine with other work to do, training is many times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from dicom_ml.cli.recipes import find_recipes
    from dicom_ml.errors import EncodingError

    recipes = find_recipes()
    if args.action == "list":
        for name in recipes.recipe_names():
            print(f"{name:<12} {recipes.load_recipe(name).title}")
        return 0
    if args.name is None and args.rest and args.rest[0] in recipes.recipe_names():
        args.name = args.rest.pop(0)  # named after the options
    if args.name is None:
        raise EncodingError(f"say which recipe: {' or '.join(recipes.recipe_names())}")
    if args.output is None:
        raise EncodingError("say with --output where the results go")
    recipe = recipes.load_recipe(args.name)
    if args.action == "manifest":
        for path in recipe.manifest(args.output):
            print(path)
        return 0
    chosen = _open_run(recipe, args)
    if args.action == "status":
        return _status(chosen)
    if args.action == "run":
        last = args.until or _STEPS[-1]
        chosen.do_all(_STEPS[: _STEPS.index(last) + 1], force=args.force)
    else:
        chosen.do(args.action, force=args.force)
    page = chosen.path("report.html")
    if page.exists() and args.action in ("run", "report"):
        print(f"Page: {page}")
    return 0


def _open_run(recipe: Any, args: argparse.Namespace) -> Any:
    from recipes.common.run import Run
    from recipes.common.settings import config_file, load_settings

    overrides = list(args.rest)
    if args.seed is not None:
        overrides += ["--seed_everything", str(args.seed)]
    if args.data is not None:
        overrides += ["--recipe.data", args.data]
    path = args.config or config_file(recipe.name, args.size)
    size = args.size if args.config is None else args.config.stem
    return Run(recipe, args.output, load_settings(path, overrides), size=size)


def _status(chosen: Any) -> int:
    for step in chosen.recipe.steps:
        marker = chosen.marker(step.name)
        if marker is None:
            said = "not begun"
        elif chosen.is_done(step):
            said = f"done in {marker.seconds:.1f} s"
        else:
            said = "stopped before its end" if marker.status == "begun" else "done with other settings or inputs"
        print(f"{step.name:<10} {said}")
    return 0
