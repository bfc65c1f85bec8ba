"""Admission: limits the requests, and the bytes of their bodies, that are in flight at once; refuses the rest.

Crops that wait for the network are limited by `server.workers.inference`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.limits.fairness import fits_share, overloaded_error


class Admission:
    """Counts requests in flight and their body bytes, in total and per client. Only the event loop calls it.

    `suggest_retry_after`: returns the seconds after which a refused client may expect to be accepted.
    """

    def __init__(
        self, max_requests: int, max_bytes: float = math.inf, suggest_retry_after: Callable[[], float] = lambda: 1.0
    ) -> None:
        self.max_requests, self.max_bytes, self.suggest_retry_after = max_requests, max_bytes, suggest_retry_after
        self.requests = self.bytes = 0
        self._requests_of, self._bytes_of = Counter[str](), Counter[str]()

    @contextmanager
    def admit(self, client: str) -> Iterator[BodyQuota]:
        """Count a request as in flight. Raises OverloadedError when the limit, or the client's share, is reached."""
        if not fits_share(1, self._requests_of[client], self.requests, self.max_requests):
            limit = f"{self.max_requests} concurrent requests"
            raise overloaded_error(limit, self._requests_of[client], self.suggest_retry_after())
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
        """Count bytes of a body. Raises OverloadedError; a body is always accepted while no other is in flight."""
        alone = self.bytes == quota.bytes
        if not alone and not fits_share(count, self._bytes_of[quota.client], self.bytes, self.max_bytes):
            limit = f"{self.max_bytes:,} bytes in flight"
            raise overloaded_error(limit, self._bytes_of[quota.client], self.suggest_retry_after())
        self.bytes += count
        self._bytes_of[quota.client] += count


class BodyQuota:
    """The bytes of one request's body so far; they count until its response has been sent."""

    def __init__(self, admission: Admission, client: str) -> None:
        self.admission, self.client, self.bytes = admission, client, 0

    def add(self, count: int) -> None:
        """Count bytes that have arrived. Raises OverloadedError when the bodies in flight, or the client's, are too
        large in total."""
        self.admission.add_bytes(self, count)
        self.bytes += count
