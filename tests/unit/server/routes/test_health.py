"""Health and information."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from server.service import Service


def test_health_and_info(client: TestClient) -> None:
    assert client.get("/live").json() == {"status": "live"}
    assert client.get("/ready").json() == {"status": "ready"}
    info = client.get("/info").json()
    assert (info["num_classes"], info["device"], info["index"]) == (3, "cpu", {"size": 90, "codes": None})
    assert {m["crops"] for m in info["measurements"]} == {1, 10}


def test_why_it_is_not_ready(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "worker_failure", "search worker stopped")
    assert client.get("/ready").json() == {"status": "search worker stopped"}


def test_a_worker_that_recovers_during_the_check_is_not_called_draining(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["inference worker stopped or stuck", None])
    monkeypatch.setattr(Service, "worker_failure", property(lambda _: next(states)))
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "inference worker stopped or stuck"})
