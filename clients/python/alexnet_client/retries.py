"""When a request is retried, and after how long a pause."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import httpx2

RETRY_STATUSES = (429, 503)
RETRY_ERRORS = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)
"""A request whose response takes too long isn't retried: the server is busy enough."""
NEVER_SENT_ERRORS = (httpx2.ConnectError, httpx2.ConnectTimeout)
"""Errors after which the server can't have received the request."""
MAX_DOUBLINGS = 64
"""Doublings of the first pause. By then it exceeds any `max_backoff`, and 2**1024 would be too large for a float."""


@dataclass(frozen=True)
class Retries:
    """`attempts`: at most this many in all. The pauses between them start at `initial_backoff` seconds and double; with
    Retry-After included, they are at most `max_backoff`."""

    attempts: int = 5
    initial_backoff: float = 0.2
    max_backoff: float = 10.0

    def pause(self, attempt: int, response: httpx2.Response | None) -> float:
        """Seconds before the next attempt; `attempt` counts from 0."""
        backoff: float = random.uniform(0.5, 1.0) * min(
            self.max_backoff, self.initial_backoff * 2 ** min(attempt, MAX_DOUBLINGS)
        )
        try:
            requested = float(response.headers["Retry-After"]) if response is not None else 0.0
        except (KeyError, ValueError):
            requested = 0.0
        return backoff if math.isnan(requested) else min(self.max_backoff, max(0.0, requested) + backoff)
