"""Read boxes, the parts of AVIF, HEIC and JPEG XL files (ISO/IEC 14496-12), and the code points of their colors."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

MAX_BOXES = 65_536
"""Maximum boxes that are read per level; a photograph of many tiles has hundreds."""

MAX_ASSOCIATIONS = 4
"""Boxes ipma that are read: a file has at most one of each version and width. More would cost time for nothing."""


class Box(NamedTuple):
    """A part of a file. `start`, `end`: where its content is."""

    kind: bytes
    start: int
    end: int


def iter_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes between `start` and `end`; stop at the first one with an invalid length.

    A box's `end` may lie beyond the data.
    """
    end = len(data) if end is None else min(end, len(data))
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        (length,), kind, header = struct.unpack_from(">I", data, start), data[start + 4 : start + 8], 8
        if length == 1:
            if start + 16 > end:
                return
            (length,), header = struct.unpack_from(">Q", data, start + 8), 16
        elif length == 0:  # to the end
            length = end - start
        if length < header:
            return
        yield Box(kind, start + header, start + length)
        start += length


def read_cicp(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer function (ITU-T H.273) that an AVIF or HEIC file names for its primary image.

    None if the file names no code points, or if the boxes that hold them are damaged: the decoder tells whether the
    image can be read.
    """
    try:
        return _read_cicp(data)
    except (struct.error, IndexError):
        return None


def _read_cicp(data: bytes) -> tuple[int, int] | None:
    meta = _find(data, b"meta", 0, len(data))
    if meta is None:
        return None
    primary = _find(data, b"pitm", meta.start + 4, meta.end)
    properties = _find(data, b"iprp", meta.start + 4, meta.end)
    container = None if properties is None else _find(data, b"ipco", properties.start, properties.end)
    if primary is None or properties is None or container is None:
        return None
    item = struct.unpack_from(">I" if data[primary.start] else ">H", data, primary.start + 4)[0]
    boxes = list(iter_boxes(data, container.start, container.end))
    associations = (box for box in iter_boxes(data, properties.start, properties.end) if box.kind == b"ipma")
    for association in islice(associations, MAX_ASSOCIATIONS):
        for index in _property_indexes(data[association.start : association.end], item):
            box = boxes[index - 1] if 0 < index <= len(boxes) else None
            if box is not None and box.kind == b"colr" and data[box.start : box.start + 4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", data[box.start : box.end], 4)
                return primaries, transfer
    return None


def _find(data: bytes, kind: bytes, start: int, end: int) -> Box | None:
    return next((box for box in iter_boxes(data, start, end) if box.kind == kind), None)


def _property_indexes(association: bytes, item_id: int) -> list[int]:
    """1-based indexes of an item's properties in the list of all properties, from the content of a box ipma."""
    version, is_wide = association[0], association[3] & 1
    (count,), position = struct.unpack_from(">I", association, 4), 8
    item_format, size = ">IB" if version else ">HB", 2 if is_wide else 1
    for _ in range(min(count, MAX_BOXES)):
        item, num_properties = struct.unpack_from(item_format, association, position)
        position += struct.calcsize(item_format)
        if item == item_id:
            raw = struct.unpack_from(f">{num_properties}{'H' if is_wide else 'B'}", association, position)
            return [value & (0x7FFF if is_wide else 0x7F) for value in raw]  # drop the first bit: "essential"
        position += size * num_properties
    return []
