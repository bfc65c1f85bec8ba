"""Bounded reading of image files: a file is judged by its first bytes, and never read beyond a limit."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import cache
from typing import BinaryIO

from PIL import Image

from model.datasets.listing import SkipReason
from model.exceptions import ImageTooLargeError, InvalidImageError, UnsupportedImageError
from model.images.preprocess import FORMATS

FIRST_BYTES = 64
MAX_FILE_BYTES = 512_000_000
"""64 million pixels of four 16-bit samples."""
IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".heic",
    ".heif", ".jxl", ".jp2", ".ppm", ".pgm", ".pnm", ".pbm",
}  # fmt: skip


def read_image_file(path: str | os.PathLike[str], max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file that begins as an image of a supported format does.

    Pipes, sockets and devices are never read, and opening one doesn't wait. Raises UnsupportedImageError,
    ImageTooLargeError, OSError.
    """
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not begins_as_image(os.pread(file.fileno(), FIRST_BYTES, 0)):
            shown = f"{size:,} bytes" if size else "empty"
            raise UnsupportedImageError(f"not an image in a supported format ({', '.join(FORMATS)}): {shown}")
        if size > max_bytes:
            raise ImageTooLargeError(f"file too large: {size:,} bytes; at most {max_bytes:,} are read")
        return file.read(size)


def begins_as_image(first: bytes) -> bool:
    """Whether a file with these first bytes may be an image in one of `FORMATS`."""
    return any(accept(first) for accept in _signatures())


def has_image_suffix(path: str) -> bool:
    """Whether a file is named like an image."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def begins_as_image_file(path: str) -> bool:
    """Whether a file begins as an image does. One that can't be read doesn't."""
    try:
        with _open_regular(path) as file:
            return begins_as_image(os.pread(file.fileno(), FIRST_BYTES, 0))
    except (OSError, UnsupportedImageError):
        return False


def skip_reason(error: InvalidImageError | OSError) -> SkipReason:
    """Under which reason a file is counted that couldn't be read or decoded."""
    if isinstance(error, OSError):
        return "unreadable files"
    if isinstance(error, ImageTooLargeError):
        return "images too large"
    return "not images" if isinstance(error, UnsupportedImageError) else "damaged images"


def _open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file. Opening a pipe would wait, and opening a device may do something."""
    _check_regular(os.stat(path))  # noqa: PTH116
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor))  # it may have been replaced in between
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsupportedImageError("not a regular file")


@cache
def _signatures() -> tuple[Callable[[bytes], bool | str], ...]:
    """Pillow's tests of a file's first bytes, as `Image.open` makes them."""
    Image.init()
    return tuple(accept for name in FORMATS if (accept := Image.OPEN[name][1]) is not None)
