"""Deadlines: the header X-Request-Timeout, and requests that run out of time."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", ""])
def test_an_invalid_timeout(client: TestClient, jpeg: bytes, seconds: str) -> None:
    answer = client.post("/classify", content=jpeg, headers={"X-Request-Timeout": seconds})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_header")


def test_the_time_is_over(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "0.0001"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "20"}).status_code == 200


@pytest.mark.parametrize("path", ["/images/1/similar", "/images/1/preview", "/images/1/image"])
def test_requests_without_images_have_a_deadline(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.get(path, headers={"X-Request-Timeout": "1e-7"}).status_code == 504
    assert client.get(path, headers={"X-Request-Timeout": "soon"}).status_code == 422
