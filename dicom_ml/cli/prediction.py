"""From the options of ``dicom-ml predict --cohort`` to what predicts, in every process that does."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_ml.errors import EncodingError, FileError, MissingPackageError

__all__ = ["CohortModel"]

#: Of Lightning's settings, those that say where and how loudly, and not what.
_ASIDE = ("devices", "num_nodes", "strategy", "logger", "default_root_dir")
#: What tells Lightning that it is one of several processes; here each works alone.
_LAUNCHERS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK")


@dataclass(frozen=True)
class CohortModel:
    """Makes what predicts, in the process that will.

    Attributes
    ----------
    configs : tuple of str
        Files of settings.
    options : tuple of str
        Further ones, as LightningCLI takes them.
    checkpoint : str
        Empty where the settings or a bundle bring the weights.
    bundle : str
        A MONAI bundle's folder, or empty.
    threads : int
        That torch may use in each process. Sums depend on their number in the last bits.
    """

    configs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    checkpoint: str = ""
    bundle: str = ""
    threads: int = 1

    def __call__(self, number: int) -> Any:
        """What predicts, of worker ``number``."""
        for name in _LAUNCHERS:
            os.environ.pop(name, None)
        os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
        try:
            import torch
        except ImportError as error:
            raise MissingPackageError("this needs torch: pip install 'dicom-ml[recipes]'") from error
        torch.set_num_threads(self.threads)
        for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
            logging.getLogger(name).setLevel(logging.ERROR)  # what they say of every trainer
        from dicom_ml.cli.training import lightning_cli, with_recipes

        with_recipes()
        if self._is_program():
            from dicom_ml.cohorts import BundleProgram

            return BundleProgram(self.bundle)
        from dicom_ml.cohorts import LightningPredictor

        made = lightning_cli()(args=self._arguments(number), run=False, save_config_callback=None)
        if self.checkpoint:
            _load(made.model, Path(self.checkpoint))
        return LightningPredictor(made.trainer, made.model, made.datamodule)

    def _is_program(self) -> bool:
        if not self.bundle or self.configs or self.options:
            return False
        from dicom_ml.cohorts.bundles import is_program

        if is_program(Path(self.bundle)):
            return True
        raise EncodingError(
            "the bundle says what its network gives, not how that is written: name a writer, such as "
            "dicom_ml.callbacks.SegmentationWriter, under trainer.callbacks in a file of settings (--config)"
        )

    def _arguments(self, number: int) -> list[str]:
        given = [part for path in self.configs for part in ("--config", path)]
        if self.bundle:
            given += ["--model=dicom_ml.cohorts.BundleModel", f"--model.bundle={self.bundle}"]
        alone = [
            "--trainer.num_nodes=1",
            "--trainer.strategy=auto",
            f"--trainer.devices={_device(number)}",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
        ]
        return [*given, *self.options, *alone]

    def identity(self) -> str:
        """What tells this model and these settings from others.

        Raises
        ------
        FileError
            If one of their files does not exist.
        """
        parts: list[Any] = [_settings(Path(path)) for path in self.configs]
        parts += [one for one in self.options if not one.startswith(tuple(f"--trainer.{name}" for name in _ASIDE))]
        parts.append(_digest([Path(self.checkpoint)] if self.checkpoint else []))
        if self.bundle:
            parts.append(_digest(sorted(p for p in Path(self.bundle).glob("*/*") if p.is_file())))
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _settings(path: Path) -> Any:
    """A file of settings without what plays no part in the results."""
    try:
        import yaml

        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except ImportError as error:
        raise MissingPackageError("this needs Lightning and jsonargparse: pip install 'dicom-ml[recipes]'") from error
    except OSError as error:
        raise FileError(f"the settings {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"{path} is no YAML file of settings") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} is no file of settings: it holds no names")
    if isinstance(found.get("trainer"), dict):
        found["trainer"] = {key: value for key, value in found["trainer"].items() if key not in _ASIDE}
    return found


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0".encode())
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _device(number: int) -> str:
    """A GPU for each worker, in turns, where there are any."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"[{number % count}]" if count else "1"


def _load(model: Any, path: Path) -> None:
    """Put a checkpoint's weights into a model; nothing but tensors and plain values is read."""
    import pickle

    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        model.on_load_checkpoint(found)
        model.load_state_dict(found["state_dict"])
    except (OSError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        why = str(error).strip().partition("\n")[0][:200]
        raise FileError(f"{path.name} is no checkpoint of this model that can be loaded: {why}") from error
