"""Bounded reading of image files: a file is judged by its first bytes, and never read beyond a limit."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from model.datasets.listing import Skipped, SkipReason
from model.exceptions import ImageTooLargeError, InvalidImageError, MissingExtraError, UnsupportedImageError
from model.images.formats import HEAD_BYTES, SUFFIXES, identify_format
from model.images.limits import DEFAULT_LIMITS


def is_url(name: str) -> bool:
    """Whether a web address is given instead of a file; web addresses are never read."""
    return name.startswith(("http://", "https://"))


def read_image_file(path: str | os.PathLike[str], max_bytes: int = DEFAULT_LIMITS.max_file_bytes) -> bytes:
    """The bytes of a file that begins like an image in a supported format.

    Pipes, sockets and devices are never read, and opening one doesn't wait. Raises UnsupportedImageError,
    ImageTooLargeError, OSError.
    """
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        identify_format(os.pread(file.fileno(), HEAD_BYTES, 0))
        if size > max_bytes:
            raise ImageTooLargeError(f"file too large: {size:,} bytes; the limit is {max_bytes:,}")
        return file.read(size)


def looks_like_image(first: bytes) -> bool:
    """Whether a file with these first bytes may be an image in a format that is read."""
    try:
        identify_format(first)
    except UnsupportedImageError:
        return False
    return True


def has_image_suffix(path: str) -> bool:
    """Whether a file is named like an image."""
    return os.path.splitext(path)[1].lower() in SUFFIXES  # noqa: PTH122


def looks_like_image_file(path: str) -> bool:
    """Whether a file begins like an image; False if it can't be read."""
    try:
        with _open_regular(path) as file:
            return looks_like_image(os.pread(file.fileno(), HEAD_BYTES, 0))
    except (OSError, UnsupportedImageError):
        return False


def skipped_file(path: str, error: InvalidImageError | OSError) -> Skipped:
    """The record of a file that couldn't be read or decoded."""
    detail = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return Skipped(path, _skip_reason(error), detail)


def _skip_reason(error: InvalidImageError | OSError) -> SkipReason:
    if isinstance(error, OSError):
        return "unreadable files"
    if isinstance(error, ImageTooLargeError):
        return "images too large"
    if isinstance(error, MissingExtraError):
        return "images that need an extra"
    return "not images" if isinstance(error, UnsupportedImageError) else "damaged images"


def _open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file. Opening a pipe would wait, and opening a device may have side effects."""
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
