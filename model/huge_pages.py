"""Huge pages: 2 MB instead of 4 kB, for the memory that a network is computed in.

A network reads hundreds of megabytes for each image, and a processor knows the addresses of a few thousand pages.
Finding one takes longer in a virtual machine: there ten crops take up to 44 % less time on huge pages
(docs/performance.md). Linux gives them to whoever asks (`madvise`), which neither onnxruntime nor PyTorch does.
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
"""Only mappings that are used by so much: a thread's stack, or a pool that was hardly used, would grow."""
_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ [0-9a-f:]+ 0 *(\[heap\]|\[anon.*\])?$")


def use_huge_pages() -> int:
    """Move what this process holds in memory now to huge pages; bytes of the mappings that were asked for.

    What is allocated later is not on huge pages, so call it when a network has run. It takes about four seconds for
    each gigabyte. 0, and nothing is done, where the system doesn't have them, or its administrator doesn't want them.
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
            madvise(start, size, MADV_COLLAPSE)  # now; before Linux 6.1 a thread of the kernel does it in minutes
            asked += size
    return asked


def _iter_used_mappings() -> Iterator[tuple[int, int]]:
    """Address and bytes of the mappings that are no file and whose memory is mostly in use."""
    start = size = 0
    for line in MAPPINGS.read_text().splitlines():
        if header := _HEADER.match(line):
            start, end = int(header[1], 16), int(header[2], 16)
            size = end - start
        elif "-" in line.partition(" ")[0]:
            size = 0  # another kind of mapping
        elif line.startswith("Rss:") and size >= MIN_BYTES and 1024 * int(line.split()[1]) >= MIN_RESIDENT * size:
            yield start, size
