"""Cases shared out among processes of this machine; one that dies is replaced."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from dicom_ml.cohorts.cases import Case
from dicom_ml.cohorts.results import Outcome, Results
from dicom_ml.errors import EncodingError

__all__ = ["run_on_processes"]

#: How often a case is tried whose process dies: more than once, as it may have been another's fault.
_TRIES = 2


def run_on_processes(
    cases: Sequence[Case],
    make: Callable[[int], Any],
    results: Results,
    attempt: Callable[[Any, Case, Results], Outcome],
    workers: int,
    take: Callable[[Outcome], None],
) -> None:
    """Have every case attempted by one of several processes.

    Parameters
    ----------
    cases : sequence of Case
    make, attempt : callable
        As in :mod:`dicom_ml.cohorts.running`; both picklable.
    results : Results
    workers : int
    take : callable
        Called here with each outcome, as they come.

    Raises
    ------
    EncodingError
        If a process cannot make what predicts, or dies before it has.
    """
    pool = _Pool(make, results, attempt)
    try:
        pool.run(cases, workers, take)
    finally:
        pool.stop()


class _Pool:
    def __init__(self, make: Callable[[int], Any], results: Results, attempt: Callable[..., Outcome]) -> None:
        # forked processes would share the state of torch's threads and of CUDA
        self._context = multiprocessing.get_context("spawn")
        self._job = (make, results, attempt)
        self._workers: dict[Connection, tuple[BaseProcess, int]] = {}
        self._busy: dict[Connection, Case] = {}
        self._ready: set[Connection] = set()
        self._results = results

    def run(self, cases: Sequence[Case], workers: int, take: Callable[[Outcome], None]) -> None:
        todo, deaths = deque(cases), Counter[str]()
        for number in range(workers):
            self._start(number)
        while todo or self._busy:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                try:
                    said = connection.recv()
                except (EOFError, OSError):
                    self._bury(connection, todo, deaths, take)
                    continue
                if isinstance(said, Outcome):
                    del self._busy[connection]
                    take(said)
                elif said is not None:
                    raise EncodingError(f"a worker could not be made: {said}")
                self._ready.add(connection)
            self._share_out(todo)

    def _share_out(self, todo: deque[Case]) -> None:
        for connection in [c for c in self._ready if c not in self._busy]:
            if not todo:
                return
            case = todo.popleft()
            self._busy[connection] = case
            try:
                connection.send(case)
            except OSError:
                pass  # it died while idle; the next look finds it so

    def _start(self, number: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, number, *self._job), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = (process, number)

    def _bury(
        self, connection: Connection, todo: deque[Case], deaths: Counter[str], take: Callable[[Outcome], None]
    ) -> None:
        process, number = self._workers.pop(connection)
        connection.close()
        process.join()
        how = _end_of(process.exitcode)
        case = self._busy.pop(connection, None)
        if connection not in self._ready:
            raise EncodingError(f"a worker {how} before it could begin; there may be too little memory for so many")
        self._ready.discard(connection)
        if case is not None:
            deaths[case.name] += 1
            if deaths[case.name] < _TRIES:
                todo.append(case)
            else:
                why = f"the process that predicted it {how}, {_TRIES} times; it may need more memory than there is"
                take(self._results.fail(case, why))
        if todo:
            self._start(number)

    def stop(self) -> None:
        for connection, (process, _) in self._workers.items():
            if connection in self._busy or connection not in self._ready:
                process.terminate()
            connection.close()  # an idle one ends by itself
        for process, _ in self._workers.values():
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _end_of(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with status {code}"


def _work(connection: Connection, number: int, make: Callable[[int], Any], results: Results, attempt: Any) -> None:
    """What a process does: one case after another, until there is nobody who has any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the one who shares out to stop
    try:
        predict = make(number)
    except Exception as error:
        from dicom_ml.cohorts.running import failure_of

        connection.send(failure_of(error))
        return
    try:
        connection.send(None)
        while True:
            connection.send(attempt(predict, connection.recv(), results))
    except (EOFError, OSError):
        return
