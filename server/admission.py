"""What the server takes on at once, counted in what costs: requests, bytes of bodies, pixels being decoded.

Crops that wait for the network are counted by `server.workers.inference`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.workers.inference import OverloadedError


class Admission:
    """Requests and bytes in work. Only the event loop calls it."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.requests = self.bytes = 0

    @contextmanager
    def request(self) -> Iterator[Body]:
        """Count a request as in work. Raises OverloadedError when too many are."""
        if self.requests >= self.max_requests:
            raise OverloadedError(f"expected at most {self.max_requests} requests at once: try again in a second")
        body = Body(self)
        self.requests += 1
        try:
            yield body
        finally:
            self.requests -= 1
            self.bytes -= body.bytes


class Body:
    """The bytes of one request so far; they count until its answer has left."""

    def __init__(self, admission: Admission) -> None:
        self.admission, self.bytes = admission, 0

    def add(self, count: int) -> None:
        """Raises OverloadedError when the bodies in work are too large together."""
        if self.admission.bytes + count > self.admission.max_bytes and self.admission.bytes > self.bytes:
            raise OverloadedError(
                f"expected at most {self.admission.max_bytes:,} bytes of images at once: try again in a second"
            )
        self.bytes += count
        self.admission.bytes += count


class PixelRoom:
    """Lets decoders in as long as their images are small enough together; a single large one always gets in."""

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels, self.pixels = max_pixels, 0
        self._left = threading.Condition()

    @contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        """Wait for room, in the decoder's thread."""
        with self._left:
            self._left.wait_for(lambda: not self.pixels or self.pixels + pixels <= self.max_pixels)
            self.pixels += pixels
        try:
            yield
        finally:
            with self._left:
                self.pixels -= pixels
                self._left.notify_all()
