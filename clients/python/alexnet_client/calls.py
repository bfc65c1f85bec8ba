"""Calls, independent of how requests are sent: generators that yield attempts to send one and take what came of each.

So the synchronous and the asynchronous client have one description of each call, of its retries and of its pages.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from alexnet_client.exceptions import AlexNetServerError, InvalidInputError
from alexnet_client.images import ImageLike, is_single, split_batches, to_bytes, to_files
from alexnet_client.requests import Attempt, Connection, Outcome, Request
from alexnet_client.responses import (
    IMAGE_ERROR_STATUSES,
    AddedImage,
    Classification,
    Neighbor,
    member,
    parse_added,
    parse_classifications,
    parse_neighbors,
)

Result = TypeVar("Result")
Call = Generator[Attempt, Outcome, Result]


def classify(
    connection: Connection, images: ImageLike | Iterable[ImageLike], top: int, crops: int
) -> Call[Classification | list[Classification | AlexNetServerError]]:
    """POST /classify, once per batch."""
    results: list[Classification | AlexNetServerError] = []
    single = is_single(images)
    for batch in split_batches(_to_list(images)):
        try:
            request = Request("POST", "/classify", {"top": top, "crops": crops}, to_files(batch))
            results += parse_classifications((yield from connection.send(request)))
        except AlexNetServerError as error:
            if single or len(batch) > 1 or error.code not in IMAGE_ERROR_STATUSES:
                raise
            results.append(error)  # the batch is this image
    return results[0] if single else results  # type: ignore[return-value]


def similar(connection: Connection, image: ImageLike | int, query: Mapping[str, Any]) -> Call[list[Neighbor]]:
    """POST /similar, or GET for an indexed image."""
    return parse_neighbors((yield from connection.send(similar_request(image, query))))


def similar_request(image: ImageLike | int, query: Mapping[str, Any]) -> Request:
    """The request of `similar`, or of its first page."""
    if isinstance(image, int):
        return Request("GET", f"/images/{image}/similar", query)
    return Request("POST", "/similar", query, to_files([to_bytes(image)]))


def images_request(label: str | None, page_size: int) -> Request:
    """GET /images, the first page."""
    return Request("GET", "/images", {"label": label, "limit": page_size})


def parse_images(page: Any) -> list[tuple[int, str | None]]:
    """Ids and labels of one page."""
    return [(image["id"], image["label"]) for image in member(page, "images")]


def page(
    connection: Connection, request: Request, parse: Callable[[Any], list[Result]]
) -> Call[tuple[list[Result], Request | None]]:
    """One page of a list, and the request of the next page; None after the last."""
    body = yield from connection.send(request)
    items, cursor = parse(body), member(body, "next_cursor")
    return items, None if cursor is None else replace(request, query={**request.query, "cursor": cursor})


def add(
    connection: Connection, images: ImageLike | Iterable[ImageLike], labels: str | Sequence[str] | None
) -> Call[AddedImage | list[AddedImage | AlexNetServerError]]:
    """POST /images, once per batch."""
    results: list[AddedImage | AlexNetServerError] = []
    single, items = is_single(images), _to_list(images)
    each = _labels_of(labels, len(items))
    for batch in split_batches(items):
        part = each[len(results) : len(results) + len(batch)]
        try:
            request = Request("POST", "/images", {}, to_files(batch), {"label": part} if part else {})
            results += parse_added((yield from connection.send(request)))
        except AlexNetServerError as error:
            if single or len(batch) > 1 or error.code not in IMAGE_ERROR_STATUSES:
                raise
            results.append(error)
    return results[0] if single else results  # type: ignore[return-value]


def set_label(connection: Connection, image_id: int, label: str | None) -> Call[None]:
    """PATCH /images/ID."""
    yield from connection.send(Request("PATCH", f"/images/{image_id}", body={"label": label}))


def remove(connection: Connection, image_id: int) -> Call[None]:
    """DELETE /images/ID."""
    yield from connection.send(Request("DELETE", f"/images/{image_id}"))


def info(connection: Connection) -> Call[dict[str, Any]]:
    """GET /info."""
    body: dict[str, Any] = yield from connection.send(Request("GET", "/info"))
    return body


def _to_list(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    if is_single(images):
        return [images]  # type: ignore[list-item]
    if not isinstance(images, Iterable):
        to_bytes(images)  # raises
    return list(images)  # type: ignore[arg-type]


def _labels_of(labels: str | Sequence[str] | None, count: int) -> list[str]:
    """One label per image; none at all without labels. Raises InvalidInputError."""
    if labels is None:
        return []
    each = [labels] * count if isinstance(labels, str) else list(labels)
    if len(each) != count:
        raise InvalidInputError(f"give one label, or one per image: {count} images, {len(each)} labels")
    return each
