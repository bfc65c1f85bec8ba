"""Inference requests of the Open Inference Protocol: JSON, JSON followed by binary tensors, or one raw image.

The header `Inference-Header-Content-Length` gives the length of the JSON part; the bytes after it are the tensor with
the parameter `binary_data_size`. A length of 0 means that the whole body is the input: one image file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.exceptions import InvalidRequestError
from model.images.contract import IMAGE_SIZE
from model.images.crops import CROP_IDS
from server.open_inference.tensors import decode_base64, decode_pixels, split_elements
from server.parameters import unknown_name_error
from server.request_body.json_body import parse_json

LENGTH_HEADER = "Inference-Header-Content-Length"
MAX_IMAGES_AS_NUMBERS = 16
"""Maximum images in a request whose pixels are JSON numbers; as binary data, more are allowed."""
MAX_JSON_VALUES = MAX_IMAGES_AS_NUMBERS * 3 * IMAGE_SIZE**2 + 50_000
MAX_ID_LENGTH = 200
MAX_CLASSES = 1000
MICROSECONDS = 1_000_000
MAX_TIMEOUT = 2**63 - 1
"""In microseconds; the server's own limit is always lower."""
NO_SHARED_MEMORY = "this server doesn't support shared memory: send tensors in the request"

REQUEST_FIELDS = ("id", "inputs", "outputs", "parameters", "model_name", "model_version")
INPUT_FIELDS = ("name", "datatype", "shape", "data", "parameters")
OUTPUT_FIELDS = ("name", "parameters")
PARAMETERS = ("crops", "binary_data_output", "timeout")


