"""MONAI bundles over the series of a cohort.

A bundle's configuration is a program: run only those you would run as programs. Weights are read as tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dicom_ml.bridge.lightning import lightning
from dicom_ml.bridge.tensors import torch
from dicom_ml.cohorts.cases import Case
from dicom_ml.errors import FileError, MissingPackageError

__all__ = ["BundleModel", "BundleProgram", "is_program"]

_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")


class BundleModel(lightning().LightningModule):  # type: ignore[misc]
    """The network of a MONAI bundle, its inferer and its preprocessing, as a Lightning model.

    Of the bundle's ``inference`` configuration, ``network_def``, ``inferer`` and ``preprocessing`` count. Weights are
    those in ``models/model.pt``. Its loaders of images become :class:`dicom_ml.transforms.LoadDicomd`. Its
    postprocessing is left out, as writers decide, undo the preprocessing and write.

    Parameters
    ----------
    bundle : path
        The bundle's folder.
    image_key : str
        What its preprocessing calls the image.

    Attributes
    ----------
    network : torch.nn.Module
    inferer : callable
    preprocessing : MONAI Compose or None

    Raises
    ------
    FileError
        If the folder is no bundle, or lacks its weights or its network.
    """

    def __init__(self, bundle: str, image_key: str = "image") -> None:
        super().__init__()
        folder = Path(bundle)
        parser = _parser(folder)
        if "network_def" not in parser:
            raise FileError(f"the bundle {folder.name} defines no network_def")
        self.image_key = image_key
        self.network = parser.get_parsed_content("network_def", instantiate=True)
        self.network.load_state_dict(_weights(folder))
        self.network.eval()
        self.inferer = parser.get_parsed_content("inferer") if "inferer" in parser else _at_once
        own = parser.get_parsed_content("preprocessing") if "preprocessing" in parser else None
        self.preprocessing = None if own is None else _from_dicom(own, image_key)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """What the network says of a batch's images ``(B, C, ...)``."""
        return self.inferer(batch[self.image_key], self.network)


class BundleProgram:
    """A bundle whose ``run`` reads the series under ``slide`` or ``series`` and writes a file or folder, ``output``.

    Bundles that the recipes export are of this kind.

    Parameters
    ----------
    bundle : path
    """

    def __init__(self, bundle: str) -> None:
        self.bundle = Path(bundle)
        self._input = is_program(self.bundle)
        if not self._input:
            raise FileError(f"the bundle {self.bundle.name} has no run that reads slide or series and writes output")

    def __call__(self, case: Case, folder: Path) -> None:
        """Run it for a case."""
        name = str(_parser(self.bundle).get("output", "result.dcm"))
        # a bundle writes a file, or several into a folder
        target = folder / Path(name).name if Path(name).suffix else folder
        changed = {self._input: case.source, "output": str(target)}
        _parser(self.bundle, **changed).get_parsed_content("run")


def is_program(bundle: Path) -> str:
    """What a bundle's ``run`` calls its input; empty where it is no program over DICOM."""
    parser = _parser(bundle)
    named = [name for name in ("slide", "series") if name in parser]
    return named[0] if named and "run" in parser and "output" in parser else ""


def _parser(folder: Path, **changed: Any) -> Any:
    try:
        from monai.bundle import ConfigParser
    except ImportError as error:
        raise MissingPackageError("bundles need MONAI: pip install 'dicom-ml[monai]'") from error
    found = [folder / "configs" / name for name in _CONFIGS if (folder / "configs" / name).is_file()]
    if not found:
        raise FileError(f"{folder} is no MONAI bundle: it has no configs/inference.json")
    parser = ConfigParser()
    parser.read_config(str(found[0]))
    if (folder / "configs" / "metadata.json").is_file():
        parser.read_meta(str(folder / "configs" / "metadata.json"))
    parser["bundle_root"] = str(folder)
    for name, value in changed.items():
        parser[name] = value
    return parser


def _weights(folder: Path) -> Any:
    path = folder / "models" / "model.pt"
    if not path.is_file():
        raise FileError(f"the bundle {folder.name} has no weights: models/model.pt is missing")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds on files that are damaged, or hold more than tensors
        why = str(error).strip().partition("\n")[0][:200]
        raise FileError(f"the weights of the bundle {folder.name} cannot be loaded: {why}") from error
    for name in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            return found[name]
    return found


def _from_dicom(transform: Any, key: str) -> Any:
    """The bundle's preprocessing, with images loaded from DICOM."""
    from monai.transforms import Compose

    from dicom_ml.transforms import LoadDicomd

    steps = list(getattr(transform, "transforms", [transform]))
    if any(type(step).__name__.startswith("LoadImage") for step in steps):
        return Compose([LoadDicomd(key) if type(s).__name__.startswith("LoadImage") else s for s in steps])
    return Compose([LoadDicomd(key), *steps])


def _at_once(image: Any, network: Any) -> Any:
    return network(image)
