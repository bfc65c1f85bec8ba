"""Admission: how many requests are in flight at once."""

from __future__ import annotations

from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.service import Service
from server.settings import Settings


def test_one_request_too_many_is_told_to_come_back(artifact: Artifact, jpeg: bytes) -> None:
    service = Service(Settings(artifact=artifact.path, max_concurrent_requests=1))
    with TestClient(create_app(service)) as busy:
        with service.admission.admit("another"):
            answer = busy.post("/classify", content=jpeg)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "overloaded"
        assert busy.get("/live").status_code == 200
        assert busy.post("/classify", content=jpeg).status_code == 200
        assert busy.post("/classify", content=b"").status_code == 422
        assert busy.post("/classify", content=jpeg).status_code == 200
