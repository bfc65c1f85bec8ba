"""Traces: a request's phases reach an OpenTelemetry collector. Nothing else tells anybody anything."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from model.artifacts.artifact import Artifact
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
    """Its own telemetry, on by default, begins with files in the user's home; where CI is set it is off."""
    image = next(images.rglob("*.jpg"))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run(
        [ALEXNET, "classify", image, "--artifact", artifact.path],
        env=environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""},
        check=True,
        capture_output=True,
    )
    assert not list(tmp_path.iterdir())
