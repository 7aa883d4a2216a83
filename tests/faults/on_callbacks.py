"""Runs of a trainer that are killed and started again: series by series, and tile by tile."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pydicom

import dicom_ml as dml
from dicom_ml.bridge.results import NamedResults
from tests.faults.processes import run_apart
from tests.faults.registry import Changed, Scene, Set, fault, holds, without

_NEEDS = ("torch", "lightning.pytorch", "monai")


def _segments() -> list[dml.Segment]:
    made_by = dml.Algorithm("TestNet", version="1")
    return [dml.Segment(name, "SCT:10200004", "SCT:123037004", algorithm=made_by) for name in ("Liver", "Spleen")]


def _predict(kind: str, root: Path, out: Path, deadly: int = -1) -> list[Any]:
    """What a model was asked for; with ``deadly`` it dies without a word in that batch."""
    from dicom_ml.callbacks import ParametricMapWriter, SegmentationWriter
    from dicom_ml.data import TileDataModule, VolumeDataModule
    from tests.callbacks.nets import Oracle, trainer
    from tests.callbacks.slide_nets import Redness

    base: Any = Oracle if kind == "series" else Redness

    class Mortal(base):  # type: ignore[misc]
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().predict_step(batch, batch_idx)

    model = Mortal()
    if kind == "series":
        data = VolumeDataModule(predict=json.loads((root / "records.json").read_text()))
        writer = SegmentationWriter(out, _segments())
    else:
        data = TileDataModule(predict=[str(root / "slide")], tile_size=64, batch_size=1)
        writer = ParametricMapWriter(out, dml.Quantity("DCM:122157"), channels=[1], activation="softmax")
    trainer(out, [writer]).predict(model, datamodule=data, return_predictions=False)
    return [case for step in model.steps for case in step] if kind == "series" else model.seen


def _make(root: Path) -> None:
    """Inputs, and a killed run over each kind of them, by forks of a process that has imported what takes long."""
    import torch

    from tests.callbacks.conftest import Cohort
    from tests.data.slides import make

    torch.set_num_threads(1)
    cohort = Cohort(root, _segments())
    (root / "records.json").write_text(json.dumps(cohort.records))
    make(root, 1, (130, 190), tile=(64, 64))[0].rename(root / "slide")
    for kind, deadly in (("series", 1), ("slide", 4)):
        child = os.fork()
        if not child:
            _predict(kind, root, root / f"killed {kind}", deadly)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it was to be killed"


@cache
def _killed() -> Path:
    root = Path(tempfile.mkdtemp(prefix="dicom-ml-killed-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    ended = run_apart(_make, (root,))
    assert ended.code == 0, ended
    return root


@cache
def _undisturbed(kind: str) -> dict[str, Any]:
    _predict(kind, _killed(), _killed() / f"whole {kind}")
    return _contents(_killed() / f"whole {kind}")


def _contents(folder: Path) -> dict[str, Any]:
    found = {}
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        pixels = dataset.get("PixelData") or dataset.get("FloatPixelData")
        found[path.name] = (str(dataset.SOPInstanceUID), pixels)
    return found


def _goes_on(scene: Scene, kind: str, total: int, done: int) -> None:
    out = scene.folder / "out"
    shutil.copytree(_killed() / f"killed {kind}", out)
    asked = _predict(kind, _killed(), out)
    holds(_contents(out) == _undisturbed(kind), "the results are not those of a run that was not killed")
    holds(len(asked) == len(set(map(str, asked))) == total - done, f"{len(asked)} are predicted, {done} of them again")
    holds(not list(out.glob(".*")), "something is left behind")


def _never(*_: Any) -> bool:
    return False


@fault(
    "a run over series is killed and started again",
    without(
        "a result that is there is known",
        Changed(NamedResults.existing_at, ("if not path.is_file():", "if True:")),
        seen="again",
    ),
    needs=_NEEDS,
)
def killed_series(scene: Scene) -> None:
    _goes_on(scene, "series", total=3, done=1)


@fault(
    "a run over a slide is killed and started again",
    without(
        "tiles that are there are known",
        Set("dicom_ml.callbacks.writer", "ResultWriter._is_known", _never),
        seen="again",
    ),
    needs=_NEEDS,
)
def killed_slide(scene: Scene) -> None:
    _goes_on(scene, "slide", total=9, done=4)
