"""Metrics in Prometheus' text format: counters and histograms of requests. `server.gauges` has the gauges."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from server.observability.timing import Timings

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """The metrics of one application; each has its own registry, so that several in a process don't mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "alexnet_requests", "Requests by route, status and error code.", ("route", "status", "code"),
            registry=self.registry,
        )  # fmt: skip
        self._duration = Histogram(
            "alexnet_request_duration_seconds", "Seconds from the request's headers to the end of its response.",
            ("route",), buckets=DURATION_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._phases = Histogram(
            "alexnet_phase_duration_seconds", "Seconds of a request by phase.", ("phase",),
            buckets=DURATION_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._batches = Histogram(
            "alexnet_batch_crops", "Crops per batch.", buckets=BATCH_BUCKETS, registry=self.registry
        )

    def observe_request(self, route: str, status: int, code: str, timings: Timings) -> None:
        """Count one request."""
        self._requests.labels(route, str(status), code).inc()
        self._duration.labels(route).observe(timings.total)
        for phase, seconds in timings.seconds.items():
            self._phases.labels(phase).observe(seconds)

    def observe_batch(self, crops: int) -> None:
        """Count one batch of the network."""
        self._batches.observe(crops)

    def render(self) -> bytes:
        """The body of `GET /metrics`."""
        return generate_latest(self.registry)
