"""The map over threads: order, a bounded number of calls ahead of the reader, errors at their place."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import cast

import pytest

from model.thread_pool import ordered_map


def test_results_come_in_order() -> None:
    slow = threading.Event()

    def square(number: int) -> int:
        if number == 0:
            slow.wait(10)  # later items finish first
        if number == 2:
            slow.set()
        return number * number

    assert list(ordered_map(square, range(20), workers=3)) == [number * number for number in range(20)]
    assert list(ordered_map(square, [])) == []


def test_at_most_ahead_results_wait_for_the_reader() -> None:
    begun: list[int] = []

    def begin(number: int) -> int:
        begun.append(number)
        return number

    results = ordered_map(begin, range(100), workers=2, ahead=4)
    assert next(results) == 0
    assert len(begun) <= 5
    assert list(results) == list(range(1, 100))


def test_an_error_is_raised_at_its_place_and_the_rest_is_canceled() -> None:
    begun: list[int] = []

    def fail_at_three(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        time.sleep(0.01)
        return number

    results = cast(Generator[int], ordered_map(fail_at_three, range(1000), workers=1, ahead=500))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(begun) < 20
