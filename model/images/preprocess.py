"""Images as networks see them: bytes -> upright sRGB, 256 x 256 x 3 uint8 (section 2), by one contract everywhere.

`decode_image`, in this order: identifies the format by the first bytes; checks limits on what the file states, before
decoding; takes the first frame, or one page of a TIFF; decodes a JPEG at a reduced scale of at least 512 pixels per
side; scales samples of more than 8 bits; resizes the shorter side to 256, and crops the center 256 x 256 at whole
pixels; converts colors to sRGB and composites them on white; applies the EXIF orientation. If a network requires less
detail, the center is first reduced to that detail, then enlarged.
"""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from PIL import Image

from model.exceptions import ImageTooLargeError, InvalidImageError
from model.images.color import to_srgb
from model.images.contract import DEFAULT_CONTRACT, IMAGE_SIZE, ImageContract
from model.images.exif import REVERSED_COLUMNS, REVERSED_ROWS, UPRIGHT
from model.images.info import DecodedImage, ImageInfo, WarningList
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.images.opening import OpenedImage, open_image
from model.images.raster import Box, Raster, reduce_raster

AcquireMemory = Callable[[int], AbstractContextManager[None]]

_PILLOW = r"PIL\."
"""Modules whose Python warnings are about metadata that isn't read here."""


def decode_image(
    data: bytes,
    limits: ImageLimits = DEFAULT_LIMITS,
    contract: ImageContract = DEFAULT_CONTRACT,
    acquire_memory: AcquireMemory = lambda num_bytes: nullcontext(),
) -> DecodedImage:
    """Decode one image.

    `acquire_memory`: called before decoding with the number of bytes that the pixels take; its context lasts as long as
    they are in memory, and entering it may block. Raises UnsupportedImageError, ImageTooLargeError or
    InvalidImageError; never anything else, whatever the bytes are.
    """
    _ignore_pillow_warnings()
    try:
        warnings = WarningList()
        opened = open_image(data, limits, warnings)
        with acquire_memory(opened.memory):
            return _decode(opened, contract, warnings)
    except InvalidImageError:
        raise
    except (MemoryError, Image.DecompressionBombError):
        raise ImageTooLargeError("image too large: it doesn't fit into memory") from None
    except Exception as error:  # decoders raise ValueError, IndexError, SyntaxError, struct.error, OverflowError ...
        raise InvalidImageError(
            f"damaged or incomplete image: {len(data):,} bytes can't be decoded ({type(error).__name__})"
        ) from error


def _decode(opened: OpenedImage, contract: ImageContract, warnings: WarningList) -> DecodedImage:
    raster = opened.load()
    profile = opened.color_profile if contract.color_profiles else b""
    if opened.color_profile and not profile:
        warnings.add("color_profile_ignored", "its color profile was ignored, as this network requires")
    shorter, longer = sorted((raster.width, raster.height))
    if longer > 2 * shorter:
        share = f"{100 * shorter / longer:.0f}" if 100 * shorter >= longer else "less than 1"
        warnings.add("narrow", f"only the middle {share} % of its longer side was used")
    box = _center(raster, opened.orientation)

    def reduce_center(side: int) -> Image.Image:
        colored = to_srgb(reduce_raster(raster, box, side), profile, opened.is_inverted, warnings)
        return colored.transpose(UPRIGHT[opened.orientation]) if opened.orientation in UPRIGHT else colored

    preview = pixels = np.asarray(reduce_center(IMAGE_SIZE), dtype=np.uint8)
    if contract.detail is not None and contract.detail < shorter:
        size = (IMAGE_SIZE, IMAGE_SIZE)
        pixels = np.asarray(reduce_center(contract.detail).resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
    info = ImageInfo(
        format=opened.format,
        width=opened.width,
        height=opened.height,
        mode=opened.mode,
        orientation=opened.orientation,
        frames_ignored=opened.frames_ignored,
        warnings=tuple(warnings),
    )
    return DecodedImage(pixels, preview, info)


def _center(raster: Raster, orientation: int) -> Box:
    """The box, in the raster's own pixels, of the center 256 x 256 after its shorter side is resized to 256."""
    shorter = min(raster.width, raster.height)
    left, right = _center_span(raster.width, shorter, orientation in REVERSED_COLUMNS)
    top, bottom = _center_span(raster.height, shorter, orientation in REVERSED_ROWS)
    return left, top, right, bottom


def _center_span(length: int, shorter: int, is_reversed: bool) -> tuple[float, float]:
    """Where the center 256 pixels of a resized side begin and end, in pixels of the original side of `length`.

    The cut is between whole pixels of the resized image, as after torchvision's Resize; if an odd number of pixels is
    cut off, the extra one is at the end of the upright image.
    """
    resized = IMAGE_SIZE * length // shorter
    excess = resized - IMAGE_SIZE
    start = excess - excess // 2 if is_reversed else excess // 2
    return start * length / resized, (start + IMAGE_SIZE) * length / resized


def _ignore_pillow_warnings() -> None:
    """Keep Pillow's warnings, which are about metadata, off standard error. Python has no filter per thread."""
    first = python_warnings.filters[0] if python_warnings.filters else None
    if first is None or getattr(first[3], "pattern", None) != _PILLOW:
        python_warnings.filterwarnings("ignore", module=_PILLOW)
