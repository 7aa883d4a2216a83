"""The same ten thousand times: studies opened, objects written, batches delivered, and no memory stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.many import JOBS, Prepare, memory_after
from benchmarks.registry import NAMED_SIZES, OURS, Case, Competitor, Job, Row, WrongResult, register

#: What may come and go between two looks at a process that keeps nothing: freed memory that the allocator holds.
ALLOWED = 4 << 20


def times(case: Case) -> int:
    return 10_000 if case.size.slices >= NAMED_SIZES["full"].slices else 200


@dataclass(frozen=True)
class Repeated:
    """How often, and the memory held after the first fifth and at the end."""

    delivered: int
    first: int
    memory: tuple[int, int]

    @property
    def told(self) -> str:
        before, after = (f"{held / 2**20:.1f} MiB" for held in self.memory)
        return f"holds {before} after {self.first:,}, {after} after {self.delivered:,}"


def prepare(how: Prepare) -> Any:
    def prepared(case: Case) -> Job:
        again = how(case.path("small"), case.output.parent)
        count = times(case)

        def job() -> Repeated:
            before, after = memory_after(again, (count // 5, count))
            return Repeated(count, count // 5, (before, after))

        return job

    return prepared


def check(_: Case, found: Repeated) -> None:
    before, after = found.memory
    if after - before > ALLOWED:
        raise WrongResult(f"memory grows: {found.told}")


for _name, _how in JOBS.items():
    _modules = ("lightning", "dicom_ml.data") if _name.endswith("batches") else ("dicom_ml",)
    register(
        Row(
            name=f"many-{_name}",
            title=f"10,000 times: {_name.replace('-', ' ')}",
            floor_text="none: memory after 2,000 and after 10,000 counts",
            datasets=("small",),
            competitors=(Competitor(OURS, prepare(_how), _modules),),
            check=check,
            most_runs=1,
        )
    )
