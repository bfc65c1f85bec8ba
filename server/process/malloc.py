"""Return freed memory to the operating system after bursts of large images."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
MMAP_THRESHOLD_BYTES = 1_000_000
"""By default, glibc raises its threshold to the largest block freed, up to 32 MiB, and keeps smaller blocks."""


def return_memory_to_os() -> None:
    """Make glibc map large blocks separately, so that decoded images go back to the system when they are freed.

    Does nothing with another C library.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
    except (OSError, AttributeError):
        return
