"""A bound on the memory of the decoder's threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager


class MemoryBudget:
    """Bounds the memory of pixels that are decoded concurrently; a single large image always fits.

    Images get memory in the order in which they asked for it, so small ones can't keep a large one waiting forever.
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
        """Set an event that was given to `acquire`, which then stops waiting: nobody needs the image."""
        with self._changed:
            abandoned.set()
            self._changed.notify_all()

    def _may_take(self, num_bytes: int, first: threading.Event) -> bool:
        return self._waiting[0] is first and (not self.bytes or self.bytes + num_bytes <= self.max_bytes)
