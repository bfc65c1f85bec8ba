"""Calls, independent of how requests are sent: generators that yield attempts and receive their outcomes.

So the synchronous and the asynchronous client share one definition of each call, its retries and its pages.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from alexnet_client.exceptions import AlexNetClientError, AlexNetServerError, InvalidInputError
from alexnet_client.images import ImageKey, ImageLike, is_single, split_batches, to_bytes, to_files
from alexnet_client.requests import Attempt, Connection, Outcome, Request
from alexnet_client.responses import (
    SINGLE_IMAGE_ERRORS,
    AddedImage,
    Classification,
    Features,
    Neighbor,
    check_count,
    check_next_page,
    member,
    parse_added,
    parse_classifications,
    parse_features,
    parse_neighbors,
    parse_with,
)

Result = TypeVar("Result")
Call = Generator[Attempt, Outcome, Result]


def classify(
    connection: Connection, images: ImageLike | Iterable[ImageLike], top: int, crops: int
) -> Call[Classification | list[Classification | AlexNetServerError]]:
    """POST /classify, once per batch."""
    query = {"top": top, "crops": crops}
    return (yield from _each_image(connection, "/classify", images, query, parse_classifications))


def features(
    connection: Connection, images: ImageLike | Iterable[ImageLike], crops: int
) -> Call[Features | list[Features | AlexNetServerError]]:
    """POST /features, once per batch."""
    return (yield from _each_image(connection, "/features", images, {"crops": crops}, parse_features))


def similar(
    connection: Connection, image: ImageLike | int | ImageKey, query: Mapping[str, Any]
) -> Call[list[Neighbor]]:
    """The neighbors of one page."""
    return parse_with(parse_neighbors, (yield from connection.send(similar_request(image, query))))


def similar_request(image: ImageLike | int | ImageKey, query: Mapping[str, Any]) -> Request:
    """POST /similar, or GET for an indexed image by its id."""
    if isinstance(image, ImageKey):
        others = query.get("key") or []
        return Request("POST", "/similar", {**query, "key": [image.text, *_to_texts(others, "key")]})
    if isinstance(image, int | numbers.Integral):  # numpy's integers, too
        return Request("GET", f"/images/{int(image)}/similar", query)
    return Request("POST", "/similar", query, to_files([to_bytes(image)]))


def first_similar_request(image: ImageLike | int | ImageKey, page_size: int, query: Mapping[str, Any]) -> Request:
    """The request for the first page. Raises InvalidInputError."""
    if "k" in query or "cursor" in query:
        raise InvalidInputError("iter_similar fetches all pages itself: give page_size, not k or cursor")
    return similar_request(image, {**query, "k": page_size})


def images_request(label: str | None, page_size: int) -> Request:
    """GET /images, the first page."""
    return Request("GET", "/images", {"label": label, "limit": page_size})


def parse_images(page: Any) -> list[tuple[int, str | None]]:
    """Ids and labels of one page."""
    return [(image["id"], image["label"]) for image in member(page, "images")]


def page(
    connection: Connection, request: Request, parse: Callable[[Any], list[Result]]
) -> Call[tuple[list[Result], Request | None]]:
    """One page of a list, and the request for the next page; None after the last."""
    body = yield from connection.send(request)
    items, cursor = parse_with(parse, body), member(body, "next_cursor")
    check_next_page(cursor, request.query.get("cursor"))
    return items, None if cursor is None else replace(request, query={**request.query, "cursor": cursor})


def add(
    connection: Connection,
    images: ImageLike | Iterable[ImageLike],
    labels: str | Sequence[str] | None,
    keys: str | Sequence[str] | None,
) -> Call[AddedImage | list[AddedImage | AlexNetServerError]]:
    """POST /images, once per batch."""
    items = _to_list(images)
    fields = {"label": _labels_of(labels, len(items)), "key": _keys_of(keys, len(items))}

    def request(batch: list[bytes], start: int) -> Request:
        form = {name: each[start : start + len(batch)] for name, each in fields.items() if each}
        return Request("POST", "/images", {}, to_files(batch), form)

    return (yield from _in_batches(connection, items, is_single(images), request, parse_added))


def _each_image(
    connection: Connection,
    path: str,
    images: ImageLike | Iterable[ImageLike],
    query: Mapping[str, Any],
    parse: Callable[[Any], list[Result | AlexNetServerError]],
) -> Call[Result | list[Result | AlexNetServerError]]:
    """POST to `path`, once per batch."""

    def request(batch: list[bytes], start: int) -> Request:
        return Request("POST", path, query, to_files(batch))

    return (yield from _in_batches(connection, _to_list(images), is_single(images), request, parse))


def _in_batches(
    connection: Connection,
    images: Sequence[ImageLike],
    single: bool,
    make_request: Callable[[list[bytes], int], Request],
    parse: Callable[[Any], list[Result | AlexNetServerError]],
) -> Call[Result | list[Result | AlexNetServerError]]:
    """A list of one result per image, or the one result if `single`. `make_request`: makes the request for a batch from
    its bytes and the position of its first image.

    A raised error has the results of earlier batches as `partial_results`.
    """
    results: list[Result | AlexNetServerError] = []
    try:
        for batch in split_batches(images, connection.max_batch_images, connection.max_batch_bytes):
            try:
                parsed = parse_with(parse, (yield from connection.send(make_request(batch, len(results)))))
                check_count(parsed, len(batch))
                results += parsed
            except AlexNetServerError as error:
                if single or len(batch) > 1 or error.code not in SINGLE_IMAGE_ERRORS:
                    raise
                results.append(error)  # the batch is this image
    except AlexNetClientError as error:
        error.partial_results = results
        raise
    return results[0] if single else results  # type: ignore[return-value]


def set_label(connection: Connection, image: int | ImageKey, label: str | None) -> Call[None]:
    """PATCH /images/ID."""
    image_id = yield from _id_of(connection, image)
    yield from connection.send(Request("PATCH", f"/images/{image_id}", body={"label": label}))


def remove(connection: Connection, image: int | ImageKey) -> Call[None]:
    """DELETE /images/ID."""
    image_id = yield from _id_of(connection, image)
    yield from connection.send(Request("DELETE", f"/images/{image_id}"))


def _id_of(connection: Connection, image: int | ImageKey) -> Call[int]:
    """The id of an indexed image, by GET /images if its key is given: an image's id and key never change."""
    if not isinstance(image, ImageKey):
        return image
    body = yield from connection.send(Request("GET", "/images", {"key": image.text}))
    images = parse_with(parse_images, body)
    check_count(images, 1)
    return images[0][0]


