"""Image files of every kind, written from known pixels without the library that reads them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Levels = NDArray[Any]
SIDE = 256
"""Images of this side aren't resized, so that pixels can be compared one by one."""

_y, _x = np.mgrid[:SIDE, :SIDE]
GRAY: NDArray[np.uint8] = ((_x + _y) // 2).astype(np.uint8)
COLORS: NDArray[np.uint8] = np.stack([_x, _y, 255 - _x], -1).astype(np.uint8)
ALPHA: NDArray[np.uint8] = np.where((_x // 32 + _y // 32) % 2 == 0, 255, _x).astype(np.uint8)

_INTERLACED = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, then column and row step, of PNG's seven passes."""


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def rgb(levels: Levels) -> NDArray[np.int64]:
    """Gray or RGB levels as (H, W, 3)."""
    return (np.repeat(levels[..., None], 3, 2) if levels.ndim == 2 else levels).astype(np.int64)


def on_white(levels: Levels, alpha: Levels) -> NDArray[np.int64]:
    """Levels composited on white."""
    share = alpha[..., None] / 255
    return np.rint(rgb(levels) * share + 255 * (1 - share)).astype(np.int64)


def widen(levels: Levels, dtype: str) -> Levels:
    """Scale levels from 0 to 255 to the whole range of an integer type, or to 0 to 1 for floating-point types."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (levels / 255).astype(kind)
    largest = 2 ** (8 * kind.itemsize) - 1
    wide = levels.astype(np.int64) * (largest // 255)
    shifted: Levels = wide - (largest + 1) // 2 if kind.kind == "i" else wide
    return shifted.astype(kind)


def tiff(samples: Levels, **options: Any) -> bytes:
    """The file that tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, **options)
    return file.getvalue()


def png_chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    levels: Levels, color_type: int, depth: int, chunks: Iterable[tuple[bytes, bytes]] = (), interlaced: bool = False
) -> bytes:
    """A PNG of (H, W, samples) levels of `depth` bits."""
    height, width, _ = levels.shape
    passes = _INTERLACED if interlaced else ((0, 0, 1, 1),)
    parts = (pack_bits(levels[top::down, left::right], depth) for left, top, right, down in passes)
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    written = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in written)


def pack_bits(levels: Levels, depth: int) -> NDArray[np.uint8]:
    """(H, W, samples) levels as rows of bytes, the first sample in the highest bits."""
    flat = levels.reshape(len(levels), -1)
    if depth == 16:
        return flat.astype(">u2").view(np.uint8).reshape(len(levels), -1)
    bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(len(levels), -1), axis=1)


def bmp(
    pixels: Levels,
    bits: int,
    *,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    header: int = 40,
    top_down: bool = False,
) -> bytes:
    """A BMP of (H, W) indexes or packed colors, or (H, W, 3) RGB. `header`: its size, 12 (OS/2) to 124 (version 5)."""
    height, width = pixels.shape[:2]
    rows = pixels if top_down else pixels[::-1]
    if bits <= 8:
        packed = pack_bits(rows[..., None].astype(np.int64), bits)
    elif bits == 24:
        packed = rows[..., ::-1].astype(np.uint8).reshape(height, -1)
    else:
        packed = rows.astype(f"<u{bits // 8}").view(np.uint8).reshape(height, -1)
    data = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 4))).tobytes()
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = -height if top_down else height
        head = struct.pack("<IiiHHIIiiII", header, width, signed, 1, bits, 3 if masks else 0, len(data), 0, 0, 0, 0)
        colors = b"".join(struct.pack("<I", mask) for mask in masks)
        head += colors.ljust(header - 40, b"\0") if header > 40 else colors
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + palette + data
