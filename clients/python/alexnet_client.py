"""A client of alexnet-server in one file, synchronous and asynchronous. Needs httpx2; copy it into your program.

    with Client("http://127.0.0.1:8000") as client:
        print(client.classify(Path("cell.png")).predictions[0].name)
        for neighbor in client.similar(Path("cell.png"), k=6):
            print(neighbor.id, neighbor.distance, neighbor.label)

Answers that say "later" (429, 503) and connections that break are tried again: after the server's `Retry-After`, and a
time that doubles and is drawn at random, so that many clients don't come back together. Nothing is done twice by that:
an image that is added again is found to be there, one that is removed again is gone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

Image = bytes | Path
"""The bytes of an image file, or where it is."""

LATER = (429, 503)
BROKEN = (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ConnectTimeout)
"""What may be tried again. A server that takes too long for its answer is busy enough."""
STATUS = {"unsupported_image": 415, "image_too_large": 413, "inference_failed": 500}
"""Of an error in the place of one of several images; 422 otherwise."""


@dataclass(frozen=True)
class Retries:
    """`attempts` in all; the time between two begins at `first` seconds and is at most `most`, Retry-After included."""

    attempts: int = 5
    first: float = 0.2
    most: float = 10.0

    def pause(self, attempt: int, answer: httpx2.Response | None) -> float:
        """Seconds before the next attempt; `attempt` counts from 0."""
        drawn: float = random.uniform(0.5, 1.0) * min(self.most, self.first * 2**attempt)
        try:
            asked = float(answer.headers["Retry-After"]) if answer is not None else 0.0
        except (KeyError, ValueError):
            asked = 0.0
        return min(self.most, max(0.0, asked) + drawn) if asked == asked else drawn


class AlexNetServerError(Exception):
    """What the server refused: `status`, its `code` (docs/operations.md has all), its sentence, its request's id."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{message} ({status} {code}, request {request_id or 'unknown'})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id


@dataclass(frozen=True)
class Prediction:
    """One class: its place among the network's, its id in the data set, its name, its probability."""

    place: int
    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classified:
    """`model`: name and version of the network that answered."""

    model: tuple[str, int]
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Neighbor:
    """An indexed image and its Euclidean distance from the query."""

    id: int
    distance: float
    label: str | None


@dataclass(frozen=True)
class Added:
    """`status`: added; exists: it was there already; or restored: it had been removed."""

    id: int
    status: str


@dataclass(frozen=True)
class _Asked:
    """A request, and nothing about how it is sent."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[tuple[str, tuple[str, bytes]]] = ()
    form: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = {"params": {k: v for k, v in self.query.items() if v is not None}}
        if self.files:
            found |= {"files": list(self.files), "data": dict(self.form)}
        if self.body is not None:
            found["json"] = self.body
        return found


def _images(images: Sequence[Image]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", ("image", p if isinstance(p, bytes) else p.read_bytes())) for p in images]


def _classify(images: Sequence[Image], top: int, crops: int) -> _Asked:
    return _Asked("POST", "/classify", {"top": top, "crops": crops}, _images(images))


def _similar(image: Image | int, query: Mapping[str, Any]) -> _Asked:
    if isinstance(image, int):
        return _Asked("GET", f"/images/{image}/similar", query)
    return _Asked("POST", "/similar", query, _images([image]))


def _add(images: Sequence[Image], label: str | None) -> _Asked:
    return _Asked("POST", "/images", {}, _images(images), {} if label is None else {"label": label})


def _answer(response: httpx2.Response, gone_is_good: bool) -> Any:
    """The JSON of an answer. Raises AlexNetServerError. `gone_is_good`: an attempt whose answer was lost may have
    removed it."""
    if response.is_success:
        return response.json() if response.content else None
    if gone_is_good and response.status_code == 404:
        return None
    try:
        error = response.json()["error"]
        raise _refused(response.status_code, error)
    except (ValueError, KeyError, TypeError):
        text = response.text[:200] or response.reason_phrase
        raise AlexNetServerError(
            response.status_code, "unknown", text, response.headers.get("X-Request-ID", "")
        ) from None


def _refused(status: int, error: Mapping[str, str]) -> AlexNetServerError:
    return AlexNetServerError(status, error["code"], error["message"], error.get("request_id", ""))


def _refused_among(error: Mapping[str, str]) -> AlexNetServerError:
    return _refused(STATUS.get(error["code"], 422), error)


def _classified(answer: Mapping[str, Any]) -> Classified | AlexNetServerError:
    """One of several may be an error of its own."""
    if "error" in answer:
        return _refused_among(answer["error"])
    model = answer["model"]
    found = tuple(Prediction(p["class"], p["id"], p["name"], p["probability"]) for p in answer["predictions"])
    return Classified((model["name"], model["version"]), found)


def _one(answer: Mapping[str, Any]) -> Classified:
    found = _classified(answer)
    if isinstance(found, AlexNetServerError):
        raise found
    return found


def _neighbors(answer: Mapping[str, Any]) -> list[Neighbor]:
    return [Neighbor(n["id"], n["distance"], n["label"]) for n in answer["neighbors"]]


def _added(answer: Mapping[str, Any]) -> list[Added | AlexNetServerError]:
    return [_refused_among(p["error"]) if "error" in p else Added(p["id"], p["status"]) for p in answer["images"]]


class _Settings:
    """What both clients are made with."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        """`key`: of the server's API keys. `timeout`: seconds of one attempt. `address` without a trailing path."""
        self._retries = retries or Retries()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._options: dict[str, Any] = {"base_url": address, "headers": headers, "timeout": timeout}


