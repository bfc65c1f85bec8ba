"""Read and write fields in the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding).

With this module, serving doesn't need the onnx package, and a memory-mapped file isn't copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message. `value`: the slice of its bytes, or its integer. `span`: the slice of the whole field."""

    number: int
    value: slice | int
    span: slice


def read_fields(content: mmap.mmap, message: slice) -> Iterator[Field]:
    """Yield the fields of a message in the file `content`. Raises ValueError, IndexError."""
    position, end = message.start, message.stop
    while position < end:
        start = position
        tag, position = _read_varint(content, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _read_varint(content, position)
            yield Field(tag >> 3, value, slice(start, position))
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size, position = _read_varint(content, position)
        elif not size:
            raise ValueError("unknown kind of field")
        if position + size > end:
            raise ValueError("field longer than its message")
        yield Field(tag >> 3, slice(position, position + size), slice(start, position + size))
        position += size


def _read_varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("integer of more than 64 bits")


def bytes_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes, text, or a message."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def varint_field(number: int, value: int) -> bytes:
    """A field that holds a nonnegative integer."""
    return varint(number << 3 | _VARINT) + varint(value)


def varint(value: int) -> bytes:
    """A nonnegative integer, in groups of seven bits."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
