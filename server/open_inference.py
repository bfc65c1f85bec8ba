"""Codec of the Open Inference Protocol v2 (KServe, Triton): tensors as JSON and in Triton's binary form.

A binary body is the JSON part, whose length the header `Inference-Header-Content-Length` gives, and then the raw bytes
of each tensor that has a parameter `binary_data_size`, in order, little-endian. An element of type BYTES is its length
in four bytes and then itself; in JSON it is base64 text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.exceptions import InvalidRequestError
from model.images.preprocess import IMAGE_SIZE

LENGTH_HEADER = "Inference-Header-Content-Length"
MAX_JSON_VALUES = 5_000_000
"""More than sixteen images have as numbers. Each value becomes a Python object, and while they are parsed nothing else
runs; commas and opening brackets are counted first."""
MAX_ID_LENGTH = 200
MAX_CLASSES = 1000
FP32 = np.dtype("<f4")

Tensor = NDArray[np.generic]


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client requests. `classification`: the k most probable classes as text instead of numbers."""

    name: str
    binary: bool
    classification: int = 0


@dataclass(frozen=True)
class InferRequest:
    """`images`: encoded images, or `pixels` (N, 256, 256, 3) uint8; exactly one of them."""

    id: str
    images: list[bytes] | None
    pixels: NDArray[np.uint8] | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[RequestedOutput, ...] = ()

    @property
    def num_images(self) -> int:
        return len(self.images or ()) if self.pixels is None else len(self.pixels)


def parse_infer_request(body: bytes, header_length: str | None, known_outputs: Sequence[str]) -> InferRequest:
    """Parse the body of an infer request. Raises InvalidRequestError."""
    size = _json_size(body, header_length)
    document = _parse_json(body[:size])
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InvalidRequestError("`inputs` must be a list with one input: `image` (BYTES) or `pixels` (UINT8)")
    parameters = _object(document.get("parameters"))
    images, pixels = _parse_input(inputs[0], body[size:])
    outputs = _parse_outputs(document.get("outputs"), parameters, known_outputs)
    request_id = document.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_LENGTH or not request_id.isprintable():
        raise InvalidRequestError(f"invalid id {_short(request_id)}: it must have at most {MAX_ID_LENGTH} characters")
    return InferRequest(request_id, images, pixels, parameters, outputs)


