"""Limits on request bodies: their size, and the time in which they must arrive."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exceptions import BodyTooLargeError, InvalidHeaderError, RequestTimeoutError
from server.limits.deadlines import TIMEOUT_HEADER, parse_timeout

MAX_PATCH_BYTES = 32_768
"""Maximum size of a PATCH body."""


class BodyLimitMiddleware:
    """Bounds the size and arrival time of bodies; PATCH bodies get a lower limit, because the framework reads them
    before it checks the API key.

    Reading a body beyond a limit raises BodyTooLargeError or RequestTimeoutError. The body of a GET is not bounded:
    nothing of it is kept, since only the framework reads it, to notice a disconnect while it sends a file.
    """

    def __init__(self, app: ASGIApp, timeout: float, max_bytes: int) -> None:
        self.app, self.timeout, self.max_bytes = app, timeout, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "GET":
            limit = min(MAX_PATCH_BYTES, self.max_bytes) if scope["method"] == "PATCH" else self.max_bytes
            headers = Headers(scope=scope)
            timeout = _requested_seconds(headers, self.timeout)
            receive = _LimitedBody(receive, timeout, limit, headers.get("content-length", "")).receive
        await self.app(scope, receive, send)


def _requested_seconds(headers: Headers, max_seconds: float) -> float:
    """The timeout that a request asks for; `max_seconds` if it asks for none, or for one that its route refuses."""
    try:
        return parse_timeout(headers.get(TIMEOUT_HEADER), max_seconds)
    except InvalidHeaderError:
        return max_seconds


class _LimitedBody:
    """One body, received within limits. `declared`: its Content-Length; if too large, the body isn't awaited."""

    def __init__(self, receive: Receive, timeout: float, max_bytes: int, declared: str) -> None:
        self._receive, self._timeout, self._max_bytes = receive, timeout, max_bytes
        self._declared = int(declared[:18]) if declared.isdecimal() else 0
        self._end, self._size, self._more = asyncio.get_running_loop().time() + timeout, 0, True

    async def receive(self) -> Message:
        if not self._more:
            return await self._receive()
        self._check_size(self._declared)
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeoutError(f"request body not received within {self._timeout:g} s") from None
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        self._check_size(self._size)
        return message

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLargeError(f"request body too large: the limit is {self._max_bytes:,} bytes")
