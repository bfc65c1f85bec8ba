"""GIF files: a limit on their parts, and where the first frame is on the screen."""

from __future__ import annotations

from PIL import GifImagePlugin

from model.exceptions import InvalidImageError

MAX_BLOCKS = 262_144
"""Maximum blocks, of at most 255 bytes each: 64 MB. Pillow walks over them in Python."""
_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B


def check_structure(data: bytes) -> None:
    """Raise InvalidImageError for more parts than any image needs; damage is left for the decoder to find."""
    try:
        blocks = _count_blocks(data)
    except IndexError:
        return
    if blocks > MAX_BLOCKS:
        raise InvalidImageError("invalid image: it has more parts than any image needs")


def first_frame_box(image: GifImagePlugin.GifImageFile) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the first frame; nothing is drawn outside of it. Call it before `load`."""
    box = image.tile[0].extents if image.tile else None
    return box or (0, 0, image.width, image.height)


def _count_blocks(data: bytes) -> int:
    position, blocks = 13 + _palette_bytes(data[10]), 0
    while data[position] != _END and blocks <= MAX_BLOCKS:
        blocks += 1
        if data[position] == _IMAGE:  # its position, perhaps its colors, and the size of the first code
            position += 11 + _palette_bytes(data[position + 9])
        elif data[position] == _EXTENSION:
            position += 2
        else:
            position += 1  # not a block
            continue
        while data[position] and blocks <= MAX_BLOCKS:
            position += 1 + data[position]
            blocks += 1
        position += 1
    return blocks


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
