"""malloc's settings: which blocks are mapped, in a process of their own, because nothing resets them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes
from model.malloc import keep_freed_memory, map_large_blocks

class Statistics(ctypes.Structure):  # mallinfo(3); the fourth is the number of mapped blocks
    _fields_ = [(f"field{number}", ctypes.c_int) for number in range(1, 11)]

library = ctypes.CDLL("libc.so.6")
library.malloc.restype, library.mallinfo.restype = ctypes.c_void_p, Statistics
library.malloc.argtypes, library.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]

def is_mapped(size):
    before = library.mallinfo().field4
    block = library.malloc(size)
    mapped = library.mallinfo().field4 > before
    library.free(block)
    return mapped
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
@pytest.mark.parametrize(
    ("setting", "mapped"),
    [("pass", "True False"), ("map_large_blocks()", "True True"), ("keep_freed_memory()", "False False")],
)
def test_which_blocks_are_mapped(setting: str, mapped: str) -> None:
    """By default, a block of 2 MB isn't mapped once one of 20 MB was freed."""
    code = f"{SCRIPT}\n{setting}\nprint(is_mapped(20_000_000), is_mapped(2_000_000))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == f"{mapped}\n"
