"""Read image files for an index, within limits; skip bad ones with a reason, and decode only what the index lacks."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.entries import AddResult, FileState, NewEntry
from index.protocol import Index, find_ids
from model.datasets.attribution import Attribution
from model.datasets.image_files import read_image_file, skipped_file
from model.datasets.listing import Listing, Skipped
from model.exceptions import InvalidImageError
from model.images.contract import ImageContract
from model.images.info import ImageWarning
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from model.thread_pool import ordered_map

BATCH_SIZE = 16
RACY_NS = 2_000_000_000
"""A file changed less than two seconds before it is read may be changed again without getting a new timestamp."""


class ImageSource(NamedTuple):
    """An image file to index, its label if it has one, and who made it if known."""

    file: str
    label: str | None
    attribution: Attribution | None = None

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True)
class KnownImage:
    """A file whose bytes the index already has."""

    state: FileState


@dataclass(frozen=True)
class ReadImage:
    """A decoded file that the index doesn't have."""

    state: FileState
    pixels: NDArray[np.uint8]
    entry: NewEntry
    warnings: tuple[ImageWarning, ...]


def to_sources(listing: Listing) -> list[ImageSource]:
    """The files of a listing, with absolute paths and the names of classes as labels."""
    names = listing.label_names()
    return [
        ImageSource(os.path.abspath(entry.file), names[entry.label], entry.attribution)  # noqa: PTH100
        for entry in listing.entries
    ]


def read_source(index: Index, source: ImageSource, limits: ImageLimits) -> ReadImage | KnownImage | Skipped:
    """Read a file, and decode it by the index's image contract unless the index has its bytes."""
    return _read(source, lambda sha256: bool(find_ids(index, [sha256])), limits, index.image_contract)


def read_batches(
    index: Index, sources: Sequence[ImageSource], limits: ImageLimits, title: str
) -> Iterator[list[tuple[ImageSource, ReadImage | KnownImage | Skipped]]]:
    """Read files like `read_source`, in batches, prefetched in threads, with a progress bar titled `title`."""
    reads = ordered_map(lambda source: read_source(index, source, limits), sources, ahead=BATCH_SIZE)
    pairs = zip(sources, reads, strict=True)
    with tqdm(total=len(sources), desc=title, unit="image", disable=None) as bar:
        while batch := list(islice(pairs, BATCH_SIZE)):
            yield batch
            bar.update(len(batch))


def read_image(source: ImageSource, contract: ImageContract) -> ReadImage | Skipped:
    """Read and decode a file, without looking for its bytes in an index."""
    result = _read(source, lambda sha256: False, DEFAULT_LIMITS, contract)
    assert not isinstance(result, KnownImage)
    return result


def _read(
    source: ImageSource, is_known: Callable[[str], bool], limits: ImageLimits, contract: ImageContract
) -> ReadImage | KnownImage | Skipped:
    try:
        status = os.stat(source.file)  # noqa: PTH116
        data = read_image_file(source.file, limits.max_file_bytes)
        sha256 = hashlib.sha256(data).hexdigest()
        mtime_ns = status.st_mtime_ns if time.time_ns() - status.st_mtime_ns > RACY_NS else 0
        state = FileState(status.st_size, mtime_ns, sha256, source.label)
        if is_known(sha256):
            return KnownImage(state)
        image = decode_image(data, limits, contract)
    except (InvalidImageError, OSError) as error:
        return skipped_file(source.file, error)
    entry = NewEntry.from_image(sha256, image, source.label, Path(source.file), attribution=source.attribution)
    return ReadImage(state, image.pixels, entry, image.info.warnings)


def add_read(index: Index, model: OnnxModel, images: Sequence[ReadImage]) -> list[AddResult]:
    """Add decoded images with their features, each once. Returns the results of the ones the index lacked."""

    def compute_features(numbers: Sequence[int]) -> NDArray[np.float32]:
        return model.features(np.stack([images[number].pixels for number in numbers]), index.crops)

    return add_new(index, [image.entry for image in images], compute_features)


def add_new(
    index: Index,
    entries: Sequence[NewEntry],
    compute_features: Callable[[Sequence[int]], NDArray[np.float32]],
) -> list[AddResult]:
    """Add those of `entries` whose bytes the index doesn't have, once each. Returns their results.

    `compute_features`: positions of n entries in `entries` -> their (n, dim) features.
    """
    new: dict[str, int] = {}
    for number, entry in enumerate(entries):
        new.setdefault(entry.sha256, number)
    for sha256 in find_ids(index, list(new)):
        del new[sha256]
    if not new:
        return []
    numbers = list(new.values())
    return index.add(compute_features(numbers), [entries[number] for number in numbers])
