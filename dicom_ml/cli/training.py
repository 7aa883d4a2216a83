"""LightningCLI over the files of ``configs/``: models, data and trainers by their names, all settings from one YAML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dicom_ml.errors import FileError, MissingPackageError

__all__ = ["lightning_cli", "run_lightning", "with_recipes"]


def lightning_cli() -> Any:
    """LightningCLI, with a part ``recipe`` in its files that it hands on as it is.

    Raises
    ------
    MissingPackageError
        If Lightning or jsonargparse is not installed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from lightning.pytorch.cli import LightningCLI
    except ImportError as error:
        raise MissingPackageError("this needs Lightning and jsonargparse: pip install 'dicom-ml[recipes]'") from error

    class TrainingCLI(LightningCLI):
        """LightningCLI that lets files say what is not Lightning's."""

        def __init__(self, **options: Any) -> None:
            # a run that goes on writes its settings again
            options.setdefault("save_config_kwargs", {"overwrite": True})
            options.setdefault("auto_configure_optimizers", False)
            super().__init__(**options)

        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.add_argument("--recipe", type=dict | None, default=None, help="what a recipe needs beside Lightning")

    return TrainingCLI


def run_lightning(subcommand: str, arguments: Sequence[str]) -> int:
    """Run a subcommand of LightningCLI: ``fit``, ``predict``, ``test``.

    Where there is a checkout's ``recipes`` package, its classes can be named.
    """
    with_recipes()
    lightning_cli()(args=[subcommand, *arguments])
    return 0


def with_recipes() -> None:
    """Have classes of a checkout's ``recipes`` package found by their names, where there is one."""
    from dicom_ml.cli.recipes import find_recipes

    try:
        find_recipes()
    except FileError:
        pass
