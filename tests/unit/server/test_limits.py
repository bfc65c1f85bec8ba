"""Limits: concurrent requests, and the size and time of JSON bodies, which are read before the API key is checked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from model.artifacts.artifact import Artifact
from server.app import create_app
from server.exceptions import RequestTimeoutError
from server.limits import MAX_PATCH_BYTES, BodyLimitMiddleware, MemoryBudget
from server.service import Service
from server.settings import Settings
from tests.helpers.polling import wait_until


def test_a_long_one_is_refused_as_it_comes(client: TestClient) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(1000)

    answer = client.patch("/images/1", content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    long = json.dumps({"label": "x" * 200}) + " " * (MAX_PATCH_BYTES - 300)
    answer = client.patch("/images/1", content=long, headers={"Content-Type": "application/json"})
    assert answer.status_code != 413


def test_a_slow_one_is_given_up() -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def slowly() -> Message:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Message) -> None: ...

    app = BodyLimitMiddleware(reads, 0.2, 1000)
    with pytest.raises(RequestTimeoutError):
        asyncio.run(app({"type": "http", "method": "PATCH"}, slowly, send))


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


@contextmanager
def waiting_for_memory(budget: MemoryBudget, num_bytes: int, abandoned: threading.Event) -> Iterator[Future[int]]:
    """A thread that waits for memory: the future of the bytes that are in use when it has its own."""

    def acquire() -> int:
        with budget.acquire(num_bytes, abandoned):
            return budget.bytes

    with ThreadPoolExecutor(1) as thread:
        before = len(budget._waiting)
        future = thread.submit(acquire)
        wait_until(lambda: len(budget._waiting) > before)
        yield future


def test_memory_is_given_in_the_order_in_which_it_was_asked_for() -> None:
    """Else a large image waits as long as small ones come."""
    budget = MemoryBudget(100)
    with ExitStack() as small, ExitStack() as waiting:
        small.enter_context(budget.acquire(10, threading.Event()))
        large = waiting.enter_context(waiting_for_memory(budget, 100, threading.Event()))
        later = waiting.enter_context(waiting_for_memory(budget, 10, threading.Event()))
        assert not later.done()
        small.close()
        assert large.result(20) == 100
        assert later.result(20) == 10


def test_an_image_larger_than_the_budget_is_decoded_alone() -> None:
    budget = MemoryBudget(100)
    with budget.acquire(200, threading.Event()):
        assert budget.bytes == 200
    assert budget.bytes == 0


def test_who_gives_up_waiting_for_memory_lets_others_pass() -> None:
    budget, abandoned = MemoryBudget(100), threading.Event()
    with (
        budget.acquire(10, threading.Event()),
        waiting_for_memory(budget, 100, abandoned) as large,
        waiting_for_memory(budget, 10, threading.Event()) as small,
    ):
        budget.abandon(abandoned)
        with pytest.raises(CancelledError):
            large.result(20)
        assert small.result(20) == 20
    assert budget.bytes == 0
