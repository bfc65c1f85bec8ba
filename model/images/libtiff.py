"""Keep the messages of libtiff, which decompresses TIFF files for Pillow, off standard error."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

LOADED_FILES = Path("/proc/self/maps")


@cache
def silence_libtiff() -> None:
    """Make the libtiff that Pillow has loaded report damage only by its return values; does nothing except on Linux.

    By default it bypasses the log with a line for each damaged row of a fax page, and blocks if nobody reads those.
    """
    if not LOADED_FILES.exists():
        return
    for line in LOADED_FILES.read_text("utf-8", "surrogateescape").splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith("libtiff"):
            ctypes.CDLL(path).TIFFSetErrorHandler(None)