class Client(_Settings):
    """Synchronous; one may be used by several threads. Close it, or use it in a `with`."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        super().__init__(address, key, timeout, retries)
        self._http = httpx2.Client(**self._options)

    def classify(self, image: Image, top: int = 5, crops: int = 10) -> Classified:
        """The most probable classes of an image. Raises AlexNetServerError."""
        return _one(self._ask(_classify([image], top, crops)))

    def classify_all(
        self, images: Sequence[Image], top: int = 5, crops: int = 10
    ) -> list[Classified | AlexNetServerError]:
        """Of several, in one request; one that can't be read has its error in its place."""
        if len(images) == 1:
            return [self.classify(images[0], top, crops)]
        return [_classified(answer) for answer in self._ask(_classify(images, top, crops))]

    def similar(self, image: Image | int, k: int = 6, **query: Any) -> list[Neighbor]:
        """The indexed images most like a file, or like an indexed image by its id. `query`: `label`, `offset`,
        `max_distance`, `search` ("exact", "binary") and the rest of the server's parameters."""
        return _neighbors(self._ask(_similar(image, {"k": k} | query)))

    def add(self, images: Sequence[Image], label: str | None = None) -> list[Added | AlexNetServerError]:
        """Put images into the index. What is answered is on the server's disk; the same bytes are one image."""
        return _added(self._ask(_add(images, label)))

    def images(self, label: str | None = None, page: int = 1000) -> Iterator[tuple[int, str | None]]:
        """Id and label of every indexed image, page by page."""
        cursor: int | None = 0
        while cursor is not None:
            answer = self._ask(_Asked("GET", "/images", {"label": label, "cursor": cursor, "limit": page}))
            yield from ((p["id"], p["label"]) for p in answer["images"])
            cursor = answer["next"]

    def relabel(self, image: int, label: str | None) -> None:
        """Another label, or none."""
        self._ask(_Asked("PATCH", f"/images/{image}", body={"label": label}))

    def remove(self, image: int) -> None:
        """Take an image out of the index."""
        self._ask(_Asked("DELETE", f"/images/{image}"))

    def info(self) -> dict[str, Any]:
        """What is loaded: network, device, measured errors, index."""
        found: dict[str, Any] = self._ask(_Asked("GET", "/info"))
        return found

    def ready(self) -> bool:
        """Whether the server takes requests now; not tried again."""
        try:
            return self._http.get("/ready").status_code == 200
        except BROKEN:
            return False

    def _ask(self, asked: _Asked) -> Any:
        broken = False
        for attempt in range(self._retries.attempts):
            last, answer = attempt + 1 == self._retries.attempts, None
            try:
                answer = self._http.request(asked.method, asked.path, **asked.options())
            except BROKEN:
                broken = True
                if last:
                    raise
            if answer is not None and (last or answer.status_code not in LATER):
                return _answer(answer, gone_is_good=asked.method == "DELETE" and broken)
            time.sleep(self._retries.pause(attempt, answer))
        raise ValueError("expected at least one attempt")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class AsyncClient(_Settings):
    """The same for asyncio. `async with AsyncClient(address) as client: await client.classify(image)`."""

    def __init__(
        self, address: str, key: str | None = None, timeout: float = 60.0, retries: Retries | None = None
    ) -> None:
        super().__init__(address, key, timeout, retries)
        self._http = httpx2.AsyncClient(**self._options)

    async def classify(self, image: Image, top: int = 5, crops: int = 10) -> Classified:
        """As `Client.classify`."""
        return _one(await self._ask(_classify([image], top, crops)))

    async def similar(self, image: Image | int, k: int = 6, **query: Any) -> list[Neighbor]:
        """As `Client.similar`."""
        return _neighbors(await self._ask(_similar(image, {"k": k} | query)))

    async def add(self, images: Sequence[Image], label: str | None = None) -> list[Added | AlexNetServerError]:
        """As `Client.add`."""
        return _added(await self._ask(_add(images, label)))

    async def _ask(self, asked: _Asked) -> Any:
        broken = False
        for attempt in range(self._retries.attempts):
            last, answer = attempt + 1 == self._retries.attempts, None
            try:
                answer = await self._http.request(asked.method, asked.path, **asked.options())
            except BROKEN:
                broken = True
                if last:
                    raise
            if answer is not None and (last or answer.status_code not in LATER):
                return _answer(answer, gone_is_good=asked.method == "DELETE" and broken)
            await asyncio.sleep(self._retries.pause(attempt, answer))
        raise ValueError("expected at least one attempt")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.aclose()
