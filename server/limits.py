"""Limits on what the server takes on at once: requests, bytes of bodies, pixels being decoded, small JSON bodies.

Crops that wait for the network are limited by `server.workers.inference`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exceptions import BodyTooLargeError, OverloadedError, RequestTimeoutError

MAX_JSON_BYTES = 16_384
"""Size of a PATCH body."""


class Admission:
    """Counts requests in flight and the bytes of their bodies. Only the event loop calls it."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.requests = self.bytes = 0

    @contextmanager
    def admit(self) -> Iterator[BodyQuota]:
        """Count a request as in flight. Raises OverloadedError when the limit is reached."""
        if self.requests >= self.max_requests:
            raise OverloadedError(f"server busy: limit of {self.max_requests} concurrent requests reached; retry later")
        quota = BodyQuota(self)
        self.requests += 1
        try:
            yield quota
        finally:
            self.requests -= 1
            self.bytes -= quota.bytes


class BodyQuota:
    """The bytes of one request's body so far; they count until its response has been sent."""

    def __init__(self, admission: Admission) -> None:
        self.admission, self.bytes = admission, 0

    def add(self, count: int) -> None:
        """Raises OverloadedError when the bodies in flight are too large together; one alone always fits."""
        if self.admission.bytes + count > self.admission.max_bytes and self.admission.bytes > self.bytes:
            raise OverloadedError(
                f"server busy: limit of {self.admission.max_bytes:,} bytes in flight reached; retry later"
            )
        self.bytes += count
        self.admission.bytes += count


class PixelBudget:
    """Bounds the pixels that are decoded at the same time; a single large image always fits."""

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels, self.pixels = max_pixels, 0
        self._released = threading.Condition()

    @contextmanager
    def acquire(self, pixels: int) -> Iterator[None]:
        """Wait, in the decoder's thread, until this many pixels fit."""
        with self._released:
            self._released.wait_for(lambda: not self.pixels or self.pixels + pixels <= self.max_pixels)
            self.pixels += pixels
        try:
            yield
        finally:
            with self._released:
                self.pixels -= pixels
                self._released.notify_all()


class BodyLimitMiddleware:
    """Bounds PATCH bodies in size and time: the framework reads them before it checks the API key.

    Whoever reads the body gets BodyTooLargeError or RequestTimeoutError.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self.app, self.timeout = app, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "PATCH":
            receive = aiter(self._limit(receive)).__anext__
        await self.app(scope, receive, send)

    async def _limit(self, receive: Receive) -> AsyncIterator[Message]:
        size, more, end = 0, True, asyncio.get_running_loop().time() + self.timeout
        while more:
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise RequestTimeoutError(f"request body not received within {self.timeout:g} s") from None
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
            if size > MAX_JSON_BYTES:
                raise BodyTooLargeError(f"request body too large: the limit is {MAX_JSON_BYTES:,} bytes")
            yield message
        while True:
            yield await receive()
