"""Gauges of `/metrics`, read from the service on each scrape. `server.observability.metrics` has the counters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from model.exceptions import IndexStoreError
from server.observability.log_output import num_dropped_lines
from server.service import Service


def count_images(service: Service) -> float:
    """Images in the index; NaN while its database does not answer."""
    index = service.current.index  # read once: another thread may reload the service
    try:
        return 0 if index is None else len(index)
    except IndexStoreError:
        return math.nan


class Gauge(NamedTuple):
    """The help text of a gauge, and how its value is read."""

    help: str
    read: Callable[[Service], float]


GAUGES = {
    "inflight_requests": Gauge(
        "Admitted requests whose response has not been sent.",
        lambda service: service.admission.requests,
    ),
    "inflight_bytes": Gauge(
        "Bytes of the bodies of requests in flight.",
        lambda service: service.admission.bytes,
    ),
    "queued_crops": Gauge(
        "Crops waiting for the network.",
        lambda service: service.current.inference.queued_crops,
    ),
    "crops_per_second": Gauge(
        "Speed of the network, median of the last batches.",
        lambda service: service.current.inference.throughput.crops_per_second,
    ),
    "inference_alive": Gauge(
        "1 while the inference worker runs and is not stuck.",
        lambda service: service.current.inference.is_alive,
    ),
    "index_images": Gauge(
        "Images in the index; NaN while its database is not responding.",
        count_images,
    ),
    "index_damaged_images": Gauge(
        "Indexed images that are left out of searches because they are damaged.",
        lambda service: service.current.num_damaged_images,
    ),
    "index_unverified_images": Gauge(
        "Indexed images that haven't been verified against their checksums yet.",
        lambda service: service.current.num_unverified_images,
    ),
    "dropped_log_lines": Gauge(
        "Log lines that were dropped because they couldn't be written.",
        lambda service: num_dropped_lines(),
    ),
}
"""By name, without the prefix `alexnet_`."""


class GaugeCollector(Collector):
    """The gauges of one service, and `alexnet_model_info`."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def collect(self) -> Iterator[Metric]:
        for name, gauge in GAUGES.items():
            yield GaugeMetricFamily(f"alexnet_{name}", gauge.help, value=float(gauge.read(self.service)))
        loaded = self.service.current
        manifest = loaded.artifact.manifest
        labels = {
            "name": manifest.name,
            "version": str(manifest.version),
            "device": loaded.model.device,
            "precision": loaded.artifact.precision,
            "sha256": loaded.artifact.network_sha256,
        }
        yield InfoMetricFamily("alexnet_model", "The served model.", value=labels)
