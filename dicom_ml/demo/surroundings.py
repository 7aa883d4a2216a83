"""What the parts of the demo run in: packages, time, quiet and random numbers."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dicom_ml.errors import MissingPackageError

__all__ = ["calm", "need_packages", "progress_bar", "seeded", "timed"]


def need_packages() -> None:
    """Say at once what the demo lacks."""
    from importlib.util import find_spec

    needed = {"torch": "torch", "monai": "monai", "lightning": "lightning", "scipy": "scipy", "PIL": "pillow"}
    missing = [name for module, name in needed.items() if find_spec(module) is None]
    if missing:
        raise MissingPackageError(f"the demo needs {', '.join(missing)}: pip install 'dicom-ml[all]'")


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long a step took."""
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start


@contextmanager
def calm() -> Iterator[None]:
    """Lightning's advice on loaders and loggers is for longer trainings than this one."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(lightning|monai|torch)\b")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything random inside follows from the seed; the caller's own generators are as they were afterwards."""
    import torch
    from lightning import seed_everything
    from lightning.pytorch.utilities.seed import isolate_rng

    with isolate_rng():
        before = torch.are_deterministic_algorithms_enabled()
        seed_everything(seed, verbose=False)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def progress_bar() -> Any:
    """One kind of progress bar, whatever else is installed, that also shows in logs."""
    from lightning.pytorch.callbacks import TQDMProgressBar

    return TQDMProgressBar(refresh_rate=10)
