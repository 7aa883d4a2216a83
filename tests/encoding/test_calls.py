"""Functions called in a process of one's own."""

from __future__ import annotations

import os

import pytest

from dicom_ml.encoding.calls import CallProcess, ProcessEnded
from dicom_ml.errors import StoreError


def square(number: int) -> int:
    print("not among the answers")
    return number * number


def refuse(reason: str) -> None:
    raise StoreError(reason)


@pytest.fixture
def process():
    process = CallProcess()
    yield process
    process.close()


def test_one_process_answers_all_calls(process):
    pids = {process.call(os.getpid) for _ in range(3)}
    assert len(pids) == 1 and os.getpid() not in pids
    assert [process.call(square, n) for n in range(4)] == [0, 1, 4, 9]


def test_errors_of_ours_come_back_and_the_process_goes_on(process):
    before = process.call(os.getpid)
    with pytest.raises(StoreError, match="not today"):
        process.call(refuse, "not today")
    assert process.call(os.getpid) == before


@pytest.mark.parametrize(("function", "value"), [(os._exit, 9), (int, "no number")])
def test_a_process_that_ends_is_said_and_replaced(process, function, value):
    before = process.call(os.getpid)
    with pytest.raises(ProcessEnded):
        process.call(function, value)
    assert process.call(os.getpid) != before


def test_closed_twice_and_before_it_was_started():
    process = CallProcess()
    process.close()
    child = process.call(os.getpid)
    process.close()
    process.close()
    with pytest.raises(OSError):
        os.kill(child, 0)
