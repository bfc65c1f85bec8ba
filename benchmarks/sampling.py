"""Samples of a measurement while something runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def sample_repeatedly(measure: Callable[[], T], interval: float) -> Iterator[list[T]]:
    """A list that grows by the result of `measure`, from a thread with pauses of `interval` seconds, until the end."""
    samples: list[T] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(interval):
            samples.append(measure())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
