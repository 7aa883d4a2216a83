"""Study after study, object after object, batch after batch: memory that C libraries take stays flat, too.

A few hundred of what ``python -m benchmarks --rows 'many-*'`` does ten thousand times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("imagecodecs")
pytest.importorskip("PIL")

from benchmarks import datasets, many, process_memory  # noqa: F401  datasets registers the generators
from benchmarks.cache import Cache
from benchmarks.registry import Size

WARM, TIMES = 20, 100
#: The allocator gives back what it likes; one array of the study a call would be more than this.
ALLOWED = 1 << 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Cache(tmp_path_factory.mktemp("many")).get("small", Size(4, 32, 32))


def growth(again: many.Again) -> int:
    if not process_memory.tells_own():
        pytest.skip("this system does not tell what memory a process has of its own")
    before, after = many.memory_after(again, (WARM, WARM + TIMES))
    return after - before


@pytest.mark.parametrize("name", many.JOBS)
def test_no_memory_stays(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.endswith("batches"):
        pytest.importorskip("lightning")
        monkeypatch.setattr(many, "_workers", lambda: 0)  # in this process, where nothing has to start
    assert growth(many.JOBS[name](data, tmp_path)) <= ALLOWED


def test_a_leak_is_seen() -> None:
    kept = []
    assert growth(lambda: kept.append(bytearray(32 << 10))) > ALLOWED