@dataclass(frozen=True)
class RequestedModel:
    """The model named in a request's address, and the names of its outputs."""

    name: str
    version: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client requests. `classification`: the k most probable classes as text instead of numbers."""

    name: str
    binary: bool
    classification: int = 0


@dataclass(frozen=True)
class InferParameters:
    """Parameters of a request. `crops`: 1 or 10. `timeout`: seconds that it may take; None for no limit of its own."""

    crops: int = 10
    binary_output: bool = False
    timeout: float | None = None

    @property
    def crop_ids(self) -> tuple[int, ...]:
        """The crops that are averaged."""
        return CROP_IDS[self.crops]


@dataclass(frozen=True)
class InferRequest:
    """`images`: encoded, or (N, 256, 256, 3) uint8 pixels. `outputs` has no duplicates."""

    id: str
    images: list[bytes] | NDArray[np.uint8]
    parameters: InferParameters = field(default_factory=InferParameters)
    outputs: tuple[RequestedOutput, ...] = ()


def parse_infer_request(body: bytes, header_length: str | None, model: RequestedModel, max_images: int) -> InferRequest:
    """Parse an infer request with at most `max_images` images. Raises InvalidRequestError or InvalidBodyError."""
    size = _json_size(body, header_length)
    if header_length is not None and size == 0:
        return InferRequest("", [body], outputs=tuple(RequestedOutput(name, True) for name in model.outputs))
    document = parse_json(body[:size], MAX_JSON_VALUES)
    _check_names(document, REQUEST_FIELDS, "field of the request")
    for name, expected in (("model_name", model.name), ("model_version", model.version)):
        if document.get(name, expected) != expected:
            raise InvalidRequestError(f"`{name}` doesn't match the URL: leave it out, or send {expected!r}")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InvalidRequestError("`inputs` must be a list with one input: `image` (BYTES) or `pixels` (UINT8)")
    parameters = _parse_parameters(_object(document.get("parameters")))
    images = _parse_input(inputs[0], body[size:], max_images)
    outputs = _parse_outputs(document.get("outputs"), parameters.binary_output, model.outputs)
    request_id = document.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_LENGTH or not request_id.isprintable():
        raise InvalidRequestError(
            f"invalid id {_short(request_id)}: it must be text of at most {MAX_ID_LENGTH} printable characters"
        )
    return InferRequest(request_id, images, parameters, outputs)


def _json_size(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    valid = header_length.isascii() and header_length.isdecimal() and len(header_length) <= 18
    if not valid or int(header_length) > len(body):
        raise InvalidRequestError(
            f"invalid {LENGTH_HEADER} {header_length[:20]!r}: it must be a number up to {len(body)}"
        )
    return int(header_length)


def _check_names(document: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    for name in document:
        if name not in known:
            if name.startswith("shared_memory_"):
                raise InvalidRequestError(NO_SHARED_MEMORY)
            raise unknown_name_error(kind, name, known)


def _parse_parameters(parameters: Mapping[str, Any]) -> InferParameters:
    _check_names(parameters, PARAMETERS, "parameter")
    crops, timeout = parameters.get("crops", 10), parameters.get("timeout", 0)
    if type(crops) is not int or crops not in CROP_IDS:
        raise InvalidRequestError(f"invalid parameter `crops`: it must be {' or '.join(map(str, CROP_IDS))}")
    if type(timeout) is not int or timeout < 0:
        raise InvalidRequestError("invalid parameter `timeout`: it must be a number of microseconds, or 0 for none")
    binary_output = _boolean(parameters, "binary_data_output", False)
    seconds = min(timeout, MAX_TIMEOUT) / MICROSECONDS  # JSON integers may be too large for a float
    return InferParameters(crops, binary_output, seconds if timeout else None)


def _parse_input(entry: Mapping[str, Any], rest: bytes, max_images: int) -> list[bytes] | NDArray[np.uint8]:
    """The images or the pixels of the only input; `rest`: the bytes after the JSON part.

    Images are counted by the shape, before any becomes a Python object.
    """
    _check_names(entry, INPUT_FIELDS, "field of an input")
    raw, shape = _binary_data(entry, rest), _shape(entry)
    kind = (entry.get("name"), entry.get("datatype"))
    if kind == ("image", "BYTES"):
        count = math.prod(shape)
        _check_number(count, max_images)
        return decode_base64(entry.get("data"), count) if raw is None else split_elements(raw, count)
    if kind == ("pixels", "UINT8"):
        pixels = decode_pixels(raw, entry.get("data"), shape)
        _check_number(len(pixels), max_images)
        return pixels
    raise InvalidRequestError(
        f"unknown input {_short(kind[0])} of type {_short(kind[1])}: send `image` (BYTES) or `pixels` (UINT8)"
    )


def _check_number(images: int, max_images: int) -> None:
    if images > max_images:
        raise InvalidRequestError(f"{images} images sent: the limit is {max_images} per request")


def _short(value: Any) -> str:
    """A value for a message: the beginning of text and numbers; only the type of anything else, which may be deep and
    long."""
    if isinstance(value, str):
        return ascii(value[:40])
    return json.dumps(value)[:40] if isinstance(value, int | float) else value.__class__.__name__


def _object(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InvalidRequestError("`parameters` must be an object")
    return value or {}


def _boolean(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequestError(f"invalid parameter `{name}`: it must be true or false")
    return value


def _shape(entry: Mapping[str, Any]) -> list[int]:
    shape = entry.get("shape")
    valid = isinstance(shape, list) and all(type(side) is int and 1 <= side <= 1_000_000 for side in shape)
    if not valid or not shape or len(shape) > 8:
        raise InvalidRequestError("`shape` must be a list of positive integers")
    assert isinstance(shape, list)
    return shape


def _binary_data(entry: Mapping[str, Any], rest: bytes) -> bytes | None:
    """The bytes after the JSON part, if they are the input; None if the input is in `data`."""
    parameters = _object(entry.get("parameters"))
    _check_names(parameters, ("binary_data_size",), "parameter of an input")
    size = parameters.get("binary_data_size")
    if size is None:
        if rest:
            raise InvalidRequestError(f"{len(rest)} bytes follow the JSON: set the input's `binary_data_size`")
        return None
    if type(size) is not int or size != len(rest):
        raise InvalidRequestError(f"expected binary_data_size {len(rest)} (bytes after the JSON), got {_short(size)}")
    if "data" in entry:
        raise InvalidRequestError("the input has both `data` and binary data: send one of them")
    return rest


def _parse_outputs(outputs: Any, all_binary: bool, known: Sequence[str]) -> tuple[RequestedOutput, ...]:
    if outputs is None:
        return tuple(RequestedOutput(name, all_binary) for name in known)
    if not isinstance(outputs, list) or not outputs or not all(isinstance(output, dict) for output in outputs):
        raise InvalidRequestError("`outputs` must be a list of objects")
    if len(outputs) > len(known):  # each is 60 kB of JSON per image: 6,000 outputs filled the memory
        raise InvalidRequestError(f"{len(outputs)} outputs requested: there are {len(known)}, each at most once")
    requested = [_parse_output(output, all_binary, known) for output in outputs]
    if len({output.name for output in requested}) < len(requested):
        raise InvalidRequestError("an output is requested twice: request each at most once")
    return tuple(requested)


def _parse_output(output: Mapping[str, Any], all_binary: bool, known: Sequence[str]) -> RequestedOutput:
    _check_names(output, OUTPUT_FIELDS, "field of an output")
    parameters, name = _object(output.get("parameters")), output.get("name")
    _check_names(parameters, ("binary_data", "classification"), "parameter of an output")
    if name not in known:
        raise InvalidRequestError(f"unknown output {_short(name)}: request {' or '.join(known)}")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes <= MAX_CLASSES or (classes and name != "probabilities"):
        raise InvalidRequestError(
            f"invalid `classification`: it must be an integer up to {MAX_CLASSES}, for the output `probabilities`"
        )
    return RequestedOutput(str(name), _boolean(parameters, "binary_data", all_binary), classes)
