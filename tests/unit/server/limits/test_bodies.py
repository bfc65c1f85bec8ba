"""Limits of bodies: size and time, also of JSON bodies, which are read before the API key is checked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from server.exceptions import BodyTooLargeError, RequestTimeoutError
from server.limits.bodies import MAX_PATCH_BYTES, BodyLimitMiddleware
from server.page import WEB


def test_a_long_one_is_refused_as_it_comes(writable_client: TestClient) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(1000)

    answer = writable_client.patch("/images/1", content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    long = json.dumps({"label": "x" * 200}) + " " * (MAX_PATCH_BYTES - 300)
    answer = writable_client.patch("/images/1", content=long, headers={"Content-Type": "application/json"})
    assert answer.status_code != 413


@pytest.mark.parametrize("declared", ["1001", "9" * 5000])
def test_one_that_says_that_it_is_too_large_is_not_awaited(declared: str) -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def receive() -> Message:
        raise AssertionError("the body is read")

    async def send(message: Message) -> None: ...

    scope = {"type": "http", "method": "POST", "headers": [(b"content-length", declared.encode())]}
    with pytest.raises(BodyTooLargeError, match="the limit is 1,000 bytes"):
        asyncio.run(BodyLimitMiddleware(reads, 0.2, 1000)(scope, receive, send))


def test_a_slow_one_is_given_up() -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def slowly() -> Message:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Message) -> None: ...

    for seconds, headers in ((0.2, []), (30.0, [(b"x-request-timeout", b"0.2")])):
        app = BodyLimitMiddleware(reads, seconds, 1000)
        with pytest.raises(RequestTimeoutError, match=r"not received within 0\.2 s"):
            asyncio.run(app({"type": "http", "method": "PATCH", "headers": headers}, slowly, send))


@pytest.mark.parametrize(
    "headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}, {"Content-Length": "99999999999"}]
)
def test_a_file_is_sent_whatever_the_headers_say_of_a_body(client: TestClient, headers: dict[str, str]) -> None:
    response = client.get("/page/app.js", headers=headers)
    assert (response.status_code, response.content) == (200, (WEB / "app.js").read_bytes())


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_of_just_the_limit_is_taken_and_one_byte_more_is_not(method: str) -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def send(message: Message) -> None: ...

    def call(size: int) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": bytes(size)}

        scope: Scope = {"type": "http", "method": method, "headers": []}
        asyncio.run(BodyLimitMiddleware(reads, 1, 1000)(scope, receive, send))

    call(1000)
    with pytest.raises(BodyTooLargeError):
        call(1001)
