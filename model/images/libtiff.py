"""libtiff, which decompresses TIFF files for Pillow: its messages are kept off standard error."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

LOADED_FILES = Path("/proc/self/maps")


@cache
def silence_libtiff() -> None:
    """Let the libtiff that Pillow has loaded report damage by its return values alone; nothing except on Linux.

    It would write a line for each damaged row of a fax page past the log, and wait while nobody reads that output.
    """
    if not LOADED_FILES.exists():
        return
    for line in LOADED_FILES.read_text("utf-8", "surrogateescape").splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith("libtiff"):
            ctypes.CDLL(path).TIFFSetErrorHandler(None)
