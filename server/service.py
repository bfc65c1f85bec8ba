"""What a running server holds: the artifact, its network, the index, and the threads that use them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from index.store import Neighbour, PictureIndex
from model import artifact as artifacts
from model.errors import ArtifactError, UnknownPictureError
from model.preprocess import Picture, PictureLimits, read_picture
from model.runtime import OnnxModel, available_cpus
from model.views import CENTRE, TEN
from server.admission import Admission, PixelRoom
from server.inference import Answer, Inference, Job, OverloadedError, Pixels
from server.keys import Keys
from server.settings import Settings
from server.timing import Phases

T = TypeVar("T")


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
        self.draining = False
        self.keys = Keys.read(settings.keys_file, settings.keys)
        self.admission = Admission(settings.max_waiting, settings.max_bytes)
        self._limits = PictureLimits(max_pixels=settings.max_pixels)
        self._room = PixelRoom(settings.max_pixels)
        self._decoders = ThreadPoolExecutor(available_cpus(), thread_name_prefix="decode")
        self._searches = ThreadPoolExecutor(1, thread_name_prefix="search")
        self.inference = Inference(self.model, settings.max_crops)
        self._warm_up()

    def _warm_up(self) -> None:
        """The first runs are slower, and tell how long work takes: not a client's."""
        pixels = np.zeros((1, 256, 256, 3), np.uint8)
        for views in (CENTRE, TEN, TEN):
            self.inference.submit(Job(pixels, views, True, time.monotonic() + 600)).result()

    def close(self) -> None:
        """Finish what is in work, then let go of threads and files."""
        self._decoders.shutdown()
        self.inference.close()
        self._searches.shutdown()
        if self.index is not None:
            self.index.close()

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.inference.alive and not self.draining

    def require_time(self, deadline: float) -> None:
        """Refuse work at once that could not be done in time: OverloadedError."""
        waits = self.inference.seconds_for(self.inference.waiting_crops + len(TEN))
        if self.inference.waiting_crops and time.monotonic() + waits > deadline:
            raise OverloadedError(f"expected to answer in time, found {waits:.1f} seconds of work waiting", waits)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run something that takes its time beside the event loop."""
        return await self._call(self._decoders, work)

    async def read(self, data: bytes, phases: Phases) -> Picture:
        """Decode; raises InvalidPictureError and its kin."""
        with phases.measured("decode"):
            return await self._call(self._decoders, partial(read_picture, data, self._limits, self._room))

    async def classify(
        self, picture: Picture, views: tuple[int, ...], deadline: float, phases: Phases
    ) -> NDArray[np.float32]:
        """Probabilities (classes,)."""
        answer = await self.infer(picture.pixels[None], views, deadline, phases)
        assert answer.probabilities is not None
        probabilities: NDArray[np.float32] = answer.probabilities[0]
        return probabilities

    async def infer(self, pixels: Pixels, views: tuple[int, ...], deadline: float, phases: Phases) -> Answer:
        """Probabilities and features of (N, 256, 256, 3) pictures."""
        return await self._submit(Job(pixels, views, True, deadline), phases)

    async def similar(self, picture: Picture, k: int, deadline: float, phases: Phases) -> list[Neighbour]:
        """The k nearest indexed pictures."""
        index = self.require_index()
        answer = await self._submit(Job(picture.pixels[None], index.views, False, deadline), phases)
        with phases.measured("search"):
            return await self._call(self._searches, partial(index.search, answer.features[0], k))

    async def similar_to(self, picture_id: int, k: int, phases: Phases) -> list[Neighbour]:
        """The k pictures nearest to an indexed one, itself first."""
        index = self.require_index()
        with phases.measured("search"):
            return await self._call(self._searches, lambda: index.search(index.feature(picture_id), k))

    def require_index(self) -> PictureIndex:
        if self.index is None:
            raise UnknownPictureError("expected a server with an index, found none: start it with --index")
        return self.index

    async def _submit(self, job: Job, phases: Phases) -> Answer:
        answer = await asyncio.wrap_future(self.inference.submit(job))
        phases.add("queue", answer.waited)
        phases.add("inference", answer.took)
        return answer

    @staticmethod
    async def _call(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
