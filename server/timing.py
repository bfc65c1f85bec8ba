"""Time of a request by phase: the `Server-Timing` header, and spans of its trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

TRACER = trace.get_tracer("alexnet-server")
"""Phases are spans of the request's trace, where one is collected (the extra `telemetry`)."""


class Timings:
    """Seconds by phase (decode, queue, inference, search). Several images of one request add up."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def add(self, phase: str, seconds: float) -> None:
        """Count a phase that has just ended."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        TRACER.start_span(phase, start_time=time.time_ns() - int(1e9 * seconds)).end()

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
