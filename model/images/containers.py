"""Structure limits: image files with more parts than any image needs are rejected before Pillow opens them.

Pillow walks over a file's parts in Python: 32 MB of empty ones take it half a minute and a gigabyte. This module walks
in the same steps, but no further than the limits.
"""

from __future__ import annotations

import struct

MAX_CHUNKS = 65_536
"""Chunks of a PNG; steps through a JPEG before its first scan (segments, and bytes between them); values of a TIFF tag.

A PNG of 64 million pixels has some 30,000 chunks of 8 kB.
"""
MAX_BLOCKS = 262_144
"""Blocks of a GIF, of at most 255 bytes each: 64 MB."""

PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
GIF_SIGNATURES, TIFF_SIGNATURES = (b"GIF87a", b"GIF89a"), (b"II", b"MM")

JPEG_SCAN = 0xDA
"""The marker that ends the segments before the pixels."""
JPEG_MARKERS_WITHOUT_LENGTH = {0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
GIF_IMAGE, GIF_EXTENSION, GIF_END = 0x2C, 0x21, 0x3B
TIFF_NUMERIC_TYPES = {1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16}
"""Types of values that Pillow reads one by one."""
TIFF_LAYOUT_TAGS = 400
"""Tags below this number describe the layout of the pixels."""


def exceeds_structure_limits(data: bytes) -> bool:
    """Whether a file has more parts than any image needs. False for damaged files, which their decoders reject."""
    try:
        if data.startswith(PNG_SIGNATURE):
            return _png_exceeds(data)
        if data.startswith(JPEG_SIGNATURE):
            return _jpeg_exceeds(data)
        if data.startswith(TIFF_SIGNATURES):
            return _tiff_exceeds(data)
        return data.startswith(GIF_SIGNATURES) and _gif_exceeds(data)
    except (IndexError, struct.error):
        return False


def _png_exceeds(data: bytes) -> bool:
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return False
        position += 12 + int.from_bytes(data[position : position + 4], "big")  # length, name, content and checksum
    return position < len(data)


def _jpeg_exceeds(data: bytes) -> bool:
    position, steps = len(JPEG_SIGNATURE), 0
    while steps < MAX_CHUNKS:
        start = data.find(b"\xff", position)
        if start < 0:
            return len(data) - position > MAX_CHUNKS
        steps += 1 + start - position
        position = start + 1
        marker = data[position]
        if marker == JPEG_SCAN:
            return False
        if marker == 0xFF:
            continue
        has_length = marker not in JPEG_MARKERS_WITHOUT_LENGTH
        position += 1 + (struct.unpack_from(">H", data, position + 1)[0] if has_length else 0)
    return True


def _gif_exceeds(data: bytes) -> bool:
    position, blocks = 13 + _palette_bytes(data[10]), 0
    while data[position] != GIF_END and blocks <= MAX_BLOCKS:
        blocks += 1
        if data[position] == GIF_IMAGE:  # its position, perhaps its colors, and the size of the first code
            position += 11 + _palette_bytes(data[position + 9])
        elif data[position] == GIF_EXTENSION:
            position += 2
        else:
            position += 1  # no block
            continue
        while data[position] and blocks <= MAX_BLOCKS:
            position += 1 + data[position]
            blocks += 1
        position += 1
    return blocks > MAX_BLOCKS


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff_exceeds(data: bytes) -> bool:
    order, is_big = "<" if data.startswith(b"II") else ">", 43 in data[2:4]
    (directory,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, 8 if is_big else 4)
    (num_tags,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, directory)
    if num_tags > MAX_CHUNKS:
        return True
    entry, entry_bytes = (f"{order}HHQ", 20) if is_big else (f"{order}HHI", 12)
    positions = range(directory + (8 if is_big else 2), len(data), entry_bytes)[:num_tags]
    entries = (struct.unpack_from(entry, data, position) for position in positions)
    return any(
        tag < TIFF_LAYOUT_TAGS and kind in TIFF_NUMERIC_TYPES and count > MAX_CHUNKS for tag, kind, count in entries
    )
