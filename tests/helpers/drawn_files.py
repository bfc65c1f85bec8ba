"""Small image files that look different, and copies of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Files = dict[str, bytes]
"""Path below a folder -> the file."""


def make_image(number: int, quality: int | None = None) -> bytes:
    """A different image for each number, smooth with some noise: a PNG, or with a `quality` a JPEG."""
    generator = np.random.default_rng(number)
    coarse = Image.fromarray(generator.integers(0, 256, (7, 7, 3), np.uint8))
    smooth = np.asarray(coarse.resize((112, 96), Image.Resampling.BICUBIC))
    return encode((0.9 * smooth + generator.integers(0, 25, smooth.shape)).astype(np.uint8), quality)


def encode(pixels: NDArray[np.uint8], quality: int | None = None, level: int = 6) -> bytes:
    """A PNG file compressed at `level`, or with a `quality` a JPEG file."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if quality is None:
        image.save(buffer, "PNG", compress_level=level)
    else:
        image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def pack_otherwise(png: bytes) -> bytes:
    """A PNG file with other bytes and the same pixels."""
    with Image.open(io.BytesIO(png)) as image:
        return encode(np.asarray(image), level=1)


def write_files(root: Path, files: Files) -> Path:
    """Write files below a folder. Returns the folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root
