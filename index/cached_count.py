"""CachedCount: the number of images in a database, cached because every response includes it."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_AGE_SECONDS = 1.0


class CachedCount:
    """A number that `count` recomputes when it is more than a second old, or after `invalidate`; for any thread."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._version = object()
        self._counted: tuple[int, float, object] | None = None

    def value(self) -> int:
        """The number, at most a second old."""
        counted, version = self._counted, self._version
        if counted is None or counted[2] is not version or time.monotonic() - counted[1] >= MAX_AGE_SECONDS:
            counted = self._counted = (self._count(), time.monotonic(), version)
        return counted[0]

    def invalidate(self) -> None:
        """Recount when the number is next needed, even if a count that began earlier ends later."""
        self._version = object()  # not a number: two threads could increment it to the same one
