"""Predicting a cohort: what is done is left out, the rest is shared out, and a case that fails stops nothing."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from dicom_ml.cohorts.cases import Case
from dicom_ml.cohorts.pool import run_on_processes
from dicom_ml.cohorts.results import Outcome, Results
from dicom_ml.encoding.untrusted import reason_of
from dicom_ml.errors import DicomMLError, DicomMLWarning, EncodingError

__all__ = ["CohortReport", "Predictor", "attempt", "predict_cohort"]

#: Takes a case and the folder that its files go to.
Predictor: TypeAlias = Callable[[Case, Path], Any]

ENGINES = ("processes", "ray")


@dataclass
class CohortReport:
    """What a call of :func:`predict_cohort` did.

    Attributes
    ----------
    done : int
        Cases that are done now.
    before : int
        Of these, cases that an earlier run had done.
    failed : list of Outcome
    """

    done: int = 0
    before: int = 0
    failed: list[Outcome] = field(default_factory=list)


def predict_cohort(
    cases: Sequence[Case],
    make: Callable[[int], Predictor],
    output: str | os.PathLike[str],
    *,
    workers: int = 1,
    engine: str = "processes",
    identity: str = "",
    progress: bool = False,
) -> CohortReport:
    """Predict the series of a cohort, each on its own, on many processes.

    Every series gets a folder ``STUDY/SERIES`` in ``output`` with its results and a marker that is written when they
    are whole; ``cohort.json`` tells of all. A run that was killed goes on where it stopped with the same call. A series
    that cannot be read or predicted is noted with the reason, and tried again by the next run; warnings are noted, too.
    A process that dies is replaced and its series tried once more. Who predicts which series plays no part in the
    results.

    Jobs on several machines share one ``output`` and take a :func:`shard` of the cases each.

    Parameters
    ----------
    cases : sequence of Case
        As of :func:`find_cases`.
    make : callable
        Makes what predicts, in the process that will: called with the number of the worker, it gives a callable that
        takes a case and the folder for its files. It has to be picklable where there are several workers.
    output : path
    workers : int
        Processes; with 1, this one.
    engine : {"processes", "ray"}
        Processes of this machine; or Ray Data, on the cluster that the environment names or else this machine.
    identity : str
        Names model and settings; a folder takes results of one identity.
    progress : bool
        Show on standard error how far it is.

    Returns
    -------
    CohortReport

    Raises
    ------
    EncodingError
        If the folder holds results of another identity, or a worker cannot be made.
    MissingPackageError
        If the engine is not installed.

    Examples
    --------
    >>> cases = find_cases("archive.index", ["CT"])  # doctest: +SKIP
    >>> predict_cohort(cases, make_model, "out/", workers=4)  # doctest: +SKIP
    """
    if engine not in ENGINES:
        raise EncodingError(f"engine is one of {', '.join(ENGINES)}, found {engine!r}")
    if workers < 1:
        raise EncodingError(f"workers are 1 or more, found {workers}")
    results = Results(output, identity)
    todo = [case for case in cases if not results.is_done(case)]
    report = CohortReport(len(cases) - len(todo), len(cases) - len(todo))
    with _Progress(len(cases), report, progress) as shown:

        def take(outcome: Outcome) -> None:
            if outcome.ok:
                report.done += 1
            else:
                report.failed.append(outcome)
            shown.tell(outcome)

        if todo:
            _run(todo, make, results, workers, engine, take)
    report.failed.sort(key=lambda outcome: outcome.name)
    results.summarize()
    return report


def _run(
    todo: Sequence[Case],
    make: Callable[[int], Predictor],
    results: Results,
    workers: int,
    engine: str,
    take: Callable[[Outcome], None],
) -> None:
    if engine == "ray":
        from dicom_ml.cohorts.on_ray import run_on_ray

        run_on_ray(todo, make, results, attempt, workers, take)
    elif workers == 1:
        predict = make(0)
        for case in todo:
            take(attempt(predict, case, results))
    else:
        run_on_processes(todo, make, results, attempt, min(workers, len(todo)), take)


def attempt(predict: Predictor, case: Case, results: Results) -> Outcome:
    """Predict one case, and note what became of it."""
    stamp = case.stamp()
    with _noted() as warned:
        try:
            predict(case, results.prepare(case))
        except Exception as error:  # whatever a model does wrong with one case, the others go on
            return results.fail(case, failure_of(error))
    return results.finish(case, stamp, warned)


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Collect what this package warns of, which belongs to the case; what others warn of is shown as ever."""
    warned: list[str] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", DicomMLWarning)
        yield warned
    for one in said:
        if not issubclass(one.category, DicomMLWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        elif str(one.message) not in warned:
            warned.append(str(one.message))


def failure_of(error: BaseException) -> str:
    """Why a case failed, in one line without values of its files."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, DicomMLError):
            return str(inner)
        seen.add(id(inner))
        inner = inner.__cause__ or inner.__context__
    while error.__cause__ is not None and error.__cause__ is not error:
        error = error.__cause__  # MONAI wraps what its transforms and bundles raise
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror or 'the file cannot be read'}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = ""
    if place is not None:
        code = place.tb_frame.f_code
        where = f" (in {code.co_name}, line {place.tb_lineno} of {os.path.basename(code.co_filename)})"
    return reason_of(error) + where if isinstance(error, Exception) else type(error).__name__


class _Progress:
    """A bar on a terminal; elsewhere, as in the log of a job, a line now and then."""

    _EVERY = 30.0

    def __init__(self, total: int, report: CohortReport, wanted: bool) -> None:
        self.total, self.report, self.wanted = total, report, wanted
        self._bar: Any = None
        self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        if self.wanted and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, initial=self.report.done, unit="series", leave=False)
        elif self.wanted:
            self._line()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.wanted:
            self._line()

    def tell(self, outcome: Outcome) -> None:
        """Count an outcome; say why one failed."""
        if not self.wanted:
            return
        if self._bar is not None:
            self._bar.update(1)
            if self.report.failed:
                self._bar.set_postfix(failed=len(self.report.failed))
        elif time.monotonic() - self._told > self._EVERY:
            self._line()
        if not outcome.ok:
            line = f"{outcome.name}: {outcome.reason}"
            print(line, file=sys.stderr) if self._bar is None else self._bar.write(line, file=sys.stderr)

    def _line(self) -> None:
        self._told = time.monotonic()
        count = f"{self.report.done} of {self.total} series done, {len(self.report.failed)} failed"
        print(count, file=sys.stderr, flush=True)
