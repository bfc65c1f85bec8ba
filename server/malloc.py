"""Memory of a server: a burst of large images must not stay with it."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
LARGE = 1_000_000
"""Bytes. glibc would raise its own threshold to the largest block freed, up to 32 MiB, and keep blocks below it."""


def give_back_freed() -> None:
    """Tell glibc to map large blocks apart, so that decoded images go back to the system when they are freed.

    Elsewhere than on glibc nothing is changed.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, LARGE)
    except (OSError, AttributeError):
        return
