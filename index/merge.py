"""Merge indexes into one, as if one machine had built it. Each may be in a folder, on PostgreSQL or on Milvus.

Images are added in the order of their files' paths, and those of one index in the order of their ids. If each index
was built by one `alexnet index add`, this is also the order of `alexnet index add` over one folder: the merged index
has the same ids, rows and search results as an index built all at once. Images it already has aren't added again, and
each batch is on the disk before the next, so a merge that was killed resumes where it stopped, with the same result.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.backends import IndexUri, create_like, open_readonly, open_writable
from index.entries import NewEntry
from index.folder.layout import is_index, lock_for_writing
from index.protocol import Index, SupportsCompaction
from index.reading import add_new
from model.exceptions import IndexStoreError, InvalidRequestError
from model.plurals import count_of

BATCH_SIZE = 1024
"""Images per commit."""


@dataclass(frozen=True)
class MergeReport:
    """Numbers of images in the merged index, added to it, and already in it."""

    images: int
    added: int
    existing: int


@dataclass(frozen=True)
class _Image:
    index: Index
    id: int
    entry: NewEntry


def merge(target: IndexUri, sources: Sequence[IndexUri]) -> MergeReport:
    """Add the images of the indexes `sources` to the one at `target`, which is created if there is none.

    Of images with the same bytes, one is kept: the one in `target`, else the one that is added first. An image that is
    removed in a source isn't taken from it; one that is removed in `target` is restored if a source has it, as with
    every addition.

    Raises InvalidRequestError if an index is given twice or two images have the same key; ReadOnlyIndexError while
    another process changes one of the indexes; IndexStoreError, before anything is added, if they differ in network,
    image contract, crops or dtype, or if an image is damaged.
    """
    places = [str(uri) if uri.folder is None else str(uri.folder.resolve()) for uri in (target, *sources)]
    if len(set(places)) < len(places):
        raise InvalidRequestError("the same index is given twice: name each index once")
    with ExitStack() as stack:
        opened = [_open_source(uri, stack) for uri in sources]
        for index in opened:
            _check_mergeable(index, opened[0])
        create_like(target, opened[0].space)
        merged = stack.enter_context(closing(open_writable(target)))
        _check_mergeable(merged, opened[0])
        total, added = sum(map(len, opened)), 0
        with tqdm(total=total, desc="merging", unit="image", disable=None) as bar:
            images = heapq.merge(*map(_iter_images, opened), key=_path_order)
            while batch := list(islice(images, BATCH_SIZE)):
                added += _add_batch(merged, batch)
                bar.update(len(batch))
        return MergeReport(len(merged), added, total - added)


def _open_source(uri: IndexUri, stack: ExitStack) -> Index:
    """Open an index for reading. One in a folder is locked, so that it isn't merged while it is still being built."""
    path = uri.folder
    if path is not None and is_index(path) and os.access(path, os.W_OK):  # on a read-only disk nobody changes it
        stack.callback(lock_for_writing(path).release)
    return stack.enter_context(closing(open_readonly(uri)))


def _check_mergeable(index: Index, first: Index) -> None:
    if index.space != first.space:
        raise IndexStoreError(
            f"{index.uri} and {first.uri} differ in {index.space.differences(first.space)}, so their distances can't "
            "be compared: build them with the same artifact and options"
        )
    damaged = index.verify() if isinstance(index, SupportsCompaction) else {}
    if damaged:
        image_id, fault = next(iter(damaged.items()))
        raise IndexStoreError(
            f"{index.uri} has {count_of(len(damaged), 'damaged image')}, such as {image_id} ({fault}): delete them "
            "with `alexnet index compact`, and add their files again"
        )


def _iter_images(index: Index) -> Iterator[_Image]:
    """All images of an index by id."""
    after = 0
    while page := index.catalog.page_to_copy(after, BATCH_SIZE):
        yield from (_Image(index, image_id, entry) for image_id, entry in page)
        after = page[-1][0]


def _path_order(image: _Image) -> tuple[str, ...]:
    """Sort key that orders files as `index.build.find_images` does; images without a file come first."""
    return () if image.entry.source is None else image.entry.source.parts


def _add_batch(target: Index, images: Sequence[_Image]) -> int:
    """Add those images that `target` doesn't have. Returns how many."""

    def read_features(numbers: Sequence[int]) -> NDArray[np.float32]:
        features = np.empty((len(numbers), target.space.dim), np.float32)
        batch = [images[number] for number in numbers]
        for index in {id(image.index): image.index for image in batch}.values():
            places = [place for place, image in enumerate(batch) if image.index is index]
            features[places] = index.features([batch[place].id for place in places])
        return features

    return len(add_new(target, [image.entry for image in images], read_features))
