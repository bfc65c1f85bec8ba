"""The decode pool: threads that decode images, and other work that would block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from model.images.contract import ImageContract
from model.images.info import DecodedImage
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from model.runtime import available_cpus
from server.limits import MemoryBudget

T = TypeVar("T")


class DecodePool:
    """One thread per processor. `pending`: images that are decoded now, or wait for it."""

    def __init__(self, limits: ImageLimits) -> None:
        self.pending = 0
        self._limits = limits
        self._budget = MemoryBudget(self._limits.max_memory)
        self._threads = ThreadPoolExecutor(available_cpus(), thread_name_prefix="decode")

    async def decode(self, data: bytes, contract: ImageContract) -> DecodedImage:
        """Decode an image as a network asks. Raises InvalidImageError or a subclass."""
        self.pending += 1
        try:
            return await self.run(lambda: decode_image(data, self._limits, contract, self._budget.acquire))
        finally:
            self.pending -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Run anything that takes its time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()
