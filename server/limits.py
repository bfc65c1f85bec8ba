"""Limits on what the server takes on at once: requests, bytes of bodies, pixels being decoded, PATCH bodies.

Crops that wait for the network are limited by `server.workers.inference`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exceptions import BodyTooLargeError, OverloadedError, RequestTimeoutError
from server.fairness import fits_share

MAX_PATCH_BYTES = 32_768
"""Size of a PATCH body."""


class Admission:
    """Counts requests in flight and the bytes of their bodies, of all and of each client. Only the event loop calls it.

    `suggest_retry_after`: seconds after which a refused client may expect to be accepted.
    """

    def __init__(
        self, max_requests: int, max_bytes: int, suggest_retry_after: Callable[[], float] = lambda: 1.0
    ) -> None:
        self.max_requests, self.max_bytes, self.suggest_retry_after = max_requests, max_bytes, suggest_retry_after
        self.requests = self.bytes = 0
        self._requests_of, self._bytes_of = Counter[str](), Counter[str]()

    @contextmanager
    def admit(self, client: str) -> Iterator[BodyQuota]:
        """Count a request as in flight. Raises OverloadedError when the limit, or the client's share, is reached."""
        if not fits_share(1, self._requests_of[client], self.requests, self.max_requests):
            raise self.overloaded_error(f"limit of {self.max_requests} concurrent requests", self._requests_of[client])
        quota = BodyQuota(self, client)
        self.requests += 1
        self._requests_of[client] += 1
        try:
            yield quota
        finally:
            self.requests -= 1
            self.bytes -= quota.bytes
            for counter, amount in ((self._requests_of, 1), (self._bytes_of, quota.bytes)):
                counter[client] -= amount
                if not counter[client]:
                    del counter[client]

    def add_bytes(self, quota: BodyQuota, count: int) -> None:
        """Count bytes of a body. Raises OverloadedError; one body alone always fits."""
        alone = self.bytes == quota.bytes
        if not alone and not fits_share(count, self._bytes_of[quota.client], self.bytes, self.max_bytes):
            raise self.overloaded_error(f"limit of {self.max_bytes:,} bytes in flight", self._bytes_of[quota.client])
        self.bytes += count
        self._bytes_of[quota.client] += count

    def overloaded_error(self, limit: str, held: int) -> OverloadedError:
        """The error of a client that holds so much of what is limited."""
        share = f" (this client has {held:,} of them)" if held else ""
        return OverloadedError(f"server busy: {limit} reached{share}; retry later", self.suggest_retry_after())


class BodyQuota:
    """The bytes of one request's body so far; they count until its response has been sent."""

    def __init__(self, admission: Admission, client: str) -> None:
        self.admission, self.client, self.bytes = admission, client, 0

    def add(self, count: int) -> None:
        """Count bytes that have arrived. Raises OverloadedError when the bodies in flight are too large together."""
        self.admission.add_bytes(self, count)
        self.bytes += count


class MemoryBudget:
    """Bounds the memory of pixels that are decoded at the same time; a single large image always fits.

    Images get memory in the order in which they asked for it: small ones never keep a large one waiting for ever.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._waiting = deque[threading.Event]()
        self._changed = threading.Condition()

    @contextmanager
    def acquire(self, num_bytes: int, abandoned: threading.Event) -> Iterator[None]:
        """Wait, in the decoder's thread, until this many bytes fit. Raises CancelledError after `abandon`."""
        with self._changed:
            self._waiting.append(abandoned)
            self._changed.wait_for(lambda: abandoned.is_set() or self._may_take(num_bytes, abandoned))
            self._waiting.remove(abandoned)
            self._changed.notify_all()
            if abandoned.is_set():
                raise CancelledError
            self.bytes += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self.bytes -= num_bytes
                self._changed.notify_all()

    def abandon(self, abandoned: threading.Event) -> None:
        """Set an event that was given to `acquire`, which then doesn't wait any more: nobody needs the image."""
        with self._changed:
            abandoned.set()
            self._changed.notify_all()

    def _may_take(self, num_bytes: int, first: threading.Event) -> bool:
        return self._waiting[0] is first and (not self.bytes or self.bytes + num_bytes <= self.max_bytes)


class BodyLimitMiddleware:
    """Bounds all bodies in size and time. The framework reads PATCH bodies before it checks the API key.

    Whoever reads the body gets BodyTooLargeError or RequestTimeoutError.
    """

    def __init__(self, app: ASGIApp, timeout: float, max_bytes: int) -> None:
        self.app, self.timeout, self.max_bytes = app, timeout, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            limit = min(MAX_PATCH_BYTES, self.max_bytes) if scope["method"] == "PATCH" else self.max_bytes
            receive = _LimitedBody(receive, self.timeout, limit).receive
        await self.app(scope, receive, send)


class _LimitedBody:
    """One body, received within limits."""

    def __init__(self, receive: Receive, timeout: float, max_bytes: int) -> None:
        self._receive, self._timeout, self._max_bytes = receive, timeout, max_bytes
        self._end, self._size, self._more = asyncio.get_running_loop().time() + timeout, 0, True

    async def receive(self) -> Message:
        if not self._more:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeoutError(f"request body not received within {self._timeout:g} s") from None
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._size > self._max_bytes:
            raise BodyTooLargeError(f"request body too large: the limit is {self._max_bytes:,} bytes")
        return message
