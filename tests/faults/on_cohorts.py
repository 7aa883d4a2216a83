"""A corrupt study in a cohort, workers that die, runs that are killed, results that are lost."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import dicom_ml as dml
from dicom_ml.cohorts import find_cases, predict_cohort, read_results
from dicom_ml.cohorts.pool import _Pool
from dicom_ml.cohorts.results import Results
from dicom_ml.cohorts.running import attempt
from dicom_ml.phantom import CTDescription, axial_affine, write_ct_series
from tests.cohorts.models import Threshold
from tests.faults.on_files import STRAIGHT, halves
from tests.faults.registry import Changed, Scene, fault, holds, without

_SHAPE = (2, 12, 10)


def _archive(scene: Scene, count: int = 3) -> list[Any]:
    """Series, in the order in which they are predicted."""
    for number in range(count):
        array = np.random.default_rng(number).integers(-1000, 400, _SHAPE).astype(np.float32)
        affine = axial_affine(_SHAPE, (2.5, 0.8, 0.9), (0, 0, 0))
        write_ct_series(scene.folder / "in" / f"s{number}", array, affine, CTDescription(f"fault {number}"))
    return find_cases(scene.folder / "in")


def _predict(scene: Scene, cases: list[Any], workers: int = 1, **model: Any) -> Any:
    model = Threshold(str(scene.folder / "journal"), **model)
    try:
        return predict_cohort(cases, model, scene.folder / "out", workers=workers)
    except Exception as error:
        holds(False, f"the run ends with {type(error).__name__}")


def _done(scene: Scene) -> list[str]:
    """Series with a result, each looked at whether it is whole."""
    found = []
    for path in sorted((scene.folder / "out").rglob("*.dcm")):
        try:
            found.append(*dml.read_segmentation(path).referenced_series)
            dml.read_segmentation(path).label_map()
        except Exception as error:
            holds(False, f"a result cannot be read: {type(error).__name__}")
    holds(max(Counter(found).values(), default=1) == 1, "a series is done twice")
    return found


def _begun(scene: Scene) -> list[str]:
    """Series that were begun since the last look."""
    journal = scene.folder / "journal"
    lines = journal.read_text().split() if journal.exists() else []
    journal.unlink(missing_ok=True)
    return lines


@fault(
    "a corrupt study in a cohort",
    without(
        "a case that fails stops nothing",
        Changed(attempt, ("except Exception as error:", "except ZeroDivisionError as error:")),
        seen="the run ends with",
    ),
)
def corrupt_study(scene: Scene) -> None:
    cases = _archive(scene)
    bad = sorted(cases[0].image)[0]
    os.truncate(bad, os.path.getsize(bad) - 100)
    report = _predict(scene, cases)
    holds(len(_done(scene)) == 2, f"{len(_done(scene))} of the 2 good series are done")
    holds([one.name for one in report.failed] == [cases[0].name], "it is not told which one failed")


@fault(
    "a worker of a cohort dies",
    without(
        "its series is given to another",
        Changed(_Pool._bury, ("todo.append(case)", "pass")),
        seen="of 3 series are done",
    ),
)
def dead_worker(scene: Scene) -> None:
    cases = _archive(scene)
    _predict(scene, cases, workers=2, deadly=cases[0].series_instance_uid, deaths=1)
    holds(len(_done(scene)) == 3, f"{len(_done(scene))} of 3 series are done")


def _predict_apart(folder: Path, cases: list[Any], deadly: str) -> None:
    predict_cohort(cases, Threshold(str(folder / "journal"), deadly=deadly, deaths=1), folder / "out")


@fault(
    "a run over a cohort is killed and started again",
    without(
        "what is done is known by its marker",
        Changed(Results.is_done, ("return all(", "return False and all(")),
        seen="begun again",
    ),
    without(
        "a marker is written when the results are",
        Changed(
            attempt,
            (
                "predict(case, results.prepare(case))",
                "folder = results.prepare(case); (folder / '.done.json').write_text('{\"stamp\": \"' + stamp + '\", "
                '"files": {}}\'); predict(case, folder)',
            ),
        ),
        seen="2 of 3 series are done",
    ),
    without(
        "what the killed run left half is removed",
        Changed(Results.prepare, ("remove_left(folder)", "pass")),
        seen="left",
    ),
)
def killed_run(scene: Scene) -> None:
    cases = _archive(scene)
    ended = scene.apart(_predict_apart, scene.folder, cases, cases[1].series_instance_uid)
    holds(ended.code == -signal.SIGKILL, f"it was to be killed: {ended}")
    holds(_begun(scene) == [case.series_instance_uid for case in cases[:2]], "two were to be begun")
    _predict(scene, cases)
    again = set(_begun(scene)) & {cases[0].series_instance_uid}
    holds(len(_done(scene)) == 3, f"{len(_done(scene))} of 3 series are done")
    holds(not again, "what was done is begun again")
    holds(not halves(scene.folder / "out"), "half a file is left")


@fault(
    "results of a cohort are cut or lost",
    without(
        "results count as done while they have their sizes",
        Changed(Results.is_done, ("_size(self.folder_of(case) / name) == size", "True")),
        seen="cannot be read|of 3",
    ),
)
def lost_results(scene: Scene) -> None:
    cases = _archive(scene, 3)
    _predict(scene, cases)
    first, second, _ = sorted((scene.folder / "out").rglob("*.dcm"))
    os.truncate(first, first.stat().st_size // 2)
    second.unlink()
    _begun(scene)
    _predict(scene, cases)
    holds(len(_done(scene)) == 3, f"{len(_done(scene))} of 3 series are done")
    holds(len(_begun(scene)) == 2, "one that was whole is done again")


def _summarize(folder: Path) -> None:
    Results(folder).summarize()


@fault(
    "disk full while cohort.json is written",
    without("a hidden name until the file is whole", STRAIGHT, seen="half a file"),
)
def summary_full(scene: Scene) -> None:
    cases = _archive(scene, 2)
    _predict(scene, cases)
    summary = scene.folder / "out" / "cohort.json"
    before = summary.read_bytes()
    (scene.folder / "out" / cases[1].name / ".done.json").unlink()
    Results(scene.folder / "out").fail(cases[1], "a reason " * 100)
    ended = scene.apart(_summarize, scene.folder / "out", limit=500)
    holds("OSError" in ended.error, f"it does not say so, but: {ended.error}")
    holds(summary.read_bytes() == before, f"half a file of {summary.stat().st_size} bytes has the name")
    _summarize(scene.folder / "out")
    holds(json.loads(summary.read_text()) == read_results(scene.folder / "out"), "the next run does not mend it")
