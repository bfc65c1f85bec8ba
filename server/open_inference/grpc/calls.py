"""A request to the HTTP application in the same process, on behalf of a gRPC call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

FORWARDED_METADATA = ("authorization", "x-api-key", "x-request-id", "x-request-timeout", "traceparent", "tracestate")
"""Metadata of a call that become headers of the request."""


@dataclass(frozen=True)
class Caller:
    """The caller: metadata as pairs, and the address as gRPC writes it, `ipv4:HOST:PORT` or `ipv6:%5BHOST%5D:PORT`."""

    metadata: Sequence[tuple[str, str | bytes]]
    peer: str

    @property
    def address(self) -> tuple[str, int] | None:
        host, _, port = unquote(self.peer.partition(":")[2]).rpartition(":")
        return (host.strip("[]"), int(port)) if port.isdecimal() else None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (name.encode(), value.encode())
            for name, value in self.metadata
            if name in FORWARDED_METADATA and isinstance(value, str)
        ]


@dataclass(frozen=True)
class HttpResponse:
    """A response of the application."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_not_ready(self) -> bool:
        """Whether it says that the server isn't ready, which is not an error."""
        return self.status == 503 and self.json().get("ready") is False

    @property
    def error(self) -> str:
        """The error message."""
        try:
            return str(self.json()["error"])
        except (ValueError, KeyError, TypeError):
            return f"HTTP status {self.status}"


async def send_request(
    app: ASGIApp,
    caller: Caller,
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> HttpResponse:
    """The response to a request. Cancellation acts like a client's disconnect."""
    own = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode()), *caller.headers, *headers]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "2", "method": method, "scheme": "http",
        "path": path, "raw_path": quote(path).encode(), "query_string": b"", "root_path": "", "headers": own,
        "client": caller.address, "server": ("localhost", None),
    }  # fmt: skip
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    start: Message = {}
    chunks: list[bytes] = []

    async def receive() -> Message:
        message = next(requests, None)
        return message if message is not None else await asyncio.Future()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    return HttpResponse(start["status"], Headers(raw=list(start["headers"])), b"".join(chunks))
