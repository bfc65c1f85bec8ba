"""Memory of a training on the CPU: the same large tensors come and go in every step."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed() -> None:
    """Tell glibc to keep freed memory for the next step instead of giving it back to the system.

    By default each large tensor is a mapping of its own, whose pages are faulted in and cleared anew in every step: a
    quarter of a step's time. Elsewhere than on glibc nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 64 << 20)
