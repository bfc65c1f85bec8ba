"""The decode pool: threads that decode images and do other work that would block the event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from functools import partial

from model.cpus import available_cpus
from model.images.contract import ImageContract
from model.images.info import DecodedImage
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from server.workers.memory_budget import MemoryBudget
from server.workers.threads import ThreadPool


class DecodePool(ThreadPool):
    """One thread per processor."""

    def __init__(self, limits: ImageLimits) -> None:
        super().__init__(available_cpus(), "decode")
        self._limits = limits
        self._budget = MemoryBudget(self._limits.max_memory)
        self._pending = set[Future[DecodedImage]]()

    @property
    def pending(self) -> int:
        """Number of images being decoded or waiting for it, including those that nobody waits for any more."""
        return len(self._pending)

    async def decode(self, data: bytes, contract: ImageContract) -> DecodedImage:
        """Decode an image as a network's `contract` requires. Raises InvalidImageError or a subclass.

        If the caller is cancelled, the image is dropped unless its pixels are already being decoded.
        """
        abandoned = threading.Event()
        acquire_memory = partial(self._budget.acquire, abandoned=abandoned)
        future = self.submit(lambda: decode_image(data, self._limits, contract, acquire_memory))
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._budget.abandon(abandoned)
            raise
