"""A client of alexnet-server in one file, synchronous and asynchronous. Needs httpx2; copy it into your program.

    with Client("http://127.0.0.1:8000") as client:
        print(client.classify(Path("cell.png")).predictions[0].name)
        for neighbor in client.similar(Path("cell.png"), k=6):
            print(neighbor.id, neighbor.distance, neighbor.label)

Responses 429 and 503, and broken connections, are retried: after the server's `Retry-After` and an exponential backoff
with jitter. Retries change nothing twice: an image that is added again exists already, one that is removed again is
gone.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

Image = bytes | Path
"""The bytes of an image file, or its path."""

RETRY_STATUSES = (429, 503)
RETRY_ERRORS = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)
"""A response that takes too long isn't retried: the server is busy enough."""
IMAGE_ERROR_STATUSES = {"invalid_image": 422, "unsupported_image": 415, "image_too_large": 413, "inference_failed": 500}
"""Status by error code, of an error in the place of one of several images."""


@dataclass(frozen=True)
class Retries:
    """`attempts` in all. The pauses between them begin at `first_pause` seconds, double, and are at most `max_pause`,
    Retry-After included."""

    attempts: int = 5
    first_pause: float = 0.2
    max_pause: float = 10.0

    def pause(self, attempt: int, response: httpx2.Response | None) -> float:
        """Seconds before the next attempt; `attempt` counts from 0."""
        backoff: float = random.uniform(0.5, 1.0) * min(self.max_pause, self.first_pause * 2**attempt)
        try:
            requested = float(response.headers["Retry-After"]) if response is not None else 0.0
        except (KeyError, ValueError):
            requested = 0.0
        return backoff if math.isnan(requested) else min(self.max_pause, max(0.0, requested) + backoff)


class AlexNetServerError(Exception):
    """An error response: `status`, `code` (docs/operations.md lists all), `message` and `request_id`."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{message} ({status} {code}, request {request_id or 'unknown'})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id


@dataclass(frozen=True)
class Prediction:
    """One class: its index in the network's output, its id in the dataset, its name, its probability."""

    index: int
    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """The most probable classes, most probable first. `model`: name and version of the network."""

    model: tuple[str, int]
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Neighbor:
    """An indexed image and its Euclidean distance from the query. `similarity`: 1 for the same image, towards 0 for far
    ones; no probability. `file`: name of its file, None for an uploaded image."""

    id: int
    distance: float
    similarity: float
    label: str | None
    file: str | None


@dataclass(frozen=True)
class AddedImage:
    """`status`: `added`; `exists`: it was indexed already; or `restored`: it had been removed."""

    id: int
    status: str


