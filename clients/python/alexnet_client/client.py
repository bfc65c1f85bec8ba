"""Client: the synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx2

from alexnet_client import calls
from alexnet_client.exceptions import AlexNetServerError
from alexnet_client.images import MAX_BATCH_BYTES, MAX_BATCH_IMAGES, ImageKey, ImageLike
from alexnet_client.requests import Attempt, Connection, Outcome, Request
from alexnet_client.responses import AddedImage, Classification, Features, Neighbor, parse_neighbors
from alexnet_client.retries import Retries

Result = TypeVar("Result")


class Client:
    """Synchronous client, which several threads may share. Close it, or use it in a `with`.

    An image is a path, the bytes of a file, a PIL image, or a numpy array (height, width, 3) of dtype uint8 in RGB. An
    indexed image is given by its id, or by the key that it was added with: `ImageKey("shelf-3")`.
    Responses 429 and 503, and broken connections, are retried after the server's `Retry-After` plus an exponential
    backoff with jitter. Retries change nothing twice: an image that is added again already exists, and one that is
    removed again is already gone. Every call raises AlexNetServerError, ServerUnreachableError or InvalidInputError.
    """

    def __init__(
        self,
        address: str,
        key: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        max_batch_images: int = MAX_BATCH_IMAGES,
        max_batch_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        """`address`: URL of the server. `key`: API key. `timeout`: seconds to wait for the connection, and then for
        each part of the response, before an attempt fails. `max_batch_images`, `max_batch_bytes`: limits per request,
        for a server with lower limits than the defaults. Raises InvalidInputError."""
        self._connection = Connection(address, key, timeout, retries or Retries(), max_batch_images, max_batch_bytes)
        self._http = httpx2.Client(**self._connection.options())

    @overload
    def classify(self, images: ImageLike, top: int = 5, crops: int = 10) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a path
    @overload
    def classify(
        self, images: Iterable[ImageLike], top: int = 5, crops: int = 10
    ) -> list[Classification | AlexNetServerError]: ...
    def classify(
        self, images: ImageLike | Iterable[ImageLike], top: int = 5, crops: int = 10
    ) -> Classification | list[Classification | AlexNetServerError]:
        """The `top` most probable classes of each image, from 1 crop or 10.

        Several images are sent in batches; for one that can't be decoded, the result is its error. If a batch fails,
        the error's `partial_results` are the results of the images before it.
        """
        return self._run(calls.classify(self._connection, images, top, crops))

    @overload
    def features(self, images: ImageLike, crops: int = 1) -> Features: ...  # type: ignore[overload-overlap]
    @overload
    def features(self, images: Iterable[ImageLike], crops: int = 1) -> list[Features | AlexNetServerError]: ...
    def features(
        self, images: ImageLike | Iterable[ImageLike], crops: int = 1
    ) -> Features | list[Features | AlexNetServerError]:
        """The activations of the last hidden layer for each image, averaged over 1 crop, as in the index, or 10.

        Several images are sent as in `classify`. `numpy.array(result.features, "float32")` makes an array of a result.
        """
        return self._run(calls.features(self._connection, images, crops))

    def similar(self, image: ImageLike | int | ImageKey, k: int = 6, **query: Any) -> list[Neighbor]:
        """The `k` images of the index most similar to an image, or to an indexed image by its id or key.

        `query`: other parameters of the server, such as `label`, `max_distance` and `search`.
        """
        return self._run(calls.similar(self._connection, image, {"k": k} | query))

    def iter_similar(self, image: ImageLike | int | ImageKey, page_size: int = 100, **query: Any) -> Iterator[Neighbor]:
        """Like `similar`, but yields as many images as you take, nearest first, fetched page by page. None is repeated
        or skipped because others are added or removed meanwhile. `image` is read once, at the call; `query` can't have
        `k` or `cursor`."""
        return self._iterate(calls.first_similar_request(image, page_size, query), parse_neighbors)

    @overload
    def add(self, images: ImageLike, labels: str | None = None, keys: str | None = None) -> AddedImage: ...  # type: ignore[overload-overlap]
    @overload
    def add(
        self,
        images: Iterable[ImageLike],
        labels: str | Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[AddedImage | AlexNetServerError]: ...
    def add(
        self,
        images: ImageLike | Iterable[ImageLike],
        labels: str | Sequence[str] | None = None,
        keys: str | Sequence[str] | None = None,
    ) -> AddedImage | list[AddedImage | AlexNetServerError]:
        """Add images to the index; they are on the server's disk when it returns. The same bytes are the same image.

        `labels`: one for all, or one per image. `keys`: your own unique name for each image. Several images
        are sent in batches; for one that can't be decoded, the result is its error. If a batch fails, the error's
        `partial_results` are the results of the images before it.
        """
        return self._run(calls.add(self._connection, images, labels, keys))

    def images(self, label: str | None = None, page_size: int = 1000) -> Iterator[tuple[int, str | None]]:
        """Id and label of every indexed image, or of those with `label`, fetched page by page."""
        return self._iterate(calls.images_request(label, page_size), calls.parse_images)

    def set_label(self, image_id: int | ImageKey, label: str | None) -> None:
        """Set the label of an indexed image; None for no label."""
        self._run(calls.set_label(self._connection, image_id, label))

    def remove(self, image_id: int | ImageKey) -> None:
        """Remove an image from the index."""
        self._run(calls.remove(self._connection, image_id))

    def info(self) -> dict[str, Any]:
        """The loaded model and index."""
        return self._run(calls.info(self._connection))

    def ready(self) -> bool:
        """Whether the server accepts requests now; not retried."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx2.RequestError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _iterate(self, request: Request, parse: Callable[[Any], list[Result]]) -> Iterator[Result]:
        """The items of all pages; `request` is that of the first page."""
        following: Request | None = request
        while following is not None:
            items, following = self._run(calls.page(self._connection, following, parse))
            yield from items

    def _run(self, call: calls.Call[Result]) -> Result:
        try:
            attempt = next(call)
            while True:
                time.sleep(attempt.pause)
                attempt = call.send(self._send(attempt))
        except StopIteration as end:
            result: Result = end.value
            return result

    def _send(self, attempt: Attempt) -> Outcome:
        try:
            return self._http.request(attempt.method, attempt.path, **attempt.options)
        except httpx2.RequestError as error:
            return error
        except httpx2.InvalidURL as error:
            raise self._connection.request_too_long_error(error) from None
