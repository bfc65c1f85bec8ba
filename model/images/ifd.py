"""Image file directories: the tags of TIFF files and of EXIF data. Values are read only on request."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from model.exceptions import InvalidImageError

MAX_TAGS = 4_096
"""Maximum tags per directory; real ones have fewer than a hundred."""
MAX_TAGS_OF_FILE = 32_768
"""Maximum tags in all directories that are read: directories may overlap, so a few bytes could hold many."""
MAX_VALUES = 262_144
"""Maximum values of one tag: strips, tiles and a 16-bit palette have fewer."""
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TOO_MANY_PARTS = "invalid image: it has more parts than any image needs"
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}


@dataclass(frozen=True)
class Layout:
    """How a file writes numbers. `order`: "<" or ">" as in `struct`. `is_big`: BigTIFF, with 64-bit offsets."""

    order: str
    is_big: bool

    @property
    def offset_code(self) -> str:
        """The `struct` code of an offset."""
        return "Q" if self.is_big else "I"

    @property
    def entry_bytes(self) -> int:
        """Size of an entry: tag, type, count and value or offset."""
        return 20 if self.is_big else 12

    @property
    def count_bytes(self) -> int:
        """Size of the number of entries that a directory begins with."""
        return 8 if self.is_big else 2

    def unpack(self, codes: str, data: bytes, position: int) -> tuple[int, ...]:
        """Numbers at `position`. Raises InvalidImageError if the data ends before them."""
        try:
            return struct.unpack_from(self.order + codes, data, position)
        except (struct.error, OverflowError) as error:
            raise InvalidImageError("damaged image: an offset points outside the file") from error


class TagBudget:
    """Bounds how many tags of one file are read."""

    def __init__(self) -> None:
        self._left = MAX_TAGS_OF_FILE

    def take(self, count: int) -> None:
        """Count the tags of a directory. Raises InvalidImageError if there are too many."""
        if count > min(MAX_TAGS, self._left):
            raise InvalidImageError(_TOO_MANY_PARTS)
        self._left -= count


@dataclass(frozen=True)
class Entry:
    """One tag of a directory. `position`: where its values are in the file."""

    kind: int
    count: int
    position: int

    @property
    def num_bytes(self) -> int:
        """Size of all values."""
        return self.count * TYPE_BYTES.get(self.kind, 1)


@dataclass(frozen=True)
class Directory:
    """The tags of one image. `next_position`: of the next directory; 0: none."""

    data: bytes
    layout: Layout
    entries: dict[int, Entry]
    next_position: int

    def integers(self, tag: int) -> tuple[int, ...]:
        """The integers of a tag; empty if it is missing or has values of another type. Raises InvalidImageError."""
        return self._unpack(tag, MAX_VALUES)

    def integer(self, tag: int, default: int = 0) -> int:
        """The first integer of a tag. Raises InvalidImageError."""
        return next(iter(self._unpack(tag, 1)), default)

    def _unpack(self, tag: int, max_values: int) -> tuple[int, ...]:
        """The first integers of a tag."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return ()
        if entry.count > MAX_VALUES:
            raise InvalidImageError(_TOO_MANY_PARTS)
        return self.layout.unpack(f"{min(entry.count, max_values)}{_INTEGERS[entry.kind]}", self.data, entry.position)

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag; empty if it is missing."""
        entry = self.entries.get(tag)
        return b"" if entry is None else self.data[entry.position : entry.position + entry.num_bytes]

    def text(self, tag: int) -> str:
        """The text of a tag."""
        return self.raw(tag).split(b"\0")[0].decode("latin-1").strip()


def read_layout(data: bytes) -> tuple[Layout, int] | None:
    """How a TIFF file or EXIF data writes numbers, and where its first directory is; None if it is neither."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or not {42, 43} & set(data[2:4]):
        return None
    layout = Layout(order, is_big=43 in data[2:4])
    return layout, layout.unpack(layout.offset_code, data, 8 if layout.is_big else 4)[0]


def read_directory(data: bytes, layout: Layout, position: int, budget: TagBudget | None = None) -> Directory:
    """The directory at `position`: the first entry of each tag; if the data is cut off, the entries before the cut.

    Raises InvalidImageError.
    """
    (count,) = layout.unpack("Q" if layout.is_big else "H", data, position)
    (budget or TagBudget()).take(count)
    entries: dict[int, Entry] = {}
    start, inline = position + layout.count_bytes, 8 if layout.is_big else 4
    for entry_position in range(start, start + count * layout.entry_bytes, layout.entry_bytes):
        if entries and entry_position + layout.entry_bytes > len(data):
            break
        tag, kind, num_values = layout.unpack("HH" + layout.offset_code, data, entry_position)
        values = entry_position + layout.entry_bytes - inline
        if num_values * TYPE_BYTES.get(kind, 1) > inline:
            (values,) = layout.unpack(layout.offset_code, data, values)
        entries.setdefault(tag, Entry(kind, num_values, values))
    end = start + count * layout.entry_bytes
    has_next = end + inline <= len(data)
    return Directory(data, layout, entries, layout.unpack(layout.offset_code, data, end)[0] if has_next else 0)


def iter_directories(
    data: bytes, layout: Layout, position: int, max_directories: int, budget: TagBudget
) -> Iterator[Directory]:
    """Yield the directories of a chain. After the first, it ends at a damaged directory, at one seen before, or if
    there are too many tags."""
    seen: set[int] = set()
    while position and position not in seen and len(seen) < max_directories:
        try:
            directory = read_directory(data, layout, position, budget)
        except InvalidImageError:
            if not seen:
                raise
            return
        seen.add(position)
        yield directory
        position = directory.next_position
