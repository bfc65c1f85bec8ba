"""Calls, independent of how requests are sent: generators that yield requests and take the bodies of the responses.

So the synchronous and the asynchronous client have one description of each call. An error response is thrown in.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from alexnet_client.exceptions import AlexNetServerError, InvalidInputError
from alexnet_client.images import ImageLike, is_single, split_batches, to_bytes, to_files
from alexnet_client.requests import Request
from alexnet_client.responses import (
    IMAGE_ERROR_STATUSES,
    AddedImage,
    Classification,
    Neighbor,
    parse_added,
    parse_classifications,
    parse_neighbors,
)

Result = TypeVar("Result")
Call = Generator[Request, Any, Result]


def classify(
    images: ImageLike | Iterable[ImageLike], top: int, crops: int
) -> Call[Classification | list[Classification | AlexNetServerError]]:
    """POST /classify, once per batch."""
    results: list[Classification | AlexNetServerError] = []
    single = is_single(images)
    for batch in split_batches(_to_list(images)):
        try:
            body = yield Request("POST", "/classify", {"top": top, "crops": crops}, to_files(batch))
            results += parse_classifications(body)
        except AlexNetServerError as error:
            if single or len(batch) > 1 or error.code not in IMAGE_ERROR_STATUSES:
                raise
            results.append(error)  # the batch is this image
    return results[0] if single else results  # type: ignore[return-value]


def similar(image: ImageLike | int, query: Mapping[str, Any]) -> Call[list[Neighbor]]:
    """POST /similar, or GET for an indexed image."""
    return parse_neighbors((yield similar_request(image, query)))


def similar_request(image: ImageLike | int, query: Mapping[str, Any]) -> Request:
    """The request of one page of neighbors."""
    if isinstance(image, int):
        return Request("GET", f"/images/{image}/similar", query)
    return Request("POST", "/similar", query, to_files([to_bytes(image)]))


def add(
    images: ImageLike | Iterable[ImageLike], labels: str | Sequence[str] | None
) -> Call[AddedImage | list[AddedImage | AlexNetServerError]]:
    """POST /images, once per batch."""
    results: list[AddedImage | AlexNetServerError] = []
    single, items = is_single(images), _to_list(images)
    each = _labels_of(labels, len(items))
    for batch in split_batches(items):
        part = each[len(results) : len(results) + len(batch)]
        try:
            body = yield Request("POST", "/images", {}, to_files(batch), {"label": part} if part else {})
            results += parse_added(body)
        except AlexNetServerError as error:
            if single or len(batch) > 1 or error.code not in IMAGE_ERROR_STATUSES:
                raise
            results.append(error)
    return results[0] if single else results  # type: ignore[return-value]


def set_label(image_id: int, label: str | None) -> Call[None]:
    """PATCH /images/ID."""
    yield Request("PATCH", f"/images/{image_id}", body={"label": label})


def remove(image_id: int) -> Call[None]:
    """DELETE /images/ID."""
    yield Request("DELETE", f"/images/{image_id}")


def info() -> Call[dict[str, Any]]:
    """GET /info."""
    body: dict[str, Any] = yield Request("GET", "/info")
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