def encode_infer_response(
    head: Mapping[str, Any], outputs: Sequence[tuple[RequestedOutput, Tensor]]
) -> tuple[bytes, int | None]:
    """The body of a response, and the length of its JSON part where binary tensors follow.

    Tensors are float32, or text (object arrays), whose type is BYTES.
    """
    entries, binary = [], []
    for output, tensor in outputs:
        is_text = tensor.dtype == object
        entry: dict[str, Any] = {
            "name": output.name,
            "datatype": "BYTES" if is_text else "FP32",
            "shape": list(tensor.shape),
        }
        if output.binary:
            raw = _encode_text(tensor) if is_text else np.ascontiguousarray(tensor, FP32).tobytes()
            entry["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            entry["data"] = tensor.ravel().tolist()
        entries.append(entry)
    document = json.dumps({**head, "outputs": entries}).encode()
    return document + b"".join(binary), len(document) if binary else None


def _json_size(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    if not header_length.isdecimal() or len(header_length) > 18 or int(header_length) > len(body):
        raise InvalidRequestError(
            f"invalid {LENGTH_HEADER} {header_length[:20]!r}: it must be a number up to {len(body)}"
        )
    return int(header_length)


def _parse_json(text: bytes) -> dict[str, Any]:
    if sum(text.count(mark) for mark in b",[{") > MAX_JSON_VALUES:
        raise InvalidRequestError(f"more than {MAX_JSON_VALUES:,} JSON values: send the tensor as binary data")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidRequestError("the body is not a JSON object")
    return document


def _parse_input(entry: Mapping[str, Any], rest: bytes) -> tuple[list[bytes] | None, NDArray[np.uint8] | None]:
    """The images or the pixels of the only input; `rest`: the bytes after the JSON part."""
    raw, shape = _binary_data(entry, rest), _shape(entry)
    kind = (entry.get("name"), entry.get("datatype"))
    if kind == ("image", "BYTES"):
        images = _decode_base64(entry.get("data")) if raw is None else _split_elements(raw)
        if len(images) != math.prod(shape):
            raise InvalidRequestError(f"expected {math.prod(shape)} images by the shape {shape}, got {len(images)}")
        return images, None
    if kind == ("pixels", "UINT8"):
        return None, _pixels(raw, entry.get("data"), shape)
    raise InvalidRequestError(
        f"unknown input {_short(kind[0])} of type {_short(kind[1])}: send `image` (BYTES) or `pixels` (UINT8)"
    )


def _short(value: Any) -> str:
    """A value in a message: text by its beginning; of anything else, which may be deep and long, only the type."""
    return ascii(value[:40]) if isinstance(value, str) else value.__class__.__name__


def _object(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InvalidRequestError("`parameters` must be an object")
    return value or {}


def _shape(entry: Mapping[str, Any]) -> list[int]:
    shape = entry.get("shape")
    valid = isinstance(shape, list) and all(type(side) is int and 1 <= side <= 1_000_000 for side in shape)
    if not valid or not shape or len(shape) > 8:
        raise InvalidRequestError("`shape` must be a list of positive integers")
    assert isinstance(shape, list)
    return shape


def _binary_data(entry: Mapping[str, Any], rest: bytes) -> bytes | None:
    size = _object(entry.get("parameters")).get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size != len(rest):
        raise InvalidRequestError(
            f"expected binary_data_size {len(rest)}, the bytes after the JSON, got {_short(size)}"
        )
    return rest


def _split_elements(raw: bytes) -> list[bytes]:
    elements, position = [], 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise InvalidRequestError("binary data ends within the length of an element")
        (length,) = struct.unpack_from("<I", raw, position)
        if position + 4 + length > len(raw):
            raise InvalidRequestError(f"binary data ends within an element of {length} bytes")
        elements.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    return elements


def _decode_base64(data: Any) -> list[bytes]:
    try:
        if not isinstance(data, list):
            raise ValueError
        return [base64.b64decode(text, validate=True) for text in data]
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError("`data` must be a list of images as base64 text") from None


def _pixels(raw: bytes | None, data: Any, shape: list[int]) -> NDArray[np.uint8]:
    if len(shape) != 4 or shape[1:] != [IMAGE_SIZE, IMAGE_SIZE, 3]:
        raise InvalidRequestError(f"expected `pixels` of shape [N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3], got {shape}")
    count = math.prod(shape)
    if raw is not None:
        if len(raw) != count:
            raise InvalidRequestError(f"expected {count:,} bytes by the shape, got {len(raw):,}")
        return np.frombuffer(raw, np.uint8).reshape(shape)
    try:
        values = np.array(data)
        if values.dtype.kind != "i" or values.size != count or values.min() < 0 or values.max() > 255:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequestError(f"`data` must be {count:,} integers from 0 to 255") from None
    return values.astype(np.uint8).reshape(shape)


def _parse_outputs(outputs: Any, parameters: Mapping[str, Any], known: Sequence[str]) -> tuple[RequestedOutput, ...]:
    all_binary = bool(parameters.get("binary_data_output"))
    if outputs is None:
        return tuple(RequestedOutput(name, all_binary) for name in known)
    if not isinstance(outputs, list) or not outputs or not all(isinstance(output, dict) for output in outputs):
        raise InvalidRequestError("`outputs` must be a list of objects")
    requested = []
    for output in outputs:
        options, name = _object(output.get("parameters")), output.get("name")
        if name not in known:
            raise InvalidRequestError(f"unknown output {_short(name)}: request {' or '.join(known)}")
        classes = options.get("classification", 0)
        if type(classes) is not int or not 0 <= classes <= MAX_CLASSES or (classes and name != "probabilities"):
            raise InvalidRequestError(
                f"invalid `classification`: it must be a number up to {MAX_CLASSES}, of the output `probabilities`"
            )
        requested.append(RequestedOutput(name, bool(options.get("binary_data", all_binary)), classes))
    return tuple(requested)


def _encode_text(tensor: Tensor) -> bytes:
    texts = [str(element).encode() for element in tensor.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
