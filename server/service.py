"""A running server: what it serves now, what it has admitted, and the threads beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.search import Neighbor, Query
from model.images.crops import TEN_CROP
from model.images.preprocess import DecodedImage, ImageLimits, decode_image
from model.runtime import available_cpus
from server.access_log import log
from server.admission import Admission, PixelRoom
from server.api_keys import Keys
from server.loaded_model import NotServableError, Serving
from server.metrics import Metrics
from server.settings import Settings
from server.timing import Phases
from server.workers.inference import Answer, Job, OverloadedError, Pixels
from server.workers.search import Searches

if TYPE_CHECKING:
    from server.routes.similar import Wish

T = TypeVar("T")

RESERVE = 1.25
"""Work is taken on if it would be done in time even this many times slower than measured: decoding shares the cores."""


class Service:
    """Images are decoded in several threads and computed in one, so that the event loop stays free.

    Raises ArtifactError, IndexStoreError, DeviceError or KeyFileError when it can't serve what it is told to.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.keys = Keys.read(settings.keys_file, settings.keys)
        self.now = Serving(settings, self.metrics.batches.observe)
        self.draining = False
        self.decoding = 0
        """Images in the decoders' threads, or before them."""
        self.admission = Admission(settings.max_waiting, settings.max_bytes)
        self.metrics.watch(self)
        self._limits = ImageLimits(max_pixels=settings.max_pixels)
        self._room = PixelRoom(settings.max_pixels)
        self._decoders = ThreadPoolExecutor(available_cpus(), thread_name_prefix="decode")
        self._searches = Searches()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._reloading = asyncio.Lock()

    def close(self) -> None:
        """Finish what is in work, then let go of threads and files."""
        self._loader.shutdown()
        self._decoders.shutdown()
        self.now.retire()
        self.now.join()
        self._searches.close()

    async def reload(self) -> Serving:
        """Load the newest artifact and its index anew, warm up, and serve them from then on.

        Raises NotServableError; what was served before then stays. Requests under way are answered by the version that
        they began with.
        """
        async with self._reloading:  # each begins with what the one before it made: the index is handed on
            try:
                load = partial(Serving, self.settings, self.metrics.batches.observe, self.now)
                loaded = await self._call(self._loader, load)
            except Exception as error:
                log.error("reload refused: %s", error)  # with the path, which is no business of a client's
                raise NotServableError(
                    "expected a whole artifact, and the index that belongs to it, found none: the log has the reason"
                ) from error
            before, self.now = self.now, loaded
            before.retire(loaded)
        manifest = loaded.artifact.manifest
        log.info("serving %s version %s", manifest.name, manifest.version)
        return loaded

    @contextmanager
    def serving(self) -> Iterator[Serving]:
        """What is served now, for the whole of one request."""
        current = self.now
        current.hold()
        try:
            yield current
        finally:
            current.release()

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.now.inference.alive and not self.draining

    def require_time(self, deadline: float, images: int = 1) -> None:
        """Refuse work at once that could not be done in time: OverloadedError."""
        inference = self.now.inference
        before = inference.unfinished_crops + len(TEN_CROP) * self.decoding
        waits = RESERVE * inference.seconds_for(before + len(TEN_CROP) * images)
        if before and time.monotonic() + waits > deadline:
            raise OverloadedError(f"expected to answer in time, found {waits:.1f} seconds of work waiting", waits)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run something that takes its time beside the event loop."""
        return await self._call(self._decoders, work)

    async def read(self, data: bytes, phases: Phases) -> DecodedImage:
        """Decode; raises InvalidImageError and its kin."""
        self.decoding += 1
        try:
            with phases.measured("decode"):
                return await self._call(self._decoders, partial(decode_image, data, self._limits, self._room))
        finally:
            self.decoding -= 1

    async def infer(
        self, serving: Serving, pixels: Pixels, crops: tuple[int, ...], deadline: float, phases: Phases
    ) -> Answer:
        """Probabilities and features of (N, 256, 256, 3) images."""
        return await self._submit(serving, Job(pixels, crops, True, deadline), phases)

    async def feature(
        self, serving: Serving, image: DecodedImage, deadline: float, phases: Phases
    ) -> NDArray[np.float32]:
        """The (dim,) feature by which the index knows an image."""
        crops = serving.require_index().crops
        answer = await self._submit(serving, Job(image.pixels[None], crops, False, deadline), phases)
        feature: NDArray[np.float32] = answer.features[0]
        return feature

    async def search(
        self, serving: Serving, feature: NDArray[np.float32], wish: Wish, phases: Phases
    ) -> list[Neighbor]:
        """The indexed images nearest to a feature."""
        query = Query(feature, wish.k, wish.label, wish.offset, wish.max_distance, wish.search)
        with phases.measured("search"):
            return await asyncio.wrap_future(self._searches.submit(serving.require_index(), query))

    @staticmethod
    async def _submit(serving: Serving, job: Job, phases: Phases) -> Answer:
        answer = await asyncio.wrap_future(serving.inference.submit(job))
        phases.add("queue", answer.waited)
        phases.add("inference", answer.took)
        return answer

    @staticmethod
    async def _call(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
