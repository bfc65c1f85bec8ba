"""The orientation of an image from its EXIF data. Orientations in XMP are ignored, as in most viewers."""

from __future__ import annotations

from typing import Final

from PIL import Image

from model.exceptions import InvalidImageError
from model.images.ifd import read_directory, read_layout
from model.images.info import WarningList

ORIENTATION_TAG: Final = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the image upright."""
REVERSED_COLUMNS, REVERSED_ROWS = (2, 3, 7, 8), (3, 4, 6, 7)
"""EXIF orientations in which the columns, or the rows, of the file are in reverse order in the upright image."""


def read_orientation(exif: bytes | None, warnings: WarningList) -> int:
    """The orientation in EXIF data, 1 to 8; 1 with a warning if they are damaged."""
    if not exif:
        return 1
    data = exif.removeprefix(b"Exif\0\0")
    try:
        header = read_layout(data)
        if header is not None:
            orientation = read_directory(data, *header).integer(ORIENTATION_TAG, 1)
            return orientation if orientation in UPRIGHT else 1
    except InvalidImageError:
        pass
    warn_of_damaged_exif(warnings)
    return 1


def warn_of_damaged_exif(warnings: WarningList) -> None:
    """Add the warning that EXIF data were ignored."""
    warnings.add("metadata", "its EXIF data are damaged and were ignored: it may not be upright")
