"""Time of a request by phase: the `Server-Timing` header, and spans of its trace."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import trace

TRACER = trace.get_tracer("alexnet-server")
"""Phases are spans of the request's trace, if traces are collected (the extra `telemetry`)."""


class Timings:
    """Seconds by phase (decode, queue, inference, search, encode).

    While several images of one request are in a phase, its time counts once.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self._intervals: dict[str, list[tuple[float, float]]] = {}

    def add(self, phase: str, seconds: float, ago: float = 0.0) -> None:
        """Count a phase of one image, which took `seconds` and ended `ago` seconds ago."""
        end = time.perf_counter() - ago
        self._intervals.setdefault(phase, []).append((end - seconds, end))
        end_ns = time.time_ns() - int(1e9 * ago)
        TRACER.start_span(phase, start_time=end_ns - int(1e9 * seconds)).end(end_ns)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each phase so far."""
        return {phase: union_length(intervals) for phase, intervals in self._intervals.items()}

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Add the time of a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - started)

    @property
    def total(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self.started

    def header(self) -> bytes:
        """Value of `Server-Timing`: milliseconds by phase, and of the whole request so far."""
        values = self.seconds | {"total": self.total}
        return ", ".join(f"{phase};dur={1000 * seconds:.1f}" for phase, seconds in values.items()).encode()


def union_length(intervals: Iterable[tuple[float, float]]) -> float:
    """The total length that intervals (start, end) cover; overlaps count once."""
    length, covered = 0.0, float("-inf")
    for start, end in sorted(intervals):
        length += max(0.0, end - max(start, covered))
        covered = max(covered, end)
    return length
