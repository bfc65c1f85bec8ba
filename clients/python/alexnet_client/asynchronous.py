"""AsyncClient: the client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import httpx2

from alexnet_client import calls
from alexnet_client.exceptions import AlexNetServerError, InvalidInputError
from alexnet_client.images import MAX_BATCH_BYTES, MAX_BATCH_IMAGES, ImageKey, ImageLike
from alexnet_client.requests import Attempt, Connection, Outcome, Request
from alexnet_client.responses import AddedImage, Classification, Features, Neighbor, parse_neighbors
from alexnet_client.retries import Retries

Result = TypeVar("Result")


class AsyncClient:
    """Client for asyncio; see `Client`. `async with AsyncClient(address) as client: await client.classify(image)`."""

    def __init__(
        self,
        address: str,
        key: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        max_concurrent_calls: int = 16,
        max_batch_images: int = MAX_BATCH_IMAGES,
        max_batch_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        """As `Client`. `max_concurrent_calls`: further calls wait, since the server refuses a client that sends too
        many requests at once."""
        if max_concurrent_calls < 1:
            raise InvalidInputError("max_concurrent_calls must be at least 1")
        self._connection = Connection(address, key, timeout, retries or Retries(), max_batch_images, max_batch_bytes)
        self._slots = asyncio.Semaphore(max_concurrent_calls)
        self._http = httpx2.AsyncClient(**self._connection.options())

    @overload
    async def classify(self, images: ImageLike, top: int = 5, crops: int = 10) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a path
    @overload
    async def classify(
        self, images: Iterable[ImageLike], top: int = 5, crops: int = 10
    ) -> list[Classification | AlexNetServerError]: ...
    async def classify(
        self, images: ImageLike | Iterable[ImageLike], top: int = 5, crops: int = 10
    ) -> Classification | list[Classification | AlexNetServerError]:
        """As `Client.classify`."""
        return await self._run(calls.classify(self._connection, images, top, crops))

    @overload
    async def features(self, images: ImageLike, crops: int = 1) -> Features: ...  # type: ignore[overload-overlap]
    @overload
    async def features(self, images: Iterable[ImageLike], crops: int = 1) -> list[Features | AlexNetServerError]: ...
    async def features(
        self, images: ImageLike | Iterable[ImageLike], crops: int = 1
    ) -> Features | list[Features | AlexNetServerError]:
        """As `Client.features`."""
        return await self._run(calls.features(self._connection, images, crops))

    async def similar(self, image: ImageLike | int | ImageKey, k: int = 6, **query: Any) -> list[Neighbor]:
        """As `Client.similar`."""
        return await self._run(calls.similar(self._connection, image, {"k": k} | query))

    async def iter_similar(
        self, image: ImageLike | int | ImageKey, page_size: int = 100, **query: Any
    ) -> AsyncIterator[Neighbor]:
        """As `Client.iter_similar`, but a file is read when the first neighbor is requested."""
        first = await asyncio.to_thread(calls.first_similar_request, image, page_size, query)  # it reads a file
        async for neighbor in self._iterate(first, parse_neighbors):
            yield neighbor

    @overload
    async def add(self, images: ImageLike, labels: str | None = None, keys: str | None = None) -> AddedImage: ...  # type: ignore[overload-overlap]
    @overload
    async def add(
        self,
        images: Iterable[ImageLike],
        labels: str | Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[AddedImage | AlexNetServerError]: ...
    async def add(
        self,
        images: ImageLike | Iterable[ImageLike],
        labels: str | Sequence[str] | None = None,
        keys: str | Sequence[str] | None = None,
    ) -> AddedImage | list[AddedImage | AlexNetServerError]:
        """As `Client.add`."""
        return await self._run(calls.add(self._connection, images, labels, keys))

    def images(self, label: str | None = None, page_size: int = 1000) -> AsyncIterator[tuple[int, str | None]]:
        """As `Client.images`."""
        return self._iterate(calls.images_request(label, page_size), calls.parse_images)

    async def set_label(self, image_id: int | ImageKey, label: str | None) -> None:
        """As `Client.set_label`."""
        await self._run(calls.set_label(self._connection, image_id, label))

    async def remove(self, image_id: int | ImageKey) -> None:
        """As `Client.remove`."""
        await self._run(calls.remove(self._connection, image_id))

    async def info(self) -> dict[str, Any]:
        """As `Client.info`."""
        return await self._run(calls.info(self._connection))

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return (await self._http.get("/ready")).status_code == 200
        except httpx2.RequestError:
            return False

    async def close(self) -> None:
        """As `Client.close`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def _iterate(self, request: Request, parse: Callable[[Any], list[Result]]) -> AsyncIterator[Result]:
        """The items of all pages; `request` is that of the first page."""
        following: Request | None = request
        while following is not None:
            items, following = await self._run(calls.page(self._connection, following, parse))
            for item in items:
                yield item

    async def _run(self, call: calls.Call[Result]) -> Result:
        """The call's result. Each step runs in a thread, because it may read files."""
        async with self._slots:
            step = await asyncio.to_thread(_advance, call, None)
            while not isinstance(step, _Finished):
                await asyncio.sleep(step.pause)
                step = await asyncio.to_thread(_advance, call, await self._send(step))
            return step.result

    async def _send(self, attempt: Attempt) -> Outcome:
        try:
            return await self._http.request(attempt.method, attempt.path, **attempt.options)
        except httpx2.RequestError as error:
            return error
        except httpx2.InvalidURL as error:
            raise self._connection.request_too_long_error(error) from None


@dataclass(frozen=True)
class _Finished(Generic[Result]):
    result: Result


def _advance(call: calls.Call[Result], outcome: Outcome | None) -> Attempt | _Finished[Result]:
    """The call's next attempt, or its result, given the outcome of the previous attempt; None starts the call."""
    try:
        return next(call) if outcome is None else call.send(outcome)
    except StopIteration as end:  # asyncio.to_thread can't pass it on
        return _Finished(end.value)
