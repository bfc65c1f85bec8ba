"""AsyncClient: for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx2

from alexnet_client import calls
from alexnet_client.exceptions import AlexNetServerError
from alexnet_client.images import ImageLike
from alexnet_client.requests import Connection, Request
from alexnet_client.responses import AddedImage, Classification, Neighbor, member, parse_neighbors, parse_response
from alexnet_client.retries import RETRY_ERRORS, RETRY_STATUSES, Retries

Result = TypeVar("Result")


class AsyncClient:
    """Client for asyncio; see `Client`. `async with AsyncClient(address) as client: await client.classify(image)`."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        """As `Client`."""
        self._connection = Connection(address, key, timeout, retries or Retries())
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
        return await self._run(calls.classify(images, top, crops))

    async def similar(self, image: ImageLike | int, k: int = 6, **query: Any) -> list[Neighbor]:
        """As `Client.similar`."""
        return await self._run(calls.similar(image, {"k": k} | query))

    async def iter_similar(self, image: ImageLike | int, page_size: int = 100, **query: Any) -> AsyncIterator[Neighbor]:
        """As `Client.iter_similar`."""
        cursor, has_more = None, True
        while has_more:
            request = calls.similar_request(image, {"k": page_size, "cursor": cursor} | query)
            page = await self._send(request)
            for neighbor in parse_neighbors(page):
                yield neighbor
            cursor, has_more = page["next_cursor"], page["has_more"]

    @overload
    async def add(self, images: ImageLike, labels: str | None = None) -> AddedImage: ...  # type: ignore[overload-overlap]
    @overload
    async def add(
        self, images: Iterable[ImageLike], labels: str | Sequence[str] | None = None
    ) -> list[AddedImage | AlexNetServerError]: ...
    async def add(
        self, images: ImageLike | Iterable[ImageLike], labels: str | Sequence[str] | None = None
    ) -> AddedImage | list[AddedImage | AlexNetServerError]:
        """As `Client.add`."""
        return await self._run(calls.add(images, labels))

    async def images(self, label: str | None = None, page_size: int = 1000) -> AsyncIterator[tuple[int, str | None]]:
        """As `Client.images`."""
        cursor: int | None = 0
        while cursor is not None:
            query = {"label": label, "cursor": cursor, "limit": page_size}
            page = await self._send(Request("GET", "/images", query))
            for image in member(page, "images"):
                yield image["id"], image["label"]
            cursor = page["next_cursor"]

    async def set_label(self, image_id: int, label: str | None) -> None:
        """As `Client.set_label`."""
        await self._run(calls.set_label(image_id, label))

    async def remove(self, image_id: int) -> None:
        """As `Client.remove`."""
        await self._run(calls.remove(image_id))

    async def info(self) -> dict[str, Any]:
        """As `Client.info`."""
        return await self._run(calls.info())

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return (await self._http.get("/ready")).status_code == 200
        except httpx2.TransportError:
            return False

    async def close(self) -> None:
        """As `Client.close`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def _run(self, call: calls.Call[Result]) -> Result:
        try:
            request = next(call)
            while True:
                try:
                    body = await self._send(request)
                except AlexNetServerError as error:
                    request = call.throw(error)
                else:
                    request = call.send(body)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _send(self, request: Request) -> Any:
        response_lost, retries = False, self._connection.retries
        for attempt in count():
            last, response = attempt + 1 == retries.attempts, None
            try:
                response = await self._http.request(request.method, request.path, **request.options())
            except httpx2.TransportError as error:
                if last or not isinstance(error, RETRY_ERRORS):
                    raise self._connection.unreachable(error) from None
                response_lost = True
            if response is not None and (last or response.status_code not in RETRY_STATUSES):
                return parse_response(response, ignore_missing=request.method == "DELETE" and response_lost)
            await asyncio.sleep(retries.pause(attempt, response))
        return None
