"""What Prometheus reads at GET /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from server.timing import Phases

if TYPE_CHECKING:
    from server.service import Service

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CROPS = (1, 2, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """The counters of one application; each has its own, so that several in a process don't mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "alexnet_requests", "Answered requests.", ("route", "status", "code"), registry=self.registry
        )
        self.duration = Histogram(
            "alexnet_request_seconds", "From the first byte to the answer.", ("route",),
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.phases = Histogram(
            "alexnet_phase_seconds", "Time of a request by phase.", ("phase",), buckets=SECONDS, registry=self.registry
        )
        self.batches = Histogram(
            "alexnet_batch_crops", "Crops that went through the network at once.", buckets=CROPS, registry=self.registry
        )

    def watch(self, service: Service) -> None:
        """Report what the service holds, too."""
        self.registry.register(_State(service))

    def answered(self, route: str, status: int, code: str, phases: Phases) -> None:
        """Count one request."""
        self.requests.labels(route, str(status), code).inc()
        self.duration.labels(route).observe(phases.total)
        for phase, seconds in phases.seconds.items():
            self.phases.labels(phase).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _State(Collector):
    """What is so at the moment of asking."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def collect(self) -> Iterator[Metric]:
        service, now = self.service, self.service.now
        manifest = now.artifact.manifest
        values = {
            "alexnet_requests_in_work": ("Admitted requests.", service.admission.requests),
            "alexnet_bytes_in_work": ("Bytes of their bodies.", service.admission.bytes),
            "alexnet_crops_waiting": ("Crops that wait for the network.", now.inference.waiting_crops),
            "alexnet_crops_per_second": (
                "Speed of the network, median of the last batches.",
                now.inference.crops_per_second,
            ),
            "alexnet_inference_alive": ("1 while the network's thread works.", now.inference.alive),
            "alexnet_index_images": ("Images in the index.", len(now.index) if now.index else 0),
        }
        for name, (description, value) in values.items():
            yield GaugeMetricFamily(name, description, value=float(value))
        facts = {"name": manifest.name, "version": str(manifest.version), "device": now.model.device}
        facts |= {"precision": now.artifact.precision}
        yield InfoMetricFamily(
            "alexnet_model", "What is served.", value=facts | {"sha256": now.artifact.network_sha256}
        )
