"""Deadlines: the header X-Request-Timeout, and requests that run out of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient

from server.exceptions import DeadlineExceededError, OverloadedError
from server.limits.deadlines import gather_all, parse_deadline, run_until_deadline
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
    """Otherwise the answer would be as if the client had left, although the image was removed."""
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


async def run_with(messages: list[dict[str, Any] | Exception], seconds: float, work: Awaitable[int]) -> int:
    """Run `work` for a request that receives these messages, then nothing more."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Future()
        message = left.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    request = Request({"type": "http", "headers": []}, receive)
    return await run_until_deadline(request, time.monotonic() + seconds, work)


PART, LEFT = {"type": "http.request"}, {"type": "http.disconnect"}


def test_work_ends_with_its_client() -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def work() -> int:
            try:
                return await asyncio.Future[int]()
            finally:
                ended.set()

        with pytest.raises(ClientDisconnect):
            await run_with([PART, PART, LEFT], 60, work())
        await asyncio.wait_for(ended.wait(), 5)
        ended.clear()
        with pytest.raises(DeadlineExceededError, match="X-Request-Timeout"):
            await run_with([PART], 0.05, work())
        await asyncio.wait_for(ended.wait(), 5)
        ended.clear()
        with pytest.raises(DeadlineExceededError):
            await run_with([], -5, work())
        assert len(asyncio.all_tasks()) == 1 or await asyncio.sleep(0.05, True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_body_over_its_limit_does_not_end_work_that_does_not_read_it() -> None:
    """Its client hasn't left."""

    async def run() -> None:
        assert await run_with([OverloadedError("the body is too large")], 20, asyncio.sleep(0.1, 7)) == 7
        with pytest.raises(OverloadedError, match="of the work"):
            await run_with([], 20, fail())

    async def fail() -> int:
        raise OverloadedError("of the work")

    asyncio.run(run())
