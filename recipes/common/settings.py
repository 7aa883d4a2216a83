"""Settings of a run: one YAML file a size, which LightningCLI reads too.

``seed_everything``, ``trainer``, ``model`` and ``data`` are LightningCLI's own. What else a recipe needs stands under
``recipe``: ``data`` (what it runs on), and a part for each step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_ml.errors import EncodingError, FileError, MissingPackageError

__all__ = ["SIZES", "apply_overrides", "config_file", "dump_settings", "load_settings", "part_of", "with_variant"]

#: A machine without a GPU or network, a laptop with a network, and the published setting.
SIZES = ("stand-in", "small", "full")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingPackageError("recipes need PyYAML: pip install 'dicom-ml[recipes]'") from error
    return yaml


def config_file(name: str, size: str) -> Path:
    """The file of a recipe's size.

    Raises
    ------
    EncodingError
        If there is none.
    """
    from recipes import CHECKOUT

    folder = CHECKOUT / "configs" / name
    if not (folder / f"{size}.yaml").is_file():
        sizes = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
        raise EncodingError(f"the {name} recipe has no size {size!r}; it has {sizes}")
    return folder / f"{size}.yaml"


def load_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file of settings, and change it.

    Parameters
    ----------
    path : path
    overrides : sequence of str
        As on a command line: ``["--trainer.max_epochs", "3", "--recipe.evaluate.bootstraps=100"]``.

    Raises
    ------
    FileError, EncodingError
        If the file, or a change, says nothing that can be understood.
    """
    yaml = _yaml()
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise FileError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or "recipe" not in found:
        raise FileError(f"{path} has no part 'recipe', which says what to run on")
    changed = apply_overrides(found, overrides)
    # what the user says comes last
    return apply_overrides(with_variant(changed), overrides)


def apply_overrides(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Settings with values changed by their dotted names; values are YAML."""
    changed = copy.deepcopy(dict(settings))
    left = list(overrides)
    while left:
        name = left.pop(0)
        if not name.startswith("--"):
            raise EncodingError(f"a change of settings is --NAME VALUE, such as --trainer.max_epochs 3; found {name!r}")
        name, equals, value = name[2:].partition("=")
        if not equals:
            if not left:
                raise EncodingError(f"--{name} has no value")
            value = left.pop(0)
        *parents, last = name.split(".")
        place = changed
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                raise EncodingError(f"the settings have no part {parent!r} of --{name}; they have {', '.join(place)}")
            place = place[parent]
        place[last] = _yaml().safe_load(value)
    return changed


def with_variant(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the changes that ``recipe.variants`` names for the data that is run on."""
    changes = part_of(settings, "recipe.variants", {}).get(part_of(settings, "recipe.data"), {})
    return apply_overrides(settings, [f"--{name}={_yaml().safe_dump(value)}" for name, value in changes.items()])


def part_of(settings: Mapping[str, Any], name: str, default: Any = ...) -> Any:
    """A part of settings by its dotted name.

    Raises
    ------
    EncodingError
        If it is not there, and there is no default.
    """
    value: Any = settings
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            if default is ...:
                raise EncodingError(f"the settings say nothing of {name!r}")
            return default
        value = value[key]
    return value


def dump_settings(settings: Mapping[str, Any]) -> str:
    """Settings as YAML, in their own order."""
    text: str = _yaml().safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=110)
    return text
