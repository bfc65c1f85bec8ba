"""Requests that the framework leaves unanswered get a response, unless one has begun."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.middleware.errors import InternalErrorMiddleware, ShutdownMiddleware


@pytest.mark.parametrize(("has_begun", "status"), [(False, 503), (True, 200)])
def test_a_request_that_a_shutdown_ends_is_answered(has_begun: bool, status: int) -> None:
    assert asyncio.run(cancel_request(has_begun, shutdown_expired=True)) == [status]


def test_a_request_that_is_cancelled_otherwise_stays_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_request(has_begun=False, shutdown_expired=False))


async def ask(app: ASGIApp, statuses: list[int]) -> None:
    """Send a request, and append the statuses of its responses."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "GET", "path": "/labels", "headers": [], "root_path": "", "request_id": "1"}
    await app(scope, receive, send)


async def cancel_request(has_begun: bool, shutdown_expired: bool) -> list[int]:
    """The statuses of the responses to a request that is cancelled while it waits."""
    statuses, waiting = list[int](), asyncio.Event()

    async def wait_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        waiting.set()
        await asyncio.Future()

    task = asyncio.ensure_future(ask(ShutdownMiddleware(wait_for_ever, lambda: shutdown_expired), statuses))
    await waiting.wait()
    task.cancel()
    await task
    return statuses


@pytest.mark.parametrize("has_begun", [False, True])
def test_an_exception_of_middleware_is_answered_unless_a_response_has_begun(has_begun: bool) -> None:
    statuses = list[int]()

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError) if has_begun else nullcontext():
        asyncio.run(ask(InternalErrorMiddleware(fail), statuses))
    assert statuses == [200 if has_begun else 500]
