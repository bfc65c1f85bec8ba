"""Tensors of the Open Inference Protocol, as JSON and in Triton's binary form.

In binary form, a tensor is its elements one after another, little-endian; a BYTES element is its length in four bytes,
then its content. In JSON, a BYTES element of an input is base64 text.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.exceptions import InvalidRequestError
from model.images.contract import IMAGE_SIZE

FP32 = np.dtype("<f4")

Tensor = NDArray[np.generic]


def split_elements(raw: bytes, count: int) -> list[bytes]:
    """The elements of a binary tensor of type BYTES. Raises InvalidRequestError unless there are `count`."""
    elements: list[bytes] = []
    position = 0
    while position < len(raw):
        if len(elements) == count:
            raise _number_error(count, f"{count} and {len(raw) - position:,} more bytes")
        if position + 4 > len(raw):
            raise InvalidRequestError("binary data ends within the length of an element")
        (length,) = struct.unpack_from("<I", raw, position)
        if position + 4 + length > len(raw):
            raise InvalidRequestError(f"binary data ends within an element of {length} bytes")
        elements.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    if len(elements) != count:
        raise _number_error(count, str(len(elements)))
    return elements


def _number_error(expected: int, sent: str) -> InvalidRequestError:
    return InvalidRequestError(f"expected {expected} images (from the shape), got {sent}")


def join_elements(elements: Iterable[bytes]) -> bytes:
    """The binary tensor of type BYTES with these elements."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def encode_tensor(tensor: Tensor) -> bytes:
    """The binary form of numbers, as float32, or of text (an object array)."""
    if tensor.dtype == object:
        return join_elements(str(element).encode() for element in tensor.ravel())
    return np.ascontiguousarray(tensor, FP32).tobytes()


def decode_base64(data: Any, count: int) -> list[bytes]:
    """The elements of a JSON tensor of type BYTES. Raises InvalidRequestError unless there are `count`."""
    if isinstance(data, list) and len(data) != count:
        raise _number_error(count, str(len(data)))
    try:
        if not isinstance(data, list):
            raise ValueError
        return [base64.b64decode(text, validate=True) for text in data]
    except (ValueError, TypeError):
        raise InvalidRequestError("`data` must be a list of images as base64 text") from None


def decode_pixels(raw: bytes | None, data: Any, shape: Sequence[int]) -> NDArray[np.uint8]:
    """The (N, 256, 256, 3) pixels of a binary tensor or, if `raw` is None, of JSON. Raises InvalidRequestError."""
    if len(shape) != 4 or list(shape[1:]) != [IMAGE_SIZE, IMAGE_SIZE, 3]:
        raise InvalidRequestError(f"expected `pixels` of shape [N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3], got {list(shape)}")
    count = math.prod(shape)
    if raw is not None:
        if len(raw) != count:
            raise InvalidRequestError(f"expected {count:,} bytes (from the shape), got {len(raw):,}")
        return np.frombuffer(raw, np.uint8).reshape(shape)
    values = _flatten(data, len(shape))
    try:
        if len(values) != count or set(map(type, values)) != {int}:
            raise ValueError
        raw = bytes(values)
    except (ValueError, OverflowError):
        raise InvalidRequestError(f"`data` must be {count:,} integers from 0 to 255") from None
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _flatten(data: Any, depth: int) -> list[Any]:
    """The elements of a list that may be nested up to `depth` levels, with lists of equal length on each level.

    Anything else is a single element. NumPy could flatten lists too, but if they contain any text, it makes an array
    of text, in which each element takes as much memory as the longest.
    """
    values = [data]
    for _ in range(depth):
        if set(map(type, values)) != {list} or len(set(map(len, values))) > 1:
            break
        values = list(chain.from_iterable(values))
    return values
