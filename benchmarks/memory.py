"""Memory of this process, and samples of it while something runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def measure_private_memory() -> float:
    """Resident memory of this process in MB, without pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@contextmanager
def sample_memory(read: Callable[[], float], interval: float) -> Iterator[list[float]]:
    """A list that grows by the result of `read` every `interval` seconds, from a thread."""
    samples: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(interval):
            samples.append(read())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
