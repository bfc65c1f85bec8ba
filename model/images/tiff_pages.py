"""TIFF files: which of their pages is read, and a copy of the file with the tags of that page's pixels only."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from model.exceptions import InvalidImageError, UnsupportedImageError
from model.images.ifd import MAX_VALUES, Directory, Layout, TagBudget, iter_directories, read_directory, read_layout
from model.images.info import WarningList

MAX_PAGES = 1_024
"""Maximum number of pages that are examined."""
MIN_PREVIEW_RATIO = 4
"""If another page has at least this many times the pixels of the first one, the first is a preview of it."""

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
MAKE, STRIP_OFFSETS, ORIENTATION, NUM_SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 271, 273, 274, 277, 278, 279, 284
PREDICTOR, PALETTE, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 320, 322, 323, 324, 325
SUB_DIRECTORIES, EXTRA_SAMPLES, SAMPLE_FORMAT, COLOR_PROFILE, DNG_VERSION = 330, 338, 339, 34675, 50706

PIXEL_TAGS: Final = frozenset(
    {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, NUM_SAMPLES, ROWS_PER_STRIP, STRIP_BYTES}
    | {PLANAR, 292, 293, PREDICTOR, PALETTE, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES}
    | {SAMPLE_FORMAT, 347, *range(512, 522), 529, 530, 531, 532}
)
"""Tags without which pixels can't be decoded; 292 to 293, 347 and 512 to 532 belong to facsimile, JPEG and YCbCr."""
SHORT, LONG = 3, 4
_LONG8 = {16, 17, 18}
_REDUCED, _MASK = 1, 4
_CAMERA_COLORS = {32803, 34892}
"""Photometric interpretations of raw files: a color filter array, and linear camera colors."""


@dataclass(frozen=True)
class Tag:
    """A tag to be written: its type, number of values, and their bytes."""

    kind: int
    count: int
    content: bytes

    @classmethod
    def of_integers(cls, kind: int, values: Sequence[int], order: str) -> Tag:
        """A tag of unsigned integers of 16 (kind 3) or 32 bits (kind 4). Raises InvalidImageError."""
        try:
            return cls(kind, len(values), struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values))
        except struct.error as error:
            raise InvalidImageError("damaged image: an offset points outside the file") from error


@dataclass(frozen=True)
class Page:
    """The page of a TIFF file that is read."""

    directory: Directory
    width: int
    height: int
    several: bool

    @property
    def layout(self) -> Layout:
        return self.directory.layout


def choose_page(data: bytes, warnings: WarningList) -> Page:
    """The first page that isn't marked as reduced or as a mask; if it is a preview of a larger one, the largest.

    Raises UnsupportedImageError for a camera's raw file, InvalidImageError for damage.
    """
    header = read_layout(data)
    if header is None:
        raise InvalidImageError("damaged image: this TIFF has no directory")
    budget = TagBudget()
    directories = list(iter_directories(data, *header, MAX_PAGES, budget))
    if not directories:
        raise InvalidImageError("damaged image: this TIFF has no directory")
    _refuse_raw(directories, budget)
    numbers = [n for n, page in enumerate(directories) if not page.integer(SUBFILE_TYPE) & (_REDUCED | _MASK)]
    numbers = numbers or [0]
    sizes = {number: _size(directories[number]) for number in numbers}

    def area(number: int) -> int:
        return sizes[number][0] * sizes[number][1]

    number_read, largest = numbers[0], max(numbers, key=area)
    if area(largest) >= MIN_PREVIEW_RATIO * area(number_read):
        number_read = largest
    if len(numbers) > 1 or number_read > 0:
        warnings.add("page", f"it has {len(directories):,} pages: page {number_read + 1:,} was used")
    return Page(directories[number_read], *sizes[number_read], several=len(numbers) > 1)


def keep_pixel_tags(page: Page) -> bytes:
    """A file with only this page, and only those of its tags that describe pixels. Raises InvalidImageError."""
    directory, order = page.directory, page.layout.order
    tags: dict[int, Tag] = {}
    for tag, entry in directory.entries.items():
        if tag in PIXEL_TAGS:
            if entry.count > MAX_VALUES:
                raise InvalidImageError("invalid image: it has more parts than any image needs")
            content = directory.raw(tag)
            if len(content) != entry.num_bytes:
                raise InvalidImageError("damaged or incomplete image: this TIFF has a truncated tag")
            if entry.kind in _LONG8:
                tags[tag] = Tag.of_integers(LONG, directory.integers(tag), order)
            else:
                tags[tag] = Tag(entry.kind, entry.count, content)
    return append_directory(directory.data, order, tags)


def append_directory(data: bytes, order: str, tags: dict[int, Tag]) -> bytes:
    """A TIFF file with `data` and, after it, one directory of these tags, to which the header points.

    It isn't a BigTIFF, since Pillow doesn't know the big-endian variant; `data` is less than 4 GB.
    """
    parts, position = [data[8:]], len(data)

    def append(content: bytes) -> int:
        nonlocal position
        padding = -position % 8
        parts.append(bytes(padding) + content)
        start = position + padding
        position = start + len(content)
        return start

    directory = [struct.pack(f"{order}H", len(tags))]
    for number, tag in sorted(tags.items()):
        directory.append(struct.pack(f"{order}HHI", number, tag.kind, tag.count))
        if len(tag.content) <= 4:
            directory.append(tag.content.ljust(4, b"\0"))
        else:
            directory.append(struct.pack(f"{order}I", append(tag.content)))
    start = append(b"".join(directory) + bytes(4))
    return b"".join([b"II" if order == "<" else b"MM", struct.pack(f"{order}HI", 42, start), *parts])


def _size(directory: Directory) -> tuple[int, int]:
    return directory.integer(WIDTH), directory.integer(HEIGHT)


def _refuse_raw(directories: list[Directory], budget: TagBudget) -> None:
    """Raise UnsupportedImageError if a page, or a directory below it, has a camera's raw pixels."""
    first = directories[0]
    below = [*directories[:4]]
    for directory in directories[:4]:
        for position in directory.integers(SUB_DIRECTORIES)[:8]:
            try:
                below.append(read_directory(first.data, first.layout, position, budget))
            except InvalidImageError:
                continue
    if DNG_VERSION in first.entries:
        name = "DNG"
    elif first.data[8:10] == b"CR":
        name = "Canon CR2"
    elif any(directory.integer(PHOTOMETRIC) in _CAMERA_COLORS for directory in below):
        name = first.text(MAKE)[:40] or "unknown make"
    else:
        return
    raise UnsupportedImageError(
        f"it is a camera raw file ({name}), whose pixels must be developed first: convert it to JPEG or TIFF"
    )
