"""The tensors of the Open Inference Protocol v2, as JSON and in Triton's binary form.

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
from model.images.preprocess import SIDE

LENGTH_HEADER = "Inference-Header-Content-Length"
MOST_VALUES = 5_000_000
"""Commas and opening brackets of a JSON part, more than sixteen images as numbers have: each is an object of
Python's, and while they are read nothing else is done."""
FLOATS = {"FP32": np.dtype("<f4")}

Tensor = NDArray[np.generic]


@dataclass(frozen=True)
class OutputWish:
    """An output that the client asks for. `classification`: the k best classes as text instead of numbers."""

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
    outputs: tuple[OutputWish, ...] = ()


def parse(body: bytes, header_length: str | None, known_outputs: Sequence[str]) -> InferRequest:
    """Read the body of an infer call. Raises InvalidRequestError."""
    size = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 18 or int(header_length) > len(body):
            raise InvalidRequestError(
                f"expected a length up to {len(body)} in {LENGTH_HEADER}, found {header_length[:20]!r}"
            )
        size = int(header_length)
    if sum(body.count(mark, 0, size) for mark in b",[{") > MOST_VALUES:
        raise InvalidRequestError(f"expected at most {MOST_VALUES:,} values of JSON, found more: send bytes instead")
    try:
        document = json.loads(body[:size])
    except (ValueError, RecursionError):
        raise InvalidRequestError("expected a JSON object, found something else") from None
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InvalidRequestError("expected one input, `image` (BYTES) or `pixels` (UINT8), found something else")
    entry = inputs[0]
    parameters = _mapping(document.get("parameters"))
    raw = _binary(entry, body[size:])
    shape = _shape(entry)
    images = pixels = None
    if (entry.get("name"), entry.get("datatype")) == ("image", "BYTES"):
        images = _elements(raw) if raw is not None else _from_base64(entry.get("data"))
        if len(images) != math.prod(shape):
            raise InvalidRequestError(f"expected {math.prod(shape)} images by the shape {shape}, found {len(images)}")
    elif (entry.get("name"), entry.get("datatype")) == ("pixels", "UINT8"):
        pixels = _pixels(raw, entry.get("data"), shape)
    else:
        raise InvalidRequestError(
            f"expected the input `image` of type BYTES or `pixels` of type UINT8, "
            f"found {_short(entry.get('name'))} of type {_short(entry.get('datatype'))}"
        )
    wishes = _wishes(document.get("outputs"), parameters, known_outputs)
    name = document.get("id", "")
    if not isinstance(name, str) or len(name) > 200 or not name.isprintable():
        raise InvalidRequestError(f"expected an id of up to 200 characters, found {_short(name)}")
    return InferRequest(name, images, pixels, parameters, wishes)


def _short(value: Any) -> str:
    """What was found, in a message: text by its beginning, and of what may be deep and long only the kind."""
    return ascii(value[:40]) if isinstance(value, str) else value.__class__.__name__


def _mapping(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InvalidRequestError("expected parameters as an object, found something else")
    return value or {}


def _shape(entry: Mapping[str, Any]) -> list[int]:
    shape = entry.get("shape")
    whole = isinstance(shape, list) and all(type(side) is int and 1 <= side <= 1_000_000 for side in shape)
    if not whole or not shape or len(shape) > 8:
        raise InvalidRequestError("expected a shape of whole numbers from 1, found something else")
    assert isinstance(shape, list)
    return shape


def _binary(entry: Mapping[str, Any], rest: bytes) -> bytes | None:
    size = _mapping(entry.get("parameters")).get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size != len(rest):
        raise InvalidRequestError(f"expected binary_data_size of {len(rest)} bytes, as come, found {_short(size)}")
    return rest


def _elements(raw: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise InvalidRequestError("expected four bytes of length before each element, found fewer")
        (length,) = struct.unpack_from("<I", raw, position)
        if position + 4 + length > len(raw):
            raise InvalidRequestError(f"expected an element of {length} bytes, found fewer")
        found.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    return found


def _from_base64(data: Any) -> list[bytes]:
    try:
        if not isinstance(data, list):
            raise ValueError
        return [base64.b64decode(text, validate=True) for text in data]
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequestError("expected a list of images as base64 text, found something else") from None


def _pixels(raw: bytes | None, data: Any, shape: list[int]) -> NDArray[np.uint8]:
    if len(shape) != 4 or shape[1:] != [SIDE, SIDE, 3]:
        raise InvalidRequestError(f"expected images of shape [N, {SIDE}, {SIDE}, 3], found {shape}")
    count = math.prod(shape)
    if raw is not None:
        if len(raw) != count:
            raise InvalidRequestError(f"expected {count:,} bytes by the shape, found {len(raw):,}")
        return np.frombuffer(raw, np.uint8).reshape(shape)
    try:
        values = np.array(data)
        if values.dtype.kind != "i" or values.size != count or values.min() < 0 or values.max() > 255:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequestError(f"expected {count:,} whole numbers from 0 to 255, found something else") from None
    return values.astype(np.uint8).reshape(shape)


def _wishes(outputs: Any, parameters: Mapping[str, Any], known: Sequence[str]) -> tuple[OutputWish, ...]:
    everything_binary = bool(parameters.get("binary_data_output"))
    if outputs is None:
        return tuple(OutputWish(name, everything_binary) for name in known)
    if not isinstance(outputs, list) or not outputs or not all(isinstance(output, dict) for output in outputs):
        raise InvalidRequestError("expected outputs as a list of objects, found something else")
    wishes = []
    for output in outputs:
        chosen, name = _mapping(output.get("parameters")), output.get("name")
        if name not in known:
            raise InvalidRequestError(f"expected an output of {', '.join(known)}, found {_short(name)}")
        best = chosen.get("classification", 0)
        if type(best) is not int or not 0 <= best <= 1000 or (best and name != "probabilities"):
            raise InvalidRequestError("expected classification of `probabilities`, up to 1000, found something else")
        wishes.append(OutputWish(name, bool(chosen.get("binary_data", everything_binary)), best))
    return tuple(wishes)


def answer(head: Mapping[str, Any], outputs: Sequence[tuple[OutputWish, Tensor]]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON part where binary tensors follow.

    Tensors are float32, or text (as object arrays), in which case their type is BYTES.
    """
    entries, binary = [], []
    for wish, tensor in outputs:
        text = tensor.dtype == object
        entry: dict[str, Any] = {
            "name": wish.name,
            "datatype": "BYTES" if text else "FP32",
            "shape": list(tensor.shape),
        }
        if wish.binary:
            raw = _encoded(tensor) if text else np.ascontiguousarray(tensor, FLOATS["FP32"]).tobytes()
            entry["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            entry["data"] = tensor.ravel().tolist()
        entries.append(entry)
    document = json.dumps({**head, "outputs": entries}).encode()
    return document + b"".join(binary), len(document) if binary else None


def _encoded(tensor: Tensor) -> bytes:
    texts = [str(element).encode() for element in tensor.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
