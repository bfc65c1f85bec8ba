"""Request context: the state of one admitted request, and the work that it can ask for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from index.protocol import Index
from index.search import Query
from model.images.info import DecodedImage
from server.exceptions import OverloadedError
from server.limits.admission import BodyQuota
from server.limits.deadlines import run_until_deadline
from server.loaded_model import LoadedModel
from server.observability.timing import Timings
from server.service import Service
from server.workers.inference import InferenceJob, InferenceResult, Pixels
from server.workers.search import SearchJob, SearchResult

T = TypeVar("T")


@dataclass(frozen=True)
class RequestContext:
    """An admitted request, the model that answers it, and its deadline (time.monotonic). `client`: the client whose
    share of the limits the request uses."""

    request: Request
    service: Service
    loaded_model: LoadedModel
    quota: BodyQuota
    deadline: float

    @property
    def client(self) -> str:
        return self.quota.client

    @property
    def prefix(self) -> str:
        """The path that a proxy puts before all paths of this server."""
        prefix: str = self.request.scope.get("root_path", "")
        return prefix

    @property
    def timings(self) -> Timings:
        timings: Timings = self.request.scope["timings"]
        return timings

    def deadline_passed(self) -> bool:
        """Whether the deadline of the request, or of the server's shutdown, has passed: nobody waits for a response."""
        return time.monotonic() > min(self.deadline, self.service.shutdown_deadline)

    async def run(self, work: Awaitable[T]) -> T:
        """Await `work`. Raises DeadlineExceededError, or ClientDisconnect when the client has left."""
        return await run_until_deadline(self.request, self.deadline, work)

    async def run_in_pool(self, work: Callable[[], T]) -> T:
        """Run a computation in a thread of the decoding pool."""
        return await self.service.decoder.run(work)

    async def read_index(self, work: Callable[[Index], T]) -> T:
        """Read from the index in a thread. Raises NoIndexError."""
        index = self.loaded_model.require_index()
        return await self.service.readers.run(lambda: work(index))

    async def write_index(self, work: Callable[[Index], T]) -> T:
        """Change the index in a thread. Raises NoIndexError, IndexLockedError or OverloadedError."""
        index = self.loaded_model.require_index()
        return await self.service.writers.run(lambda: work(index))

    async def read_file(self, work: Callable[[Index], T]) -> T:
        """Read an original file in a thread. Raises NoIndexError."""
        index = self.loaded_model.require_index()
        return await self.service.file_readers.run(lambda: work(index))

    def check_deadline(self, images: int = 1) -> None:
        """Raise OverloadedError if this many images could not be classified before the deadline."""
        estimate = self.service.estimate_completion(images, self.client)
        if estimate.is_queued and time.monotonic() + estimate.seconds > self.deadline:
            raise OverloadedError(
                f"queue too long: {estimate.seconds:.1f} s of work pending; retry later", estimate.seconds
            )

    async def decode(self, data: bytes) -> DecodedImage:
        """Decode an image, when it is this client's turn. Raises InvalidImageError or a subclass."""
        async with self.service.decode_slots.take(self.client):
            with self.timings.measure("decode"):
                return await self.service.decoder.decode(data, self.loaded_model.artifact.image_contract)

    async def infer(self, pixels: Pixels, crops: tuple[int, ...], classify: bool = True) -> InferenceResult:
        """Probabilities and features of (N, 256, 256, 3) uint8 images; without `classify` only features."""
        job = InferenceJob(pixels, crops, self.deadline, classify, client=self.client)
        result: InferenceResult = await asyncio.wrap_future(self.loaded_model.inference.submit(job))
        self.timings.add("queue", result.queue_seconds, ago=result.inference_seconds)
        self.timings.add("inference", result.inference_seconds)
        return result

    async def extract_feature(self, image: DecodedImage) -> NDArray[np.float32]:
        """The (dim,) feature of an image, from the crops that the index uses. Raises NoIndexError."""
        crops = self.loaded_model.require_index().crops
        feature: NDArray[np.float32] = (await self.infer(image.pixels[None], crops, classify=False)).features[0]
        return feature

    async def search(self, query: Query) -> SearchResult:
        """The nearest images of the index. Raises NoIndexError or InvalidRequestError."""
        job = SearchJob(self.loaded_model.require_index(), query, client=self.client)
        with self.timings.measure("search"):
            result: SearchResult = await asyncio.wrap_future(self.service.searcher.submit(job))
        return result
