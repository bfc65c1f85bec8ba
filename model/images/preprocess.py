"""The image contract: bytes -> upright RGB, 256 x 256 x 3 uint8 (section 2), in training, indexing and serving.

`decode_image`, in this order: a list of allowed formats; limits on what the header says, before decoding; the first
frame; JPEG decoded at a reduced scale of at least 512 pixels per side; 16-bit samples scaled, not clipped; the shorter
side resized to 256, and the center 256 x 256 cut out between whole pixels; transparency composited on white; CMYK,
palette and gray converted to RGB; EXIF orientation applied.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from model.exceptions import ImageTooLargeError, InvalidImageError, UnsupportedImageError
from model.images.containers import exceeds_structure_limits

IMAGE_SIZE = 256
IMAGE_CONTRACT = "rgb-256-center-bilinear-2"
"""Changes whenever the same bytes would give other pixels; kept in caches, artifacts and indexes."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_EXIF_BYTES = 1_000_000
BAND_ROWS = 256
"""Rows of 16-bit images that are converted at once."""
_ORIENTATION_TAG = 0x0112
_JPEG_SCAN = b"\xff\xda"  # doesn't occur in compressed data, where every ff is followed by 00
_REVERSED_COLUMNS, _REVERSED_ROWS = (2, 3, 7, 8), (3, 4, 6, 7)
"""EXIF orientations in which the columns, or the rows, of the file are in reverse order in the upright image."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageLimits:
    """Limits that are checked before any pixel is decoded."""

    max_pixels: int = 64_000_000
    max_side: int = 30_000
    max_scanned_pixels: int = 1_000_000_000
    """Pixels times scans of a progressive JPEG: decoding a scan of a few bytes takes as long as the whole image."""


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` (256, 256, 3) uint8 RGB, and what the file was."""

    pixels: NDArray[np.uint8]
    format: str
    width: int
    height: int
    mode: str
    orientation: int
    frames_ignored: bool


