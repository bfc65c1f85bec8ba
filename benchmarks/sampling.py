"""Sample a measurement while something runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def sample_repeatedly(measure: Callable[[], T], interval: float) -> Iterator[list[T]]:
    """A list to which a thread appends the result of `measure` every `interval` seconds while the context is open."""
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
