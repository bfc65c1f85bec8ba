"""Several indexes -> one, as if one machine had made it.

Images come in the order of their files' names, which is that of `alexnet index` over one folder: a merged index has
the ids, the rows and the answers of an index that was made at once. What is there already isn't added again, and every
batch is on the disk before the next, so that a merge that was killed goes on where it was, to the same end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from index.backends import on_milvus
from index.catalog import Catalog, NewEntry
from index.lock import lock
from index.metadata import Settings
from index.store import CATALOG, ImageIndex
from model.exceptions import IndexStoreError, InvalidRequestError

BATCH = 1024
"""Images in a commit."""


@dataclass(frozen=True)
class Merged:
    """How many images the index has now, how many of the others' were added, and how many were there already."""

    images: int
    added: int
    known: int


@dataclass(frozen=True)
class _Image:
    index: ImageIndex
    id: int
    entry: NewEntry


def merge(into: Path, others: Sequence[Path]) -> Merged:
    """Add the images of the indexes `others` to the one at `into`, which is begun where there is none.

    Images with the same bytes count once: the one that is there, else the one whose file's name comes first. A
    image that was removed from one of the others isn't taken from that one; one that was removed from `into` is there
    again if another has it, as with every addition.

    Raises InvalidRequestError for the same index twice, or the same key for two images; ReadOnlyIndexError while one
    of them is being changed; IndexStoreError, before anything is added, unless all were made by the same network, crops
    and kind of rows and every row has its checksum.
    """
    paths = [into, *others]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InvalidRequestError("expected different indexes, found one of them twice")
    if on_milvus(into):
        raise IndexStoreError("expected a folder to merge into, found Milvus: there, many may add to one collection")
    with ExitStack() as opened:
        found = [_opened(path, opened) for path in others]
        settings = [Settings.read(index.catalog, index.path) for index in found]
        for index, its in zip(found, settings, strict=True):
            _require_alike(index.path, its, others[0], settings[0])
            _require_whole(index)
        target = opened.enter_context(closing(_begun(into, settings[0])))
        _require_alike(into, Settings.read(target.catalog, into), others[0], settings[0])
        _require_whole(target)
        added = 0
        with tqdm(total=sum(map(len, found)), desc="merging", unit="image", disable=None) as bar:
            for batch in _batches(heapq.merge(*map(_images, found), key=_name)):
                added += _add_new(target, batch)
                bar.update(len(batch))
        return Merged(len(target), added, sum(map(len, found)) - added)


def _opened(path: Path, opened: ExitStack) -> ImageIndex:
    """An index to read, which nobody changes meanwhile: one that is still being made isn't merged by mistake."""
    if (path / CATALOG).is_file():
        with suppress(OSError):  # on a disk that can't be written nobody changes it
            opened.enter_context(lock(path))
    return opened.enter_context(closing(ImageIndex.open(path)))


def _begun(path: Path, settings: Settings) -> ImageIndex:
    path.mkdir(parents=True, exist_ok=True)
    with lock(path), closing(Catalog(path / CATALOG)) as catalog:
        settings.repeat(catalog)
    return ImageIndex(path, writable=True)


def _require_alike(path: Path, settings: Settings, other: Path, others: Settings) -> None:
    if replace(settings, features=1) != replace(others, features=1):
        raise IndexStoreError(
            f"expected indexes of the same network, crops and rows, found {path} and {other} made by others: "
            "their distances mean nothing to each other"
        )


def _require_whole(index: ImageIndex) -> None:
    for number, fault in index.damaged.items():
        raise IndexStoreError(
            f"expected whole images in {index.path}, found {len(index.damaged):,} damaged, such as {number} "
            f"({fault}): `alexnet index compact` takes them out, adding their files again brings them back"
        )


def _images(index: ImageIndex) -> Iterator[_Image]:
    """All, by id."""
    after = 0
    while some := index.catalog.stored(after, BATCH):
        yield from (_Image(index, number, entry) for number, entry in some)
        after = some[-1][0]


def _name(image: _Image) -> tuple[str, ...]:
    """What orders files as `index.build.find_images` does; images that came without one are first."""
    return () if image.entry.source is None else image.entry.source.parts


def _batches(images: Iterable[_Image]) -> Iterator[list[_Image]]:
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _add_new(target: ImageIndex, images: Sequence[_Image]) -> int:
    """Add those whose bytes aren't there, once each; how many."""
    fresh: dict[str, _Image] = {}
    for image in images:
        fresh.setdefault(image.entry.sha256, image)
    for sha256, (_, removed) in target.catalog.known(list(fresh)).items():
        if not removed:
            del fresh[sha256]
    if fresh:
        features = np.stack([image.index.feature(image.id) for image in fresh.values()])
        target.add(features, [image.entry for image in fresh.values()])
    return len(fresh)
