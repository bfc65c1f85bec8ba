"""Huge pages: memory that is used is moved to them, and stays as it was."""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model import huge_pages
from model.huge_pages import MADV_COLLAPSE, MAPPINGS, SETTING, use_huge_pages

SIZE = 32 * 2**20
needs_huge_pages = pytest.mark.skipif(
    not SETTING.is_file() or "[madvise]" not in SETTING.read_text(), reason="the system gives none on request"
)


def make_mapping(used: int) -> NDArray[np.uint8]:
    """An anonymous mapping of SIZE bytes, `used` of which have been written."""
    values = np.frombuffer(mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
    values[:used] = np.arange(used, dtype=np.uint32) % 251
    return values


def describe_mapping(values: NDArray[np.uint8]) -> str:
    """What the kernel says about the mapping that contains an array."""
    address = values.ctypes.data
    for text in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", MAPPINGS.read_text(), flags=re.MULTILINE):
        bounds = re.match("([0-9a-f]+)-([0-9a-f]+)", text)
        if bounds and int(bounds[1], 16) <= address < int(bounds[2], 16):
            return text
    raise AssertionError("expected the mapping of the array")


def bytes_on_huge_pages(values: NDArray[np.uint8]) -> int:
    """Of the mapping that contains an array."""
    huge = re.search(r"AnonHugePages: +([0-9]+) kB", describe_mapping(values))
    assert huge is not None
    return 1024 * int(huge[1])


def collapses_now() -> bool:
    """Whether the kernel moves memory on request: not before Linux 6.1, nor when free memory is too fragmented."""
    probe = make_mapping(SIZE)
    madvise = ctypes.CDLL("libc.so.6").madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return bool(madvise(probe.ctypes.data, SIZE, MADV_COLLAPSE) == 0)


@needs_huge_pages
def test_memory_that_is_used_is_moved_and_stays_as_it_was() -> None:
    values = make_mapping(SIZE)
    before = values.copy()
    assert use_huge_pages() >= SIZE
    np.testing.assert_array_equal(values, before)
    assert re.search("VmFlags:.* hg", describe_mapping(values))
    for _ in range(20):  # the kernel gives up a collapse if it finds no free huge page at that moment
        if bytes_on_huge_pages(values) >= SIZE / 2:
            break
        if not collapses_now():
            pytest.skip("the kernel has no free huge pages now, or is older than Linux 6.1")
        use_huge_pages()
    else:
        pytest.fail("the kernel collapses memory on request, but not this mapping")


@needs_huge_pages
def test_memory_that_is_hardly_used_does_not_grow() -> None:
    """Such as a thread's stack."""
    values = make_mapping(SIZE // 8)
    use_huge_pages()
    assert not re.search("VmFlags:.* hg", describe_mapping(values))


@pytest.mark.parametrize("setting", ["always madvise [never]", "[always] madvise never", None])
def test_the_administrator_decides(setting: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "SETTING", tmp_path / "enabled")
    if setting is not None:
        (tmp_path / "enabled").write_text(setting + "\n")
    assert use_huge_pages() == 0
