"""Traces: a request's phases reach an OpenTelemetry collector. Nothing else reports to anyone."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.observability.timing import union_length
from tests.helpers.server import ALEXNET, served


class Collector(HTTPServer):
    """Keeps what is posted to /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.traces, self.came = b"", threading.Event()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.traces += self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.server.came.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("intervals", "length"),
    [([], 0), ([(1, 2), (1, 2)], 1), ([(3, 4), (1, 2)], 2), ([(1, 4), (2, 3), (3, 5)], 4)],
)
def test_what_intervals_cover(intervals: list[tuple[float, float]], length: float) -> None:
    assert union_length(intervals) == length


def test_no_phase_of_many_images_takes_longer_than_the_request(client: TestClient, jpeg: bytes) -> None:
    """Its images wait and are computed at the same time."""
    response = client.post("/classify?crops=1", files=[("image", ("a.jpg", jpeg))] * 16)
    phases = dict(re.findall(r"(\w+);dur=([0-9.]+)", response.headers["server-timing"]))
    milliseconds = {phase: float(value) for phase, value in phases.items()}
    assert set(milliseconds) == {"decode", "queue", "inference", "total"}
    assert max(milliseconds, key=milliseconds.__getitem__) == "total", milliseconds


def test_phases_are_spans_of_the_request(
    collector: Collector, artifact: Artifact, images: Path, tmp_path: Path
) -> None:
    environment = {
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with served(artifact, tmp_path, environment) as (url, _):
        httpx2.post(f"{url}/classify", content=(images / "checks" / "01.jpg").read_bytes()).raise_for_status()
        assert collector.came.wait(10)
    for span in (b"POST /classify", b"decode", b"queue", b"inference"):
        assert span in collector.traces, span


def test_onnxruntime_s_makers_are_told_nothing(artifact: Artifact, images: Path, tmp_path: Path) -> None:
    """Its telemetry, on by default, first writes files to the user's home; it is off where CI is set."""
    image = next(images.rglob("*.jpg"))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run(
        [ALEXNET, "classify", image, "--artifact", artifact.path],
        env=environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""},
        check=True,
        capture_output=True,
    )
    assert not list(tmp_path.iterdir())
