"""What the tests of both recipes do with a run that is done: copy it, open its bundle, kill one that predicts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipes.common.run import Run

ROOT = Path(__file__).resolve().parents[2]


def copied(done: Run, folder: Path, without: set[str]) -> None:
    """A copy of a run that has not come to some steps."""
    shutil.copytree(done.output, folder, ignore=lambda where, names: ({"store", "log.txt"} | without) & set(names))
    for name in {*without, "evaluate", "report"}:
        (folder / "state" / f"{name}.json").unlink()


def run_bundle(done: Run, **values: str) -> None:
    """Let the bundle of a run predict, on the CPU, with values of its configuration replaced."""
    from monai.bundle import ConfigParser

    bundle = done.path("train", "bundle")
    parser = ConfigParser()
    parser.read_meta(bundle / "configs" / "metadata.json")
    parser.read_config(bundle / "configs" / "inference.json")
    for name, value in {"bundle_root": str(bundle), "device": "cpu", **values}.items():
        parser[name] = value
    parser.parse(True)
    parser.get_parsed_content("run")


def kill_while_it_predicts(
    arguments: Sequence[str], model: type[Any], has_begun: Callable[[], bool], seconds: float
) -> None:
    """SIGKILL a run when it has begun to predict; all batches but the first take two seconds longer there."""
    code = (
        f"import sys, time; from {model.__module__} import {model.__name__} as model; plain = model.predict_step\n"
        "def slow(self, batch, batch_idx): time.sleep(2 * (batch_idx > 0)); return plain(self, batch, batch_idx)\n"
        "model.predict_step = slow\n"
        "from dicom_ml.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stderr=subprocess.PIPE)
    waiting = time.monotonic() + seconds
    try:
        while time.monotonic() < waiting and process.poll() is None and not has_begun():
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was to be killed while it predicted"
