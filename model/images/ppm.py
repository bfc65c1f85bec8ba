"""PBM, PGM, PPM and PFM files: limits on what Pillow reads byte by byte, and samples whose maximum isn't 255."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image, PpmImagePlugin

from model.exceptions import InvalidImageError
from model.images.limits import ImageLimits, check_size

MAX_HEADER_BYTES = 65_536
"""Pillow reads the header byte by byte, comments too."""
MAX_TEXT_PIXELS = 4_000_000
"""Maximum pixels of an image whose samples are written as text, which is slow to read."""
MAX_COMMENTS = 100
"""Maximum comments in such an image: Pillow copies up to a megabyte for each."""
_TEXT: Final = b"123"
"""Second byte of the formats whose samples are written as text."""


def open_ppm(data: bytes) -> PpmImagePlugin.PpmImageFile:
    """The image, not decoded yet. Raises what Pillow raises."""
    PpmImagePlugin.PpmImageFile(io.BytesIO(data[:MAX_HEADER_BYTES]))  # fails if the header is longer
    return PpmImagePlugin.PpmImageFile(io.BytesIO(data))


def check_text(image: PpmImagePlugin.PpmImageFile, data: bytes, limits: ImageLimits) -> None:
    """Raise ImageTooLargeError or InvalidImageError for samples as text that would take too long to read."""
    if data[1:2] not in _TEXT:
        return
    check_size(*image.size, MAX_TEXT_PIXELS, limits)
    if data.count(b"#") > MAX_COMMENTS:
        raise InvalidImageError("invalid image: it has more parts than any image needs")


def load_pixels(image: PpmImagePlugin.PpmImageFile, data: bytes) -> Image.Image:
    """The decoded image. Raises what Pillow raises, or ValueError for missing samples.

    If the maximum sample isn't 255, Pillow converts one sample after another in Python: a second per million pixels. A
    lookup table of all possible samples gives the same result.
    """
    tile = image.tile[0]
    if tile.codec_name != "ppm":
        image.load()
        return image
    assert isinstance(tile.args, tuple)
    largest = tile.args[-1]
    dtype = np.dtype("u1" if largest < 256 else ">u2")
    white, level = (65_535, np.dtype("i4")) if image.mode == "I" else (255, np.dtype("u1"))
    levels = np.minimum(np.rint(np.arange(1 << 8 * dtype.itemsize) / largest * white), white).astype(level)
    count = image.width * image.height * len(image.getbands())
    samples = np.frombuffer(data, dtype, count, tile.offset)
    return Image.frombytes(image.mode, image.size, levels[samples].tobytes())
