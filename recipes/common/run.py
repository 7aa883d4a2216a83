"""Steps of a recipe, done in order, each once; a run that was killed goes on where it stopped."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dicom_ml
from dicom_ml.encoding.halves import remove_left
from dicom_ml.errors import EncodingError, SeriesError
from recipes.common.settings import dump_settings, part_of
from recipes.common.state import BEGUN, DONE, Marker, digest_of, file_digests, read_marker, write_marker, write_text

__all__ = ["STEPS", "Done", "Recipe", "Run", "Step"]

#: The steps of every recipe, in order; each is a command of its own.
STEPS = ("cohort", "fetch", "labels", "train", "predict", "evaluate", "report")


#: Steps that all processes of a distributed run do together; the others are done by the first process alone.
_TOGETHER = ("train", "predict")


@dataclass(frozen=True)
class Done:
    """What a step says when it has ended.

    Parameters
    ----------
    outputs : sequence of path
        The files that tell whether something changed: later steps are done again when these differ. List manifests,
        metrics and checkpoints; a folder of many large files is better told by a list of them, with their sizes.
    facts : mapping
        JSON values that later steps or the page need; nothing that differs from run to run, such as times.
    """

    outputs: Sequence[Path] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A step of a recipe.

    Parameters
    ----------
    name : str
        One of :data:`STEPS`. It has the folder of that name in the run's output for itself.
    run : callable
        Takes the :class:`Run`. When it was killed and is started again with the same inputs, its folder is as it was
        left; when its inputs differ, its folder is empty.
    needs : sequence of str
        Steps whose outputs and facts it reads.
    settings : sequence of str
        Parts of the settings that it depends on, dotted: ``"recipe.cohort"``, ``"trainer"``.
    version : int
        To be raised when its code comes to give something else.
    seeded : bool
        Whether it depends on the run's seed. What does not is kept when a run is done again with another seed.
    """

    name: str
    run: Callable[[Run], Done]
    needs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    version: int = 1
    seeded: bool = True

    def __post_init__(self) -> None:
        if self.name not in STEPS:
            raise EncodingError(f"a step is one of {', '.join(STEPS)}, found {self.name!r}")


