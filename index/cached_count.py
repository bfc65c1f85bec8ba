"""CachedCount: the number of images in a database, cached because every response includes it."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_AGE_SECONDS = 1.0


class CachedCount:
    """A number that `count` recomputes when it is more than a second old, or after `invalidate`."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._counted: tuple[int, float] | None = None

    def value(self) -> int:
        """The number, at most a second old."""
        counted = self._counted
        if counted is None or time.monotonic() - counted[1] >= MAX_AGE_SECONDS:
            counted = self._counted = (self._count(), time.monotonic())
        return counted[0]

    def invalidate(self) -> None:
        """Recount when the number is next needed."""
        self._counted = None
