"""When a request is sent again, and after which pause."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import httpx2

RETRY_STATUSES = (429, 503)
RETRY_ERRORS = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)
"""A response that takes too long isn't retried: the server is busy enough."""
NEVER_SENT_ERRORS = (httpx2.ConnectError, httpx2.ConnectTimeout)
"""After which the server can't have done what was asked."""
MAX_DOUBLINGS = 64
"""Of the first pause. No `max_pause` is longer by then, and 2**1024 would be too large for a float."""


@dataclass(frozen=True)
class Retries:
    """`attempts` in all. The pauses between them begin at `first_pause` seconds, double, and are at most `max_pause`,
    Retry-After included."""

    attempts: int = 5
    first_pause: float = 0.2
    max_pause: float = 10.0

    def pause(self, attempt: int, response: httpx2.Response | None) -> float:
        """Seconds before the next attempt; `attempt` counts from 0."""
        backoff: float = random.uniform(0.5, 1.0) * min(
            self.max_pause, self.first_pause * 2 ** min(attempt, MAX_DOUBLINGS)
        )
        try:
            requested = float(response.headers["Retry-After"]) if response is not None else 0.0
        except (KeyError, ValueError):
            requested = 0.0
        return backoff if math.isnan(requested) else min(self.max_pause, max(0.0, requested) + backoff)
