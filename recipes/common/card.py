"""What a trained model is: the card that is published with it, and the algorithm that its results name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dicom_ml as dml
from recipes.common.run import Run
from recipes.common.state import write_json, write_text

__all__ = ["ModelCard", "read_card", "versions_of", "weights_digest"]


@dataclass
class ModelCard:
    """A model card.

    Attributes
    ----------
    name : str
        As in DICOM's Algorithm Name.
    version : str
        The recipe's, and the beginning of the digest of the weights: two trainings are two versions.
    intended_use, training_data, limits : str
    settings : dict
        Those that the results depend on; they go into Algorithm Parameters.
    metrics : dict
    versions : dict
        Of the software.
    """

    name: str
    version: str
    intended_use: str
    training_data: str
    limits: str
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def algorithm(self) -> dml.Algorithm:
        """The algorithm identification of all results of the model (PS3.3 10.16)."""
        said = "; ".join(f"{name}={value}" for name, value in self.settings.items())
        return dml.Algorithm(self.name, self.version, source="dicom_ml recipes", parameters=said)

    def markdown(self) -> str:
        """The card, for people."""
        lines = [f"# {self.name} {self.version}", ""]
        for title, text in (
            ("Intended use", self.intended_use),
            ("Training data", self.training_data),
            ("Limits", self.limits),
        ):
            lines += [f"## {title}", text, ""]
        for title, table in (("Settings", self.settings), ("Results", self.metrics), ("Software", self.versions)):
            if table:
                lines += [f"## {title}", "", "| | |", "|---|---|", *_rows(table), ""]
        return "\n".join(lines)

    def save(self, folder: Path) -> list[Path]:
        """Write ``model-card.json`` and ``model-card.md``."""
        files = [folder / "model-card.json", folder / "model-card.md"]
        write_json(files[0], asdict(self))
        write_text(files[1], self.markdown())
        return files


def _rows(table: Mapping[str, Any]) -> list[str]:
    return [f"| {name} | {f'{v:.3f}' if isinstance(v, float) else v} |" for name, v in table.items()]


def read_card(run: Run) -> ModelCard:
    """The card of a run's trained model."""
    return ModelCard(**json.loads(run.path("train", "model-card.json").read_text(encoding="utf-8")))


def weights_digest(model: Any) -> str:
    """SHA-256 of a module's weights."""
    import numpy as np

    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().float().numpy()).tobytes())
    return digest.hexdigest()


def versions_of(run: Run) -> dict[str, str]:
    """Versions of what a run depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"dicom_ml": dml.__version__}
    for name in ("torch", "lightning", "monai", "numpy", "pydicom"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
