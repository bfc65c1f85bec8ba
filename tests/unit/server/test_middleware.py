"""Request ids: taken over from the client where they are harmless, and written to the log and the errors."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.middleware import InternalErrorMiddleware, ShutdownMiddleware

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_clients_request_id_is_kept(client: TestClient) -> None:
    response = client.get("/nothing", headers={"X-Request-ID": "order-17.b_2"})
    assert response.headers["x-request-id"] == "order-17.b_2"
    assert response.json()["error"]["request_id"] == "order-17.b_2"


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "a\tb", "<script>", "\u00e9"])
def test_an_odd_request_id_is_replaced(client: TestClient, request_id: str) -> None:
    response = client.get("/live", headers={b"X-Request-ID": request_id.encode("latin-1")})
    assert len(response.headers["x-request-id"]) == 32
    assert response.headers["x-request-id"] != client.get("/live").headers["x-request-id"]


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [(f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), ("00-xyz-00f067aa0ba902b7-01", None), (None, None)],
)
def test_the_trace_id_is_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture, traceparent: str | None, trace_id: str | None
) -> None:
    caplog.set_level(logging.DEBUG, "server.access_log")
    client.get("/live", headers={} if traceparent is None else {"traceparent": traceparent})
    (record,) = [record for record in caplog.records if record.name == "server.access_log"]
    assert getattr(record, "trace_id", None) == trace_id


def test_security_headers(client: TestClient) -> None:
    for path in ("/", "/live", "/nothing", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize(("has_begun", "status"), [(False, 503), (True, 200)])
def test_a_request_that_a_shutdown_ends_is_answered(has_begun: bool, status: int) -> None:
    assert asyncio.run(cancel_request(has_begun, is_over=True)) == [status]


def test_a_request_that_is_cancelled_otherwise_stays_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_request(has_begun=False, is_over=False))


async def ask(app: ASGIApp, statuses: list[int]) -> None:
    """Send a request, and add the statuses of its responses."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "GET", "path": "/labels", "headers": [], "root_path": "", "request_id": "1"}
    await app(scope, receive, send)


async def cancel_request(has_begun: bool, is_over: bool) -> list[int]:
    """The statuses of the responses to a request that is cancelled while it waits."""
    statuses, waiting = list[int](), asyncio.Event()

    async def wait_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        waiting.set()
        await asyncio.Future()

    task = asyncio.ensure_future(ask(ShutdownMiddleware(wait_for_ever, lambda: is_over), statuses))
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
