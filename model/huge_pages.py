"""Huge pages (2 MB instead of 4 kB) for the memory that a network runs in.

A network reads hundreds of megabytes per image, but a processor caches the addresses of only a few thousand pages.
Looking up others takes longer in a virtual machine: there, ten crops take up to 44 % less time on huge pages
(docs/performance.md). Linux gives them to a process that asks (`madvise`); neither onnxruntime nor PyTorch asks.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""What the system's administrator allows: always, madvise, or never."""
MAPPINGS = Path("/proc/self/smaps")
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
MIN_BYTES = 2 * 2**20
MIN_RESIDENT = 0.5
"""Share of a mapping that must be in memory: otherwise a thread's stack, or a hardly used pool, would grow."""
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ [0-9a-f:]+ 0 *(\[heap\]|\[anon.*\])?$")


def use_huge_pages() -> int:
    """Move this process's current memory to huge pages; return the size in bytes of the mappings concerned.

    Memory that is allocated later isn't on huge pages, so call this after a network has run. It takes about four
    seconds per gigabyte. Does nothing and returns 0 unless the system offers huge pages on request (`madvise`).
    """
    try:
        if "[madvise]" not in SETTING.read_text():  # `always` needs no request
            return 0
        madvise = ctypes.CDLL("libc.so.6").madvise
    except (OSError, AttributeError):
        return 0
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    asked = 0
    for start, size in list(_iter_used_mappings()):
        if madvise(start, size, MADV_HUGEPAGE) == 0:
            madvise(start, size, MADV_COLLAPSE)  # now; before Linux 6.1, a kernel thread does it within minutes
            asked += size
    return asked


def _iter_used_mappings() -> Iterator[tuple[int, int]]:
    """Yield the address and size in bytes of each mapping that isn't a file and is mostly in memory."""
    start = size = 0
    for line in MAPPINGS.read_text().splitlines():
        if header := _HEADER.match(line):
            start, end = int(header[1], 16), int(header[2], 16)
            size = end - start
        elif "-" in line.partition(" ")[0]:
            size = 0  # another kind of mapping
        elif line.startswith("Rss:") and size >= MIN_BYTES and 1024 * int(line.split()[1]) >= MIN_RESIDENT * size:
            yield start, size
