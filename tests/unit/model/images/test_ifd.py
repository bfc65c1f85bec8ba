"""TIFF directories: how many tags are read, and how many of their values."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import tifffile

from model.exceptions import InvalidImageError
from model.images.ifd import MAX_TAGS_OF_FILE, MAX_VALUES, Directory, Entry, Layout
from model.images.info import WarningList
from model.images.tiff_pages import MAX_PAGES, SUB_DIRECTORIES, WIDTH, choose_page

LITTLE_ENDIAN = Layout("<", is_big=False)
NUM_TAGS, STEP = 4_000, 14
LONG = 4


def overlapping(num_directories: int) -> bytearray:
    """A TIFF file of random tags, in which each directory begins `STEP` bytes after the previous one."""
    data = bytearray(np.random.default_rng(1).bytes(8 + STEP * num_directories + 12 * NUM_TAGS + 8))
    data[:8] = struct.pack("<2sHI", b"II", 42, 8)
    starts = range(8, 8 + STEP * num_directories, STEP)
    for start in starts:
        struct.pack_into("<H", data, start, NUM_TAGS)
    for start, following in zip(starts, [*starts[1:], 0], strict=True):
        struct.pack_into("<I", data, start + 2 + 12 * NUM_TAGS, following)
    return data


def with_directories_below(data: bytearray) -> bytearray:
    """`data` with four pages, each with eight subdirectories."""
    starts = range(8, 8 + STEP * 36, STEP)
    struct.pack_into("<I", data, starts[3] + 2 + 12 * NUM_TAGS, 0)
    for number, start in enumerate(starts[:4]):
        struct.pack_into("<HHII", data, start + 2, SUB_DIRECTORIES, LONG, 8, len(data) + 32 * number)
    return data + struct.pack("<32I", *starts[4:])


def peak_memory(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [overlapping(50), with_directories_below(overlapping(36))], ids=["pages", "below"])
def test_overlapping_directories_do_not_hold_more_tags_than_a_file_may(data: bytearray) -> None:
    """Each tag takes about 250 bytes of memory: a file of 50 kB with 300 directories took 306 MB."""
    assert peak_memory(lambda: choose_page(bytes(data), WarningList())) < 300 * MAX_TAGS_OF_FILE


def test_as_many_pages_as_are_looked_at_may_have_usual_tags() -> None:
    file, warnings = io.BytesIO(), WarningList()
    tifffile.imwrite(file, np.zeros((MAX_PAGES, 8, 8), np.uint8), photometric="minisblack", compression="zlib")
    choose_page(file.getvalue(), warnings)
    assert [warning.message for warning in warnings] == [f"it has {MAX_PAGES:,} pages: page 1 was used"]


def test_of_many_values_only_the_first_is_read_if_one_is_asked_for() -> None:
    directory = Directory(bytes(4 * MAX_VALUES), LITTLE_ENDIAN, {WIDTH: Entry(LONG, MAX_VALUES, 0)}, 0)
    assert peak_memory(lambda: directory.integer(WIDTH)) < 10_000
    assert len(directory.integers(WIDTH)) == MAX_VALUES


def test_a_tag_of_no_values_has_the_default() -> None:
    directory = Directory(bytes(8), LITTLE_ENDIAN, {WIDTH: Entry(LONG, 0, 0)}, 0)
    assert directory.integer(WIDTH, 7) == 7


def test_a_tag_of_too_many_values_is_refused() -> None:
    directory = Directory(bytes(8), LITTLE_ENDIAN, {WIDTH: Entry(LONG, MAX_VALUES + 1, 0)}, 0)
    with pytest.raises(InvalidImageError, match="more parts than any image needs"):
        directory.integer(WIDTH)
