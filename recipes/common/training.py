"""Training and prediction of a run: LightningCLI over the run's settings."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dicom_ml.cli.training import lightning_cli
from dicom_ml.errors import SeriesError
from recipes.common.run import Run
from recipes.common.settings import dump_settings
from recipes.common.state import write_text

__all__ = ["best_checkpoint", "fit", "learning_curve", "load_weights", "objects_of", "quiet"]

_NOISE = (
    "LightningCLI's args parameter",
    ".*treespec",
    ".*does not have many workers",
    "The number of training batches",
    "No (negative|positive) samples",
)


def objects_of(run: Run, folder: Path, *, data: Mapping[str, Any] | None = None, start: int = 1) -> Any:
    """Trainer, model and data of a run's settings.

    Parameters
    ----------
    run : Run
    folder : path
        Where the trainer keeps its logs and checkpoints, and the file of settings that was used.
    data : mapping, optional
        Arguments of the data module that the run decides.
    start : int
        How often the step was started: each has a log of its own.

    Returns
    -------
    LightningCLI
        With ``trainer``, ``model`` and ``datamodule``.
    """
    settings = copy.deepcopy(run.settings)
    settings.pop("recipe", None)
    settings["seed_everything"] = run.seed
    trainer = settings.setdefault("trainer", {})
    trainer.setdefault("default_root_dir", str(folder))
    trainer.setdefault("logger", _loggers(folder, start))
    for callback in trainer.get("callbacks") or []:
        if callback["class_path"].rsplit(".", 1)[-1] == "ModelCheckpoint":
            callback.setdefault("init_args", {}).setdefault("dirpath", str(folder / "checkpoints"))
    if data is not None:
        settings["data"].setdefault("init_args", {}).update(data)
    path = folder / "lightning.yaml"
    write_text(path, dump_settings(settings))
    with quiet():
        return lightning_cli()(args=["--config", str(path)], run=False, save_config_callback=None)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that the user can do nothing about."""
    with warnings.catch_warnings():
        for said in (
            "LightningCLI's args parameter",
            ".*treespec",
            ".*does not have many workers",
            "The number of training",
        ):
            warnings.filterwarnings("ignore", said)
        warnings.filterwarnings("ignore", "No (negative|positive) samples")
        yield


def _loggers(folder: Path, start: int) -> list[dict[str, Any]]:
    where = {"save_dir": str(folder), "name": "logs", "version": f"start-{start}"}
    loggers = [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": where}]
    if find_spec("tensorboard") is None:
        return loggers
    board = {**where, "name": "tensorboard"}
    return [*loggers, {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": board}]


def fit(run: Run, *, data: Mapping[str, Any] | None = None) -> Any:
    """Train; a training that was killed goes on after its last finished epoch.

    Returns
    -------
    LightningCLI
        Its model has the best weights.
    """
    folder = run.path("train")
    marker = run.marker("train")
    made = objects_of(run, folder, data=data, start=marker.starts if marker is not None else 1)
    made.trainer.callbacks.append(_epoch_log(run))
    last = folder / "checkpoints" / "last.ckpt"
    if last.exists():
        run.log.info("train: goes on from the last checkpoint")
    with quiet():
        made.trainer.fit(made.model, datamodule=made.datamodule, ckpt_path=str(last) if last.exists() else None)
    if run.leads:
        load_weights(made.model, best_checkpoint(run))
    return made


def _epoch_log(run: Run) -> Any:
    """A callback that says in the log how each epoch went."""
    from lightning.pytorch import Callback

    class EpochLog(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            said = ", ".join(f"{name} {float(value):.3f}" for name, value in sorted(trainer.callback_metrics.items()))
            run.log.info("train: epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, said)

    return EpochLog()


def best_checkpoint(run: Run) -> Path:
    """The checkpoint that was the best on the validation part.

    Raises
    ------
    SeriesError
        If there is none.
    """
    found = sorted(run.path("train", "checkpoints").glob("best*.ckpt"))
    if len(found) != 1:
        raise SeriesError(f"the training left {len(found)} checkpoints named best*.ckpt, one is expected")
    return found[0]


def load_weights(model: Any, checkpoint: Path) -> None:
    """Put a checkpoint's weights into a model; nothing but tensors and plain values is read."""
    import torch

    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])


def learning_curve(folder: Path, names: Sequence[str]) -> list[dict[str, float]]:
    """What the CSV logs of all starts say of each epoch.

    Returns
    -------
    list of dict
        ``"epoch"`` and those of ``names`` that are known, an epoch a row; where two starts did the same epoch, the
        later one counts.
    """
    import csv

    epochs: dict[int, dict[str, float]] = {}
    logs = folder.glob("logs/start-*/metrics.csv")
    for path in sorted(logs, key=lambda path: int(path.parent.name.rsplit("-", 1)[1])):
        fresh: dict[int, dict[str, float]] = {}
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("epoch"):
                    known = fresh.setdefault(int(row["epoch"]), {})
                    known |= {name: float(row[name]) for name in names if row.get(name)}
        epochs |= fresh
    return [{"epoch": float(epoch), **epochs[epoch]} for epoch in sorted(epochs)]
