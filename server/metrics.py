"""Metrics in Prometheus' text format: counters of requests, and a snapshot of the server's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from server.timing import Timings

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 40, 80, 160, 320)


@dataclass(frozen=True)
class ServerState:
    """Gauges at one moment. `model`: labels of the metric `alexnet_model_info`."""

    inflight_requests: int
    inflight_bytes: int
    queued_crops: int
    crops_per_second: float
    inference_alive: bool
    index_images: int
    index_damaged_images: int
    dropped_log_lines: int
    model: Mapping[str, str]


GAUGES = {
    "inflight_requests": "Admitted requests whose response has not been sent.",
    "inflight_bytes": "Bytes of the bodies of requests in flight.",
    "queued_crops": "Crops waiting for the network.",
    "crops_per_second": "Speed of the network, median of the last batches.",
    "inference_alive": "1 while the inference worker runs and is not stuck.",
    "index_images": "Images in the index.",
    "index_damaged_images": "Images of the index that are left out of searches, since they are damaged.",
    "dropped_log_lines": "Lines of the log that were dropped because nobody read it.",
}
"""Fields of ServerState, each a gauge with the prefix `alexnet_`, and their help texts."""


class Metrics:
    """The metrics of one application; each has its own registry, so that several in a process don't mix."""

    def __init__(self, snapshot: Callable[[], ServerState]) -> None:
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
        self.registry.register(_StateCollector(snapshot))

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


class _StateCollector(Collector):
    """Takes a snapshot whenever Prometheus reads the metrics."""

    def __init__(self, snapshot: Callable[[], ServerState]) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        state = self.snapshot()
        for name, description in GAUGES.items():
            yield GaugeMetricFamily(f"alexnet_{name}", description, value=float(getattr(state, name)))
        yield InfoMetricFamily("alexnet_model", "The model that is served.", value=dict(state.model))
