"""Cases shared out by Ray Data, on the machines of a cluster or on this one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from dicom_ml.cohorts.cases import Case
from dicom_ml.cohorts.results import Outcome, Results
from dicom_ml.errors import MissingPackageError

__all__ = ["run_on_ray"]


def run_on_ray(
    cases: Sequence[Case],
    make: Callable[[int], Any],
    results: Results,
    attempt: Callable[[Any, Case, Results], Outcome],
    workers: int,
    take: Callable[[Outcome], None],
) -> None:
    """Have every case attempted by one of several actors, which Ray replaces where one dies.

    A cluster is joined where the environment names one (``RAY_ADDRESS``); all its machines must see the files and the
    output folder. Actors take a GPU each where the cluster has as many.

    Raises
    ------
    MissingPackageError
        If Ray Data is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError("this engine needs Ray Data: pip install 'dicom-ml[ray]'") from error
    begun = not ray.is_initialized()
    if begun:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        rows = ray.data.from_items([{"case": pickle.dumps(case)} for case in cases], override_num_blocks=len(cases))
        said = rows.map(
            _Actor,
            fn_constructor_args=(make, results, attempt),
            concurrency=min(workers, len(cases)),
            num_cpus=1,
            num_gpus=1 if gpus >= workers else 0,
        )
        for row in said.iter_rows():
            take(pickle.loads(row["outcome"]))
    finally:
        if begun:
            ray.shutdown()


class _Actor:
    """What one of Ray's processes keeps from case to case."""

    def __init__(self, make: Callable[[int], Any], results: Results, attempt: Callable[..., Outcome]) -> None:
        self.predict, self.results, self.attempt = make(0), results, attempt

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        outcome = self.attempt(self.predict, pickle.loads(row["case"]), self.results)
        return {"outcome": pickle.dumps(outcome)}
