"""Image files with more parts than any image needs, found before Pillow opens them.

Pillow walks over a file's parts in Python: 32 MB of empty ones take it half a minute and a gigabyte. This walks in its
steps, but no further than the limits.
"""

from __future__ import annotations

import struct

MAX_CHUNKS = 65_536
"""Of a PNG, or segments of a JPEG before its first scan and bytes between them, or values of a TIFF's tag. A PNG of 64
million pixels has some 30,000, of 8 kB each."""
MAX_BLOCKS = 262_144
"""Of a GIF, of at most 255 bytes each: 64 MB."""
PNG, JPEG, GIF, TIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", (b"GIF87a", b"GIF89a"), (b"II", b"MM")
SCAN, ALONE = 0xDA, {0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
"""Of a JPEG's markers: what ends its head, and those without a length behind them."""
NUMBERS, LAYOUT = {1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16}, 400
"""Of a TIFF: types of values that are read one by one, and below which tags say how pixels lie."""


def exceeds_structure_limits(data: bytes) -> bool:
    """Whether a file has more parts than any image needs. False for damaged files, which their decoders will reject."""
    try:
        if data.startswith(PNG):
            return _png(data)
        if data.startswith(JPEG):
            return _jpeg(data)
        if data.startswith(TIFF):
            return _tiff(data)
        return data.startswith(GIF) and _gif(data)
    except (IndexError, struct.error):
        return False


def _png(data: bytes) -> bool:
    place = len(PNG)
    for _ in range(MAX_CHUNKS):
        if place >= len(data):
            return False
        place += 12 + int.from_bytes(data[place : place + 4], "big")  # length, name and checksum round the content
    return place < len(data)


def _jpeg(data: bytes) -> bool:
    place, steps = len(JPEG), 0
    while steps < MAX_CHUNKS:
        marker = data.find(b"\xff", place)
        if marker < 0:
            return len(data) - place > MAX_CHUNKS
        steps += 1 + marker - place
        place = marker + 1
        if data[place] == SCAN:
            return False
        if data[place] == 0xFF:
            continue
        place += 1 + (0 if data[place] in ALONE else struct.unpack_from(">H", data, place + 1)[0])
    return True


def _gif(data: bytes) -> bool:
    place, blocks = 13 + _palette(data[10]), 0
    while data[place] != 0x3B and blocks <= MAX_BLOCKS:
        blocks += 1
        if data[place] == 0x2C:  # an image: its place, perhaps its colors, and the first code's size
            place += 11 + _palette(data[place + 9])
        elif data[place] == 0x21:
            place += 2
        else:
            place += 1  # no block
            continue
        while data[place] and blocks <= MAX_BLOCKS:
            place += 1 + data[place]
            blocks += 1
        place += 1
    return blocks > MAX_BLOCKS


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: bytes) -> bool:
    order, big = "<" if data.startswith(b"II") else ">", 43 in data[2:4]
    (place,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    (tags,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, place)
    if tags > MAX_CHUNKS:
        return True
    entry, step = (f"{order}HHQ", 20) if big else (f"{order}HHI", 12)
    places = range(place + (8 if big else 2), len(data), step)[:tags]
    found = (struct.unpack_from(entry, data, place) for place in places)
    return any(tag < LAYOUT and kind in NUMBERS and count > MAX_CHUNKS for tag, kind, count in found)
