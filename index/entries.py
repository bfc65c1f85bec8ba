"""Entries: what an index stores about an image besides its feature."""

from __future__ import annotations

import io
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.artifacts.names import has_controls
from model.datasets.attribution import Attribution
from model.datasets.names import is_utf8
from model.exceptions import InvalidRequestError, UnknownImageError
from model.images.info import DecodedImage

PAGE_SIZE = 1000
"""Entries read at once."""
MAX_ID = 2**63 - 1
"""The largest integer that the databases of indexes can store."""
MAX_TEXT_LENGTH = 200
"""Maximum characters of a label or key given by a caller."""
THUMBNAIL_QUALITY = 80
"""A photograph takes about 14 kB. Noise takes 45 kB, which as base64 still fits a Milvus text field."""


@dataclass(frozen=True)
class Entry:
    """An indexed image. `key`: the caller's own name for it. `source`: its file, if any, when it was added or
    `index.sync` last found it. `attribution`: who made it, if known."""

    id: int
    key: str | None
    label: str | None
    source: Path | None
    format: str
    width: int
    height: int
    attribution: Attribution | None = None

    def to_new(self, sha256: str, thumbnail: bytes) -> NewEntry:
        """The entry to store for the same image in another index."""
        size = self.width, self.height
        return NewEntry(sha256, self.label, self.source, self.format, *size, thumbnail, self.key, self.attribution)


@dataclass(frozen=True)
class NewEntry:
    """An image to add. `sha256`: hash of its bytes, which identifies it. `thumbnail`: JPEG bytes, 256 x 256."""

    sha256: str
    label: str | None
    source: Path | None
    format: str
    width: int
    height: int
    thumbnail: bytes
    key: str | None = None
    attribution: Attribution | None = None

    @classmethod
    def from_image(
        cls,
        sha256: str,
        image: DecodedImage,
        label: str | None,
        source: Path | None,
        key: str | None = None,
        attribution: Attribution | None = None,
    ) -> NewEntry:
        """The entry of a decoded image. `sha256`: hash of the bytes it was decoded from. `source` is dropped if its
        path isn't UTF-8, as all text in the catalog is.
        """
        return cls(
            sha256=sha256,
            label=label,
            source=source if source is not None and is_utf8(str(source)) else None,
            format=image.info.format,
            width=image.info.width,
            height=image.info.height,
            thumbnail=make_thumbnail(image.preview),
            key=key,
            attribution=attribution,
        )


class CatalogReader(ABC):
    """Reads which images an index holds; each backend has its own catalog."""

    @abstractmethod
    def find(self, sha256s: Sequence[str]) -> dict[str, FoundImage]:
        """The indexed images with these checksums, including removed ones, by checksum."""

    @abstractmethod
    def find_keys(self, keys: Sequence[str]) -> dict[str, FoundImage]:
        """The indexed images with these keys, including removed ones, by key."""

    @abstractmethod
    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """Up to `limit` entries with ids greater than `after`, by id; with a label, only those that have it."""

    @abstractmethod
    def lookup(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those `ids` that exist and aren't removed."""

    @abstractmethod
    def thumbnail(self, image_id: int) -> bytes:
        """The thumbnail as JPEG bytes. Raises UnknownImageError, also if it is damaged."""

    @abstractmethod
    def sha256(self, image_id: int) -> str:
        """Checksum of the bytes that were indexed. Raises UnknownImageError."""

    @abstractmethod
    def page_to_copy(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images by id, as (id, entry to store in another index)."""

    def check_new_keys(self, keys: Sequence[str]) -> None:
        """Raise InvalidRequestError if an image already has one of the keys, or if two of the keys are equal."""
        used = self.find_keys(keys)
        for key, count in Counter(keys).items():
            if key in used and used[key].removed:
                raise InvalidRequestError(
                    f"the key {key[:80]!r} belongs to a removed image: restore it, or compact the index"
                )
            if key in used or count > 1:
                raise InvalidRequestError(f"the key {key[:80]!r} belongs to another image: keys must be unique")

    def get(self, image_id: int) -> Entry:
        """The entry of an image. Raises UnknownImageError if it isn't indexed, or is removed."""
        entries = self.lookup([image_id])
        if not entries:
            raise unknown_image_error(image_id)
        return entries[0]

    def iter_entries(self, label: str | None = None) -> Iterator[Entry]:
        """All entries by id; with a label, only those that have it."""
        after = 0
        while page := self.page(after, PAGE_SIZE, label):
            yield from page
            after = page[-1].id


def unknown_image_error(image_id: int) -> UnknownImageError:
    return UnknownImageError(f"no indexed image has the id {image_id}")


def unknown_key_error(key: str) -> UnknownImageError:
    return UnknownImageError(f"no indexed image has the key {key[:80]!r}")


def unknown_label_error(label: str) -> InvalidRequestError:
    return InvalidRequestError(f"no image in the index has the label {label[:80]!r}: check its spelling")


def damaged_image_error(part: str, image_id: int) -> UnknownImageError:
    """`part`: what is damaged. The index holds the image until it is compacted; until then, adding it has no effect."""
    return UnknownImageError(
        f"the {part} of image {image_id} is damaged: delete it with `alexnet index compact`, then add it again"
    )


class FileState(NamedTuple):
    """An image file as it was last read: size in bytes, modification time, checksum, and label by folder or table."""

    size: int
    mtime_ns: int
    sha256: str
    label: str | None


class StoredSource(NamedTuple):
    """An indexed image, removed or not. `source`: its file; "" if it has none."""

    id: int
    sha256: str
    label: str | None
    source: str
    removed: bool


@dataclass(frozen=True)
class FoundImage:
    """An image that was looked up by checksum or key: its id, and whether it is removed."""

    id: int
    removed: bool


def is_storable(text: str) -> bool:
    """Whether a caller's label or key can be stored: 1 to MAX_TEXT_LENGTH characters, without control characters,
    surrogates, or whitespace at its ends."""
    return not has_controls(text) and text == text.strip() and 1 <= len(text) <= MAX_TEXT_LENGTH


def can_be_label(text: str) -> bool:
    """Whether every index can store the text as a label. Databases reject other text, each in its own way."""
    return is_utf8(text) and "\0" not in text


AddStatus = Literal["added", "exists", "restored"]


@dataclass(frozen=True)
class AddResult:
    """The result of adding an image.

    The same bytes keep their id until a compaction deletes the image.
    """

    id: int
    status: AddStatus


def thumbnail_fault(thumbnail: bytes, checksum: int) -> str | None:
    """Compare a thumbnail with its CRC-32. Returns what is wrong, or None."""
    return None if zlib.crc32(thumbnail) == checksum else "its thumbnail doesn't match its checksum"


def checked_thumbnail(image_id: int, thumbnail: bytes | None, checksum: int) -> bytes:
    """The thumbnail of an image. Raises UnknownImageError if it is gone (None) or doesn't match its CRC-32."""
    if thumbnail is None:
        raise unknown_image_error(image_id)
    if thumbnail_fault(thumbnail, checksum) is not None:
        raise damaged_image_error("thumbnail", image_id)
    return thumbnail


def make_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """(256, 256, 3) uint8 -> JPEG bytes of the same size."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()