@dataclass(frozen=True)
class Recipe:
    """An experiment.

    Parameters
    ----------
    name : str
        That of its package, and of its folder in ``configs/``.
    title : str
    steps : sequence of Step
    data : mapping of str to str
        What it can run on, such as ``"stand-in"``, and what each is, in a sentence for the page.
    manifest : callable
        Builds the committed cohort manifest from the index of IDC: takes the folder to write to, gives the files.
    modelled_on : sequence of str
        Publications and code that it follows.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    data: Mapping[str, str]
    manifest: Callable[[Path], Sequence[Path]]
    modelled_on: tuple[str, ...] = ()

    def step(self, name: str) -> Step:
        """The step of a name."""
        return next(step for step in self.steps if step.name == name)


class Run:
    """One run of a recipe, in a folder.

    Parameters
    ----------
    recipe : Recipe
    output : path
        What the run made before is found there: steps whose inputs are the same are not done again.
    settings : mapping
        All of one of the files in ``configs/``, changed as the user wishes; see :mod:`recipes.common.settings`.
    size : str
        Its name, for the page.
    quiet : bool
        Log to the file only.

    Attributes
    ----------
    seed : int
    data : str
        What it runs on.
    leads : bool
        False in the other processes of a distributed run: there a step leaves writing files to the first process, and
        what it gives is not looked at.
    log : logging.Logger
        Says what happens, on the terminal and in ``log.txt``. Count things; never name a patient or a path of theirs.
    """

    def __init__(
        self, recipe: Recipe, output: Path, settings: Mapping[str, Any], *, size: str = "", quiet: bool = False
    ) -> None:
        self.recipe = recipe
        self.output = Path(output).resolve()
        self.settings = dict(settings)
        self.size = size
        self.seed = int(self.settings.get("seed_everything") or 0)
        self.data = str(self.setting("recipe.data"))
        if self.data not in recipe.data:
            raise EncodingError(f"the {recipe.name} recipe runs on {', '.join(recipe.data)}, not on {self.data!r}")
        self.leads = _is_first_process()
        self.output.mkdir(parents=True, exist_ok=True)
        self.log = _logger(self.output / "log.txt" if self.leads else None, quiet or not self.leads)

    # ------------------------------------------------------------------ what steps use
    def setting(self, name: str, default: Any = ...) -> Any:
        """A part of the settings by its dotted name; without a default it has to be there."""
        return part_of(self.settings, name, default)

    def path(self, *parts: str) -> Path:
        """A path in the run's folder, such as ``run.path("labels", "labels.csv")``."""
        return self.output.joinpath(*parts)

    def facts(self, step: str) -> dict[str, Any]:
        """Facts of a step that is done.

        Raises
        ------
        SeriesError
            If it is not.
        """
        marker = self.marker(step)
        if marker is None or marker.status != DONE:
            raise SeriesError(f"the step {step!r} of this run is not done; do it first: dicom-ml recipe {step} ...")
        return marker.facts

    def marker(self, step: str) -> Marker | None:
        """The state of a step; None where it was never begun."""
        return read_marker(self.path("state", f"{step}.json"))

    # ------------------------------------------------------------------ doing
    def input_digest(self, step: Step) -> str:
        """Digest of all that a step is made from.

        Raises
        ------
        SeriesError
            If a step that it needs is not done.
        """
        needed = {}
        for name in step.needs:
            marker = self.marker(name)
            if marker is None or not self.is_done(self.recipe.step(name)):
                raise SeriesError(
                    f"{step.name} needs the step {name!r}, which is not done with these settings; do it first: "
                    f"dicom-ml recipe {name} {self.recipe.name} --output ..."
                )
            needed[name] = marker.result
        return digest_of(
            {
                "recipe": self.recipe.name,
                "step": step.name,
                "version": step.version,
                "software": dicom_ml.__version__,
                "seed": self.seed if step.seeded else None,
                "data": self.data,
                "settings": {name: self.setting(name, None) for name in step.settings},
                "needs": needed,
            }
        )

    def is_done(self, step: Step) -> bool:
        """Whether a step was done with the inputs of today, and what it made is still there, unchanged."""
        marker = self.marker(step.name)
        if marker is None or marker.status != DONE:
            return False
        try:
            if marker.input != self.input_digest(step):
                return False
            found = file_digests(self.output, [self.output / name for name in marker.outputs])
        except (SeriesError, OSError):
            return False
        return found == marker.outputs

    def do(self, name: str, *, force: bool = False) -> Marker:
        """Do one step, unless it is done.

        Parameters
        ----------
        name : str
        force : bool
            Do it again, from nothing.
        """
        step = self.recipe.step(name)
        if not self.leads:
            return self._follow(step)
        state = self.path("state", f"{name}.json")
        if not force and self.is_done(step):
            self.log.info("%s: done before", name)
            marker = self.marker(name)
            assert marker is not None
            return marker
        marker = Marker(self.input_digest(step))
        before = self.marker(name)
        if not force and before is not None and before.status == BEGUN and before.input == marker.input:
            marker.seconds, marker.starts = before.seconds, before.starts + 1
            remove_left(self.path(name))
            self.log.info("%s: goes on where it was stopped", name)
        else:
            shutil.rmtree(self.path(name), ignore_errors=True)
            self.log.info("%s: begins", name)
        self.path(name).mkdir(parents=True, exist_ok=True)
        write_text(self.path("config.yaml"), dump_settings(self.settings))
        write_marker(state, marker)
        begun, earlier = time.monotonic(), marker.seconds
        try:
            done = step.run(self)
        finally:
            marker.seconds = round(earlier + time.monotonic() - begun, 2)
            write_marker(state, marker)
        marker.status = DONE
        marker.facts = dict(done.facts)
        marker.outputs = file_digests(self.output, done.outputs)
        write_marker(state, marker)
        self.log.info("%s: done in %.1f s", name, marker.seconds)
        return marker

    def _follow(self, step: Step) -> Marker:
        """What the other processes of a distributed run do: take their part in a step, and wait for its end."""
        parent, took_part = os.getppid(), step.name not in _TOGETHER
        while True:
            marker = self.marker(step.name)
            if marker is not None and marker.status == DONE and self.is_done(step):
                return marker
            if not took_part and marker is not None and marker.status == BEGUN and self._is_ready(step, marker):
                step.run(self)
                took_part = True
            if os.getppid() != parent:
                raise SeriesError("the first process of this run has ended before its time")
            time.sleep(0.5)

    def _is_ready(self, step: Step, marker: Marker) -> bool:
        try:
            return marker.input == self.input_digest(step)
        except SeriesError:
            return False

    def do_all(self, names: Iterable[str] = STEPS, *, force: bool = False) -> None:
        """Do several steps, in their order."""
        wanted = set(names)
        for step in self.recipe.steps:
            if step.name in wanted:
                self.do(step.name, force=force)


def _is_first_process() -> bool:
    """Whether this is the only process, or the first one, by what Lightning, torchrun or Slurm say."""
    for name in ("RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name]) == 0
    return all(int(os.environ.get(name) or 0) == 0 for name in ("NODE_RANK", "LOCAL_RANK"))


def _logger(path: Path | None, quiet: bool) -> logging.Logger:
    log = logging.getLogger(f"recipes.{path}")
    log.propagate = False
    log.setLevel(logging.INFO)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    form = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = []
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    if not quiet:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)
    return log
