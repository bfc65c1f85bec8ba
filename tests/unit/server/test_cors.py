"""Pages of other origins may ask only where they are named."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.service import Service
from server.settings import Settings

ORIGIN = "https://a.example"


@pytest.mark.parametrize(
    ("allowed", "expected"), [("", None), ("https://b.example", None), (f"https://b.example, {ORIGIN}", ORIGIN)]
)
def test_origins(artifact: Artifact, allowed: str, expected: str | None) -> None:
    with TestClient(create_app(Service(Settings(artifact=artifact.path, cors_origins=allowed)))) as client:
        answer = client.get("/info", headers={"Origin": ORIGIN})
        assert answer.headers.get("access-control-allow-origin") == expected
        asked = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key",
        }
        before = client.options("/classify", headers=asked)
        assert before.headers.get("access-control-allow-origin") == expected
        assert (before.status_code == 200) == (expected is not None)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
