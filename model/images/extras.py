"""HEIC and JPEG XL: formats that Pillow doesn't know, read by packages of the extras `heic` and `jxl`."""

from __future__ import annotations

import io

from PIL import ImageFile

from model.exceptions import InvalidImageError, MissingExtraError
from model.images.boxes import iter_boxes
from model.images.formats import EXTRA_FORMATS
from model.images.limits import ImageLimits, check_memory, check_size
from model.requirements import install_extra

JXL_BYTES_PER_PIXEL = 16
_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Ratios of width to height, by the value of three bits in a JPEG XL header."""
_SIDE_BITS = (9, 13, 18, 30)


def open_heic(data: bytes) -> ImageFile.ImageFile:
    """A HEIC image, not decoded. Raises MissingExtraError, and what pillow-heif raises."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise _missing("HEIC") from None
    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call, unused-ignore]
    return image


def open_jxl(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    """A JPEG XL image. Opening it decodes it, so limits are checked here.

    Raises MissingExtraError, InvalidImageError or ImageTooLargeError.
    """
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError:
        raise _missing("JPEG XL") from None
    width, height = read_jxl_size(data)
    check_size(width, height, limits.max_pixels, limits)
    check_memory("a JPEG XL image", width, height, JXL_BYTES_PER_PIXEL * width * height, limits)
    try:
        image: ImageFile.ImageFile = JXLImageFile(io.BytesIO(data))
    except BaseException as error:  # a Rust panic isn't an Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InvalidImageError("damaged or incomplete image: this JPEG XL can't be decoded") from error
        raise
    return image


def read_jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height that a JPEG XL file states. Raises InvalidImageError."""
    bits = int.from_bytes(_codestream(data)[2:18].ljust(16, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    is_small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if is_small else take(_SIDE_BITS[take(2)]) + 1

    height = side()
    ratio = _RATIOS[take(3)]
    return (side() if ratio is None else height * ratio[0] // ratio[1]), height


def _codestream(data: bytes) -> bytes:
    """The beginning of the image data, which may be in a box."""
    if data.startswith(b"\xff\x0a"):
        return data[:18]
    for box in iter_boxes(data):
        start = box.start + (4 if box.kind == b"jxlp" else 0)
        if box.kind in (b"jxlc", b"jxlp") and data[start : start + 2] == b"\xff\x0a":
            return data[start : start + 18]
    raise InvalidImageError("damaged or incomplete image: this JPEG XL has no pixels")


def _missing(name: str) -> MissingExtraError:
    extra = EXTRA_FORMATS[name]
    return MissingExtraError(
        f"it is a {name} image, which needs the extra `{extra}`: {install_extra(extra)}, or convert it to JPEG"
    )