@dataclass(frozen=True)
class _Request:
    """A request, independent of how it is sent."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[tuple[str, tuple[str, bytes]]] = ()
    form: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"params": {k: v for k, v in self.query.items() if v is not None}}
        if self.files:
            options |= {"files": list(self.files), "data": dict(self.form)}
        if self.body is not None:
            options["json"] = self.body
        return options


def _image_files(images: Sequence[Image]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", ("image", image if isinstance(image, bytes) else image.read_bytes())) for image in images]


def _classify_request(images: Sequence[Image], top: int, crops: int) -> _Request:
    return _Request("POST", "/classify", {"top": top, "crops": crops}, _image_files(images))


def _similar_request(image: Image | int, query: Mapping[str, Any]) -> _Request:
    if isinstance(image, int):
        return _Request("GET", f"/images/{image}/similar", query)
    return _Request("POST", "/similar", query, _image_files([image]))


def _add_request(images: Sequence[Image], label: str | None) -> _Request:
    return _Request("POST", "/images", {}, _image_files(images), {} if label is None else {"label": label})


def _parse_response(response: httpx2.Response, ignore_missing: bool) -> Any:
    """The JSON of a response. Raises AlexNetServerError. `ignore_missing`: an earlier attempt, whose response was lost,
    may have removed the image."""
    if response.is_success:
        return response.json() if response.content else None
    if ignore_missing and response.status_code == 404:
        return None
    try:
        raise _server_error(response.status_code, response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = response.text[:200] or response.reason_phrase
        raise AlexNetServerError(
            response.status_code, "unknown", text, response.headers.get("X-Request-ID", "")
        ) from None


def _server_error(status: int, error: Mapping[str, str]) -> AlexNetServerError:
    return AlexNetServerError(status, error["code"], error["message"], error.get("request_id", ""))


def _image_error(error: Mapping[str, str]) -> AlexNetServerError:
    return _server_error(IMAGE_ERROR_STATUSES.get(error["code"], 422), error)


def _parse_classification(body: Mapping[str, Any]) -> Classification:
    model = body["model"]
    predictions = tuple(Prediction(p["index"], p["id"], p["name"], p["probability"]) for p in body["predictions"])
    return Classification((model["name"], model["version"]), predictions)


def _parse_classifications(body: Sequence[Mapping[str, Any]]) -> list[Classification | AlexNetServerError]:
    return [_image_error(item["error"]) if "error" in item else _parse_classification(item) for item in body]


def _parse_neighbors(body: Mapping[str, Any]) -> list[Neighbor]:
    return [Neighbor(n["id"], n["distance"], n["similarity"], n["label"], n["file"]) for n in body["neighbors"]]


def _parse_added(body: Mapping[str, Any]) -> list[AddedImage | AlexNetServerError]:
    return [
        _image_error(item["error"]) if "error" in item else AddedImage(item["id"], item["status"])
        for item in body["images"]
    ]


class _Settings:
    """Options of both clients."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        """`address`: URL of the server. `key`: API key. `timeout`: seconds per attempt."""
        self._retries = retries or Retries()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._options: dict[str, Any] = {"base_url": address, "headers": headers, "timeout": timeout}


class Client(_Settings):
    """Synchronous client, which several threads may share. Close it, or use it in a `with`."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        super().__init__(address, key, timeout, retries)
        self._http = httpx2.Client(**self._options)

    def classify(self, image: Image, top: int = 5, crops: int = 10) -> Classification:
        """The most probable classes of an image. Raises AlexNetServerError."""
        return _parse_classification(self._send(_classify_request([image], top, crops)))

    def classify_all(
        self, images: Sequence[Image], top: int = 5, crops: int = 10
    ) -> list[Classification | AlexNetServerError]:
        """Classify several images in one request; one that can't be decoded has its error in its place."""
        if len(images) == 1:
            return [self.classify(images[0], top, crops)]
        return _parse_classifications(self._send(_classify_request(images, top, crops)))

    def similar(self, image: Image | int, k: int = 6, **query: Any) -> list[Neighbor]:
        """The images of the index most similar to a file, or to an indexed image by its id. Raises AlexNetServerError.

        `query`: other parameters of the server, such as `label`, `max_distance` and `search`.
        """
        return _parse_neighbors(self._send(_similar_request(image, {"k": k} | query)))

    def iter_similar(self, image: Image | int, page_size: int = 100, **query: Any) -> Iterator[Neighbor]:
        """As `similar`, for as many as you take: the images by their distance, fetched page by page. Images that are
        added or removed meanwhile repeat none and leave none out."""
        cursor, has_more = None, True
        while has_more:
            page = self._send(_similar_request(image, {"k": page_size, "cursor": cursor} | query))
            yield from _parse_neighbors(page)
            cursor, has_more = page["next_cursor"], page["has_more"]

    def add(self, images: Sequence[Image], label: str | None = None) -> list[AddedImage | AlexNetServerError]:
        """Add images to the index; they are on the server's disk when it returns. The same bytes are the same image."""
        return _parse_added(self._send(_add_request(images, label)))

    def images(self, label: str | None = None, page_size: int = 1000) -> Iterator[tuple[int, str | None]]:
        """Id and label of every indexed image, fetched page by page."""
        cursor: int | None = 0
        while cursor is not None:
            page = self._send(_Request("GET", "/images", {"label": label, "cursor": cursor, "limit": page_size}))
            yield from ((image["id"], image["label"]) for image in page["images"])
            cursor = page["next_cursor"]

    def set_label(self, image_id: int, label: str | None) -> None:
        """Set the label of an indexed image; None for no label."""
        self._send(_Request("PATCH", f"/images/{image_id}", body={"label": label}))

    def remove(self, image_id: int) -> None:
        """Remove an image from the index."""
        self._send(_Request("DELETE", f"/images/{image_id}"))

    def info(self) -> dict[str, Any]:
        """The loaded model and index."""
        info: dict[str, Any] = self._send(_Request("GET", "/info"))
        return info

    def ready(self) -> bool:
        """Whether the server accepts requests now; not retried."""
        try:
            return self._http.get("/ready").status_code == 200
        except RETRY_ERRORS:
            return False

    def _send(self, request: _Request) -> Any:
        response_lost = False
        for attempt in range(self._retries.attempts):
            last, response = attempt + 1 == self._retries.attempts, None
            try:
                response = self._http.request(request.method, request.path, **request.options())
            except RETRY_ERRORS:
                response_lost = True
                if last:
                    raise
            if response is not None and (last or response.status_code not in RETRY_STATUSES):
                return _parse_response(response, ignore_missing=request.method == "DELETE" and response_lost)
            time.sleep(self._retries.pause(attempt, response))
        raise ValueError("Retries.attempts must be at least 1")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class AsyncClient(_Settings):
    """Client for asyncio. `async with AsyncClient(address) as client: await client.classify(image)`."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        super().__init__(address, key, timeout, retries)
        self._http = httpx2.AsyncClient(**self._options)

    async def classify(self, image: Image, top: int = 5, crops: int = 10) -> Classification:
        """As `Client.classify`."""
        return _parse_classification(await self._send(_classify_request([image], top, crops)))

    async def similar(self, image: Image | int, k: int = 6, **query: Any) -> list[Neighbor]:
        """As `Client.similar`."""
        return _parse_neighbors(await self._send(_similar_request(image, {"k": k} | query)))

    async def add(self, images: Sequence[Image], label: str | None = None) -> list[AddedImage | AlexNetServerError]:
        """As `Client.add`."""
        return _parse_added(await self._send(_add_request(images, label)))

    async def _send(self, request: _Request) -> Any:
        response_lost = False
        for attempt in range(self._retries.attempts):
            last, response = attempt + 1 == self._retries.attempts, None
            try:
                response = await self._http.request(request.method, request.path, **request.options())
            except RETRY_ERRORS:
                response_lost = True
                if last:
                    raise
            if response is not None and (last or response.status_code not in RETRY_STATUSES):
                return _parse_response(response, ignore_missing=request.method == "DELETE" and response_lost)
            await asyncio.sleep(self._retries.pause(attempt, response))
        raise ValueError("Retries.attempts must be at least 1")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.aclose()
