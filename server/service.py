"""What a running server holds: the artifact, its network, the index, and the threads that use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from index.store import Neighbour, PictureIndex
from model import artifact as artifacts
from model.errors import AlexNetError, ArtifactError, UnknownPictureError
from model.preprocess import Picture, PictureLimits, read_picture
from model.runtime import OnnxModel, available_cpus
from model.views import CENTRE
from server.settings import Settings

T = TypeVar("T")


class OverloadedError(AlexNetError):
    """More requests are in work than the server takes on."""


class Service:
    """Pictures are decoded in several threads and computed in one, so that the event loop stays free.

    Raises ArtifactError, IndexStoreError or DeviceError when what it is told to serve can't be served.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.artifact = artifacts.load(settings.artifact)
        self.model = OnnxModel(self.artifact.network, settings.device, settings.threads)
        shape = (self.model.classes, self.model.feature_dim)
        if shape != (self.artifact.manifest.classes, self.artifact.manifest.feature_dim):
            raise ArtifactError(f"expected a network with the classes and features of its manifest, found {shape}")
        self.index = PictureIndex.open(settings.index) if settings.index else None
        if self.index is not None:
            self.index.require(self.artifact)
        self.model.run(np.zeros((1, 256, 256, 3), np.uint8), CENTRE)  # the first run is slower: not a client's
        self._limits = PictureLimits(max_pixels=settings.max_pixels)
        self._decoders = ThreadPoolExecutor(available_cpus(), thread_name_prefix="decode")
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._in_work = 0

    def close(self) -> None:
        """Finish what is in work, then let go of threads and files."""
        self._decoders.shutdown()
        self._inference.shutdown()
        if self.index is not None:
            self.index.close()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request as in work. Raises OverloadedError when too many are."""
        if self._in_work >= self.settings.max_waiting:
            raise OverloadedError(
                f"expected at most {self.settings.max_waiting} requests at once: try again in a second"
            )
        self._in_work += 1
        try:
            yield
        finally:
            self._in_work -= 1

    async def read(self, data: bytes) -> Picture:
        """Decode; raises InvalidPictureError and its kin."""
        return await self._call(self._decoders, lambda: read_picture(data, self._limits))

    async def classify(self, picture: Picture, views: Sequence[int]) -> NDArray[np.float32]:
        """Probabilities (classes,)."""
        work = partial(self.model.run, picture.pixels[None], views)
        probabilities: NDArray[np.float32] = (await self._call(self._inference, work))[0][0]
        return probabilities

    async def similar(self, picture: Picture, k: int) -> list[Neighbour]:
        """The k nearest indexed pictures."""
        index = self.require_index()

        def work() -> list[Neighbour]:
            return index.search(self.model.features(picture.pixels[None], index.views)[0], k)

        return await self._call(self._inference, work)

    async def similar_to(self, picture_id: int, k: int) -> list[Neighbour]:
        """The k pictures nearest to an indexed one, itself first."""
        index = self.require_index()
        return await self._call(self._inference, lambda: index.search(index.feature(picture_id), k))

    def require_index(self) -> PictureIndex:
        if self.index is None:
            raise UnknownPictureError("expected a server with an index, found none: start it with --index")
        return self.index

    @staticmethod
    async def _call(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
