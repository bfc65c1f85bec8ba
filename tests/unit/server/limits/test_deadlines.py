"""Deadlines: the header X-Request-Timeout, and requests that run out of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.exceptions import OverloadedError
from server.limits.deadlines import gather_all, parse_deadline
from server.service import Service


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", ""])
def test_an_invalid_timeout(client: TestClient, jpeg: bytes, seconds: str) -> None:
    answer = client.post("/classify", content=jpeg, headers={"X-Request-Timeout": seconds})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_header")


def test_the_time_is_over(client: TestClient, jpeg: bytes) -> None:
    answer = client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "0.0001"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert client.post("/classify", content=jpeg, headers={"X-Request-Timeout": "20"}).status_code == 200


def test_no_client_gets_more_time_than_the_server_gives() -> None:
    for value, seconds in ((None, 5), ("2", 2), ("5.5", 5), ("1e9", 5)):
        before = time.monotonic()
        deadline = parse_deadline(value, 5)
        assert before + seconds <= deadline <= time.monotonic() + seconds, value


@pytest.mark.parametrize("path", ["/images/1/similar", "/images/1/preview", "/images/1/image", "/info"])
def test_requests_without_images_have_a_deadline(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.get(path, headers={"X-Request-Timeout": "1e-7"}).status_code == 504
    assert client.get(path, headers={"X-Request-Timeout": "soon"}).status_code == 422


def test_a_search_does_not_wait_for_busy_threads_longer_than_its_deadline(
    writable_client: TestClient, writable_service: Service, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = writable_service.decoder.run

    async def run_late(work: Callable[[], Any]) -> Any:
        await asyncio.sleep(3)
        return await run(work)

    monkeypatch.setattr(writable_service.decoder, "run", run_late)
    begun = time.monotonic()
    answer = writable_client.post("/similar", content=jpeg, headers={"X-Request-Timeout": "0.1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_a_body_that_is_not_needed_fails_nothing(writable_client: TestClient, encoding: str) -> None:
    """The request would be answered as if its client had left, although the image was removed."""
    headers = {"Content-Encoding": encoding}
    assert writable_client.get("/images/1/similar", headers=headers).status_code == 200
    assert writable_client.delete("/images/1", headers=headers).status_code == 204
    assert writable_client.get("/images/1").status_code == 404


def test_when_one_image_fails_nobody_waits_for_the_others() -> None:
    async def run() -> None:
        left, forever = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            try:
                await forever.wait()
            finally:
                left.set()

        async def fail() -> None:
            await asyncio.sleep(0)
            raise OverloadedError("busy")

        with pytest.raises(OverloadedError):
            await gather_all([wait(), fail()])
        async with asyncio.timeout(5):
            await left.wait()
        assert await gather_all([asyncio.sleep(0, 1), asyncio.sleep(0, 2)]) == [1, 2]

    asyncio.run(run())
