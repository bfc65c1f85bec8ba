"""The server's responses as typed objects. Unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from alexnet_client.exceptions import AlexNetServerError

IMAGE_ERROR_STATUSES = {"invalid_image": 422, "unsupported_image": 415, "image_too_large": 413, "inference_failed": 500}
"""Status by error code, for an error in place of the result of one of several images."""
SINGLE_IMAGE_ERRORS = (*IMAGE_ERROR_STATUSES, "missing_body", "body_too_large")
"""Error codes that, for a request with one image, mean an error of that image: also that it is empty or too large."""
Result = TypeVar("Result")
NO_MODEL: Mapping[str, Any] = {"name": "", "version": 0}


@dataclass(frozen=True)
class Prediction:
    """One class: its index in the network's output, its id in the data set, its name and its probability."""

    index: int
    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """The most probable classes, most probable first. `model`: name and version of the network.

    `familiarity`: the share of held-out images that are less like the training images than this one; `familiar`: False
    if the image is unlike anything that the network was trained on. Both are None if the server doesn't know;
    `familiar` also if there are too few held-out images to tell.
    """

    model: tuple[str, int]
    predictions: tuple[Prediction, ...]
    familiarity: float | None = None
    familiar: bool | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Classification:
        items = member(body, "predictions")
        predictions = tuple(Prediction(p["index"], p["id"], p["name"], p["probability"]) for p in items)
        model = body.get("model") or NO_MODEL
        version = (model["name"], model["version"])
        return cls(version, predictions, body.get("familiarity"), body.get("familiar"))

    def __str__(self) -> str:
        return "\n".join(f"{100 * item.probability:6.2f} %  {item.name}" for item in self.predictions)


@dataclass(frozen=True)
class Features:
    """The activations of the network's last hidden layer, averaged over the crops that were asked for. `model`: name
    and version of the network; features of another network can't be compared with them."""

    model: tuple[str, int]
    features: tuple[float, ...]

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Features:
        model = body["model"]
        return cls((model["name"], model["version"]), tuple(member(body, "features")))


@dataclass(frozen=True)
class Neighbor:
    """An indexed image and its Euclidean distance from the query. `similarity`: 1 for the same image, toward 0 for
    distant ones; not a probability. `file`: name of its file, None for an uploaded image. `attribution`: author, source
    and license, as the server has them. `key`: your own name for it, if it was added with one."""

    id: int
    distance: float
    similarity: float | None
    label: str | None
    file: str | None
    attribution: Any = None
    key: str | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Neighbor:
        return cls(
            body["id"],
            body["distance"],
            body.get("similarity"),
            body.get("label"),
            body.get("file"),
            body.get("attribution"),
            body.get("key"),
        )

    def __str__(self) -> str:
        return f"{self.distance:9.3f}  {self.label or '-'}  {self.file or self.key or f'image {self.id}'}"


@dataclass(frozen=True)
class AddedImage:
    """`status`: `added`; `exists`: it was indexed already; or `restored`: it had been removed."""

    id: int
    status: str

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> AddedImage:
        return cls(body["id"], body["status"])


def member(body: Any, name: str) -> Any:
    """A member of a response. Raises AlexNetServerError if the response isn't from alexnet-server."""
    if not isinstance(body, Mapping) or name not in body:
        raise unexpected_response_error(200, f"no {name!r}", "")
    return body[name]


def parse_with(parse: Callable[[Any], Result], body: Any) -> Result:
    """What `parse` makes of a response. Raises AlexNetServerError if it isn't from alexnet-server."""
    try:
        return parse(body)
    except (AttributeError, KeyError, TypeError) as error:
        raise unexpected_response_error(200, f"an unknown format ({type(error).__name__}: {error})", "") from error


def parse_neighbors(page: Any) -> list[Neighbor]:
    """The neighbors of one page."""
    return [Neighbor.parse(item) for item in member(page, "neighbors")]


def parse_classifications(body: Any) -> list[Classification | AlexNetServerError]:
    """The results of one image (an object) or of several (a list), each a classification or its error."""
    return _parse_each(body if isinstance(body, list) else [body], Classification.parse)


def parse_features(body: Any) -> list[Features | AlexNetServerError]:
    """The results of one image (an object) or of several (a list), each its features or its error."""
    return _parse_each(body if isinstance(body, list) else [body], Features.parse)


def parse_added(body: Mapping[str, Any]) -> list[AddedImage | AlexNetServerError]:
    """The results of added images, each with its id or its error."""
    return _parse_each(member(body, "images"), AddedImage.parse)


def _parse_each(
    items: Sequence[Mapping[str, Any]], parse: Callable[[Mapping[str, Any]], Result]
) -> list[Result | AlexNetServerError]:
    return [_image_error(item["error"]) if "error" in item else parse(item) for item in items]


def parse_response(response: httpx2.Response, ignore_missing: bool) -> Any:
    """The JSON of a response. Raises AlexNetServerError. `ignore_missing`: accept a 404, since an earlier attempt
    whose response was lost may have removed the image."""
    if response.is_success:
        try:
            return response.json() if response.content else None
        except (ValueError, RecursionError):
            request_id = response.headers.get("X-Request-ID", "")
            raise unexpected_response_error(response.status_code, "no JSON", request_id) from None
    if ignore_missing and response.status_code == 404:
        return None
    try:
        raise _server_error(response.status_code, response.json()["error"])
    except (ValueError, RecursionError, KeyError, TypeError):
        text = response.content[:200].decode(errors="replace") or response.reason_phrase  # whatever charset it names
        raise AlexNetServerError(
            response.status_code, "unknown", text, response.headers.get("X-Request-ID", "")
        ) from None


def check_count(results: Sequence[Any], count: int) -> None:
    """Raise AlexNetServerError unless there is a result for each of `count` images."""
    if len(results) != count:
        raise unexpected_response_error(200, f"{len(results)} results for {count} images", "")


def check_next_page(cursor: Any, before: Any) -> None:
    """Raise AlexNetServerError if the cursor is the previous page's, with which the pages would never end."""
    if cursor is not None and cursor == before:
        raise unexpected_response_error(200, "the same cursor as the previous page", "")


def unexpected_response_error(status: int, problem: str, request_id: str) -> AlexNetServerError:
    message = f"the response has {problem}: is something other than alexnet-server at this address?"
    return AlexNetServerError(status, "unknown", message, request_id)


def _server_error(status: int, error: Mapping[str, str]) -> AlexNetServerError:
    return AlexNetServerError(status, error["code"], error["message"], error.get("request_id", ""))


def _image_error(error: Mapping[str, str]) -> AlexNetServerError:
    return _server_error(IMAGE_ERROR_STATUSES.get(error["code"], 422), error)