def info(connection: Connection) -> Call[dict[str, Any]]:
    """GET /info."""
    body: dict[str, Any] = yield from connection.send(Request("GET", "/info"))
    return body


def _to_list(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    if is_single(images):
        return [images]  # type: ignore[list-item]
    if not isinstance(images, Iterable) or hasattr(images, "read"):  # an open file would yield its lines
        to_bytes(images)  # type: ignore[arg-type]  # raises
    return list(images)  # type: ignore[arg-type]


def _labels_of(labels: str | Sequence[str] | None, count: int) -> list[str]:
    """One label per image; an empty list without labels. Raises InvalidInputError."""
    if labels is None:
        return []
    each = [labels] * count if isinstance(labels, str) else _to_texts(labels, "labels")
    if len(each) != count:
        raise InvalidInputError(f"give one label, or one per image: {count} images, {len(each)} labels")
    return each


def _keys_of(keys: str | Sequence[str] | None, count: int) -> list[str]:
    """One key per image; an empty list without keys. Raises InvalidInputError."""
    each = _to_texts([] if keys is None else keys, "keys")
    if keys is not None and len(each) != count:
        raise InvalidInputError(f"give one key per image: {count} images, {len(each)} keys")
    return each


def _to_texts(texts: str | Sequence[str], name: str) -> list[str]:
    """One text or several as a list. Raises InvalidInputError."""
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable):
        raise InvalidInputError(f"{name} must be a string or a list of strings, not {texts!r}")
    listed = list(texts)
    for text in listed:
        if not isinstance(text, str):
            raise InvalidInputError(f"{name} must be a list of strings, but {text!r} isn't one")
    return listed
