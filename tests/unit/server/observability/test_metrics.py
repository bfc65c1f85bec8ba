"""Metrics: requests, phases, batches and the state of the server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.exceptions import OverloadedError
from server.service import Service
from server.settings import Settings


@pytest.fixture
def client(artifact: Artifact, index_path: Path) -> Iterator[TestClient]:
    service = Service(Settings(artifact=artifact.path, index=index_path))
    with TestClient(create_app(service), raise_server_exceptions=False) as test_client:
        yield test_client


def samples(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(client: TestClient, route: str, status: int, code: str = "") -> float:
    labels = (("code", code), ("route", route), ("status", str(status)))
    return samples(client).get(("alexnet_requests_total", labels), 0)


def test_requests_are_counted_by_route_status_and_reason(client: TestClient, images: Path) -> None:
    jpeg = (images / "checks" / "01.jpg").read_bytes()
    for _ in range(2):
        client.post("/classify", content=jpeg)
    client.post("/classify", content=b"no image")
    client.get("/images/4711")
    client.get("/images/4712")
    for number in range(5):
        client.get(f"/nothing/{number}")
    assert counted(client, "/classify", 200) == 2
    assert counted(client, "/classify", 415, "unsupported_image") == 1
    assert counted(client, "/images/{image_id}", 404, "unknown_image") == 2
    assert counted(client, "other", 404, "not_found") == 5  # invented paths don't grow the metrics


def test_phases_batches_and_state(client: TestClient, images: Path) -> None:
    before = samples(client)
    client.post("/similar", content=(images / "checks" / "01.jpg").read_bytes())
    after = samples(client)
    for phase in ("decode", "queue", "inference", "search"):
        name = ("alexnet_phase_duration_seconds_count", (("phase", phase),))
        assert after[name] - before.get(name, 0) == 1
    assert after["alexnet_batch_crops_count", ()] - before["alexnet_batch_crops_count", ()] == 1
    assert after["alexnet_index_images", ()] == 90
    assert after["alexnet_inference_alive", ()] == 1
    assert after["alexnet_inflight_requests", ()] == 0
    assert after["alexnet_crops_per_second", ()] > 0
    (info,) = [dict(labels) for (name, labels), _ in after.items() if name == "alexnet_model_info"]
    assert (info["name"], info["version"], info["device"]) == ("patterns", "1", "cpu")


def test_the_dashboard_asks_for_metrics_that_exist(client: TestClient, images: Path) -> None:
    client.post("/similar", content=(images / "checks" / "01.jpg").read_bytes())
    present = {name for name, _ in samples(client)}
    dashboard = (Path(__file__).parents[4] / "deploy" / "grafana" / "alexnet-server.json").read_text()
    asked = {
        name
        for panel in json.loads(dashboard)["panels"]
        for target in panel["targets"]
        for name in re.findall(r"alexnet_\w+", target["expr"])
    }
    assert len(asked) > 10
    assert asked <= present


def expressions() -> list[str]:
    """What the alerts and the dashboard ask Prometheus for."""
    deploy = Path(__file__).parents[4] / "deploy"
    alerts = re.findall(r"^ +expr: (.+)$", (deploy / "prometheus" / "alerts.yml").read_text(), re.MULTILINE)
    dashboard = json.loads((deploy / "grafana" / "alexnet-server.json").read_text())
    return alerts + [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_alerts_and_dashboard_ask_for_labels_that_exist(client: TestClient, images: Path) -> None:
    client.post("/similar", content=(images / "checks" / "01.jpg").read_bytes())
    labels: dict[str, set[str]] = {"up": {"job"}}
    for name, pairs in samples(client):
        labels.setdefault(name, {"instance", "job"}).update(key for key, _ in pairs)
    asked = expressions()
    assert len(asked) > 10
    for expression in asked:
        names = re.findall(r"\b(alexnet_\w+|up)\b(?:\{(.*?)\})?", expression)
        assert names, expression
        for name, matchers in names:
            assert set(re.findall(r"(\w+)=", matchers)) <= labels[name], expression
        known = set[str]().union(*(labels[name] for name, _ in names))
        for grouped in re.findall(r"\bby \((.*?)\)", expression):
            assert set(grouped.split(", ")) <= known, expression
    alerts = "\n".join(asked)
    assert f'code="{OverloadedError.code}"' in alerts
    assert 'route="/classify"' in alerts
    assert "alexnet_inference_alive == 0" in alerts