def decode_image(
    data: bytes,
    limits: ImageLimits | None = None,
    acquire_pixels: Callable[[int], AbstractContextManager[None]] = lambda pixels: nullcontext(),
) -> DecodedImage:
    """Decode one image.

    `acquire_pixels`: called with the number of pixels before they are decoded; its context lasts as long as they are in
    memory, and entering it may block. Raises UnsupportedImageError, ImageTooLargeError or InvalidImageError; never
    anything else.
    """
    limits = limits or ImageLimits()
    if exceeds_structure_limits(data):
        raise InvalidImageError("invalid image: it has more parts than any image needs")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            num_pixels = _count_decoded_pixels(image)
            _check_limits(image, num_pixels, data.count(_JPEG_SCAN), limits)
            with acquire_pixels(num_pixels):
                return _decode(image)
    except InvalidImageError:
        raise
    except UnidentifiedImageError:
        raise UnsupportedImageError(
            f"not an image in a supported format ({', '.join(FORMATS)}): {_describe(data)}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLargeError(f"image too large: at most {limits.max_pixels:,} pixels are allowed") from None
    except MemoryError:
        raise ImageTooLargeError("image too large: it doesn't fit into memory") from None
    except (
        Exception
    ) as error:  # Pillow's decoders raise ValueError, IndexError, TypeError, SyntaxError, struct.error ...
        raise InvalidImageError(
            f"damaged or incomplete image: {_describe(data)} can't be decoded ({type(error).__name__})"
        ) from error


def decode_file(path: Path) -> DecodedImage:
    """Decode an image file; errors name it."""
    try:
        return decode_image(path.read_bytes())
    except InvalidImageError as error:
        raise type(error)(f"{error}: {path}") from error


def _describe(data: bytes) -> str:
    return f"{len(data):,} bytes" if data else "empty"


def _check_limits(image: Image.Image, num_pixels: int, scans: int, limits: ImageLimits) -> None:
    width, height = image.size
    if min(width, height) < 1:
        raise InvalidImageError(f"invalid image: it has {width} x {height} pixels")
    if num_pixels > limits.max_pixels or max(width, height) > limits.max_side:
        raise ImageTooLargeError(
            f"image too large: {width:,} x {height:,} pixels"
            + (" in larger tiles" if num_pixels > width * height else "")
            + f"; at most {limits.max_pixels:,} pixels and {limits.max_side:,} per side are allowed"
        )
    if len(image.info.get("exif", b"")) > MAX_EXIF_BYTES:
        raise ImageTooLargeError(f"too much EXIF data: at most {MAX_EXIF_BYTES:,} bytes are allowed")
    if image.format in ("JPEG", "MPO") and scans * width * height > max(limits.max_scanned_pixels, limits.max_pixels):
        raise ImageTooLargeError(
            f"JPEG with too many scans ({scans:,}): all of them may have {limits.max_scanned_pixels:,} pixels"
        )


def _count_decoded_pixels(image: Image.Image) -> int:
    """Number of pixels in memory: the tiles of a TIFF are decoded whole, and may be larger than the image."""
    width, height = image.size
    if isinstance(image, TiffImageFile) and TILEWIDTH in image.tag_v2:
        across, down = (max(1, int(image.tag_v2[tag])) for tag in (TILEWIDTH, TILELENGTH))
        width, height = across * math.ceil(width / across), down * math.ceil(height / down)
    return width * height


def _decode(image: Image.Image) -> DecodedImage:
    width, height = image.size
    mode, frames = image.mode, bool(getattr(image, "is_animated", False))
    tag = image.getexif().get(_ORIENTATION_TAG)
    orientation = tag if isinstance(tag, int) else 1
    image.draft("RGB", (2 * IMAGE_SIZE, 2 * IMAGE_SIZE))  # JPEG only: 1/2, 1/4 or 1/8 scale
    to_turn = orientation if image.format != "TIFF" else 1  # Pillow turns TIFF upright by itself
    square = _rgb(_center_crop(image, to_turn in _REVERSED_COLUMNS, to_turn in _REVERSED_ROWS))
    if to_turn in _UPRIGHT:
        square = square.transpose(_UPRIGHT[to_turn])
    return DecodedImage(
        pixels=np.asarray(square, dtype=np.uint8),
        format="JPEG" if image.format == "MPO" else str(image.format),
        width=width,
        height=height,
        mode=mode,
        orientation=orientation if orientation in _UPRIGHT else 1,
        frames_ignored=frames,
    )


def _center_crop(image: Image.Image, columns_reversed: bool, rows_reversed: bool) -> Image.Image:
    """The center 256 x 256 of the image with its shorter side resized to 256, bilinear with antialiasing.

    Only the center is computed, and colors are converted after it, to save memory.
    """
    image.load()
    if image.mode in ("P", "1", "PA") or "transparency" in image.info:
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    elif image.mode.startswith("I"):
        image = _eight_bits(image)
    width, height = image.size
    shorter = min(width, height)
    left, right = _center_span(width, shorter, columns_reversed)
    top, bottom = _center_span(height, shorter, rows_reversed)
    # transparent pixels don't bleed their hidden color: Pillow resizes RGBA and LA with premultiplied alpha
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def _center_span(length: int, shorter: int, is_reversed: bool) -> tuple[float, float]:
    """Where the center 256 pixels of a resized side begin and end in the side of `length` pixels.

    The cut is between whole pixels of the resized image, as after torchvision's Resize; if the number of pixels that
    are cut off is odd, the extra one is at the end of the upright image.
    """
    resized = IMAGE_SIZE * length // shorter
    excess = resized - IMAGE_SIZE
    start = excess - excess // 2 if is_reversed else excess // 2
    return start * length / resized, (start + IMAGE_SIZE) * length / resized


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit gray -> L, scaled: convert("RGB") would clip it to white."""
    minimum, maximum = np.ravel(image.getextrema())
    bytes_already = image.mode == "I" and minimum >= 0 and maximum <= 255
    scaled = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, BAND_ROWS):  # to save memory: samples are up to four times as large
        band = np.asarray(image.crop((0, top, image.width, min(image.height, top + BAND_ROWS))))
        scaled[top : top + BAND_ROWS] = band if bytes_already else band.clip(0, 65535) // 257
    return Image.fromarray(scaled)


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB, composited on white where it is transparent."""
    if image.mode == "F":
        raise InvalidImageError("unsupported pixels: floating-point images can't be read; convert them to 8 or 16 bits")
    if "A" in image.mode or "a" in image.mode:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
