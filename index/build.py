"""Build an index: read images, compute their features and add them; restartable at any moment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.entries import NewEntry
from index.protocol import Index
from index.shards import Shard
from model.exceptions import DatasetError, InvalidImageError
from model.images.preprocess import decode_image
from model.runtime import OnnxModel
from model.thread_pool import ordered_map

BATCH_SIZE = 16
SPLITS = ("train", "val", "validation", "test")


@dataclass(frozen=True)
class ImageSource:
    """An image file to index, and its label if it has one."""

    path: Path
    label: str | None


@dataclass(frozen=True)
class BuildReport:
    """Number of images that were added, that the index had already (same bytes), and that can't be read."""

    added: int
    existing: int
    unreadable: int


@dataclass(frozen=True)
class _ReadImage:
    pixels: NDArray[np.uint8]
    entry: NewEntry


def build(index: Index, model: OnnxModel, sources: Sequence[ImageSource]) -> BuildReport:
    """Add all `sources`. What the index has already, by its checksum, isn't computed again."""
    added = existing = unreadable = 0
    reads = ordered_map(lambda source: _read(index, source), sources, ahead=BATCH_SIZE)
    with tqdm(total=len(sources), desc="indexing", unit="image", disable=None) as bar:
        for start in range(0, len(sources), BATCH_SIZE):
            batch = sources[start : start + BATCH_SIZE]
            results = list(islice(reads, len(batch)))
            for source, result in zip(batch, results, strict=True):
                if isinstance(result, str):
                    tqdm.write(f"skipped {str(source.path)!a}: {result}")
            num_failed = sum(isinstance(result, str) for result in results)
            num_new = _add_batch(index, model, [result for result in results if isinstance(result, _ReadImage)])
            added, unreadable = added + num_new, unreadable + num_failed
            existing += len(batch) - num_new - num_failed
            bar.update(len(batch))
    return BuildReport(added, existing, unreadable)


def find_images(root: Path, shard: Shard | None = None) -> list[ImageSource]:
    """Every visible file below a folder, by path. Its label is its first subfolder, a train/val/test folder skipped.

    `shard`: only files of this shard, since a list of all may be too long for one machine. Raises DatasetError.
    """
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}")
    paths, is_empty = list[Path](), True
    for path in _iter_files(root):
        is_empty = False
        if shard is None or shard.contains(path, root):
            paths.append(path)
    if is_empty:
        raise DatasetError(f"there is no file in the folder {root}")
    return [ImageSource(path, _label(path, root)) for path in sorted(paths)]


def add_new(
    index: Index,
    entries: Sequence[NewEntry],
    compute_features: Callable[[Sequence[int]], NDArray[np.float32]],
) -> int:
    """Add those of `entries` whose bytes the index doesn't have, once each. Returns how many.

    `compute_features`: numbers of n entries -> their (n, dim) features.
    """
    new: dict[str, int] = {}
    for number, entry in enumerate(entries):
        new.setdefault(entry.sha256, number)
    for sha256, stored in index.catalog.find(list(new)).items():
        if not stored.removed:
            del new[sha256]
    if new:
        numbers = list(new.values())
        index.add(compute_features(numbers), [entries[number] for number in numbers])
    return len(new)


def _iter_files(folder: Path) -> Iterator[Path]:
    """The visible files below a folder, one at a time: a list of all might not fit. Follows no links to folders."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _iter_files(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)


def _label(path: Path, root: Path) -> str | None:
    folders = list(path.relative_to(root).parts[:-1])
    if folders and folders[0] in SPLITS:
        folders = folders[1:]
    return folders[0].replace("_", " ") if folders else None


def _add_batch(index: Index, model: OnnxModel, images: Sequence[_ReadImage]) -> int:
    def compute_features(numbers: Sequence[int]) -> NDArray[np.float32]:
        return model.features(np.stack([images[number].pixels for number in numbers]), index.crops)

    return add_new(index, [image.entry for image in images], compute_features)


def _read(index: Index, source: ImageSource) -> _ReadImage | str | None:
    """The decoded image; None if the index has its bytes already; or why it can't be read."""
    try:
        f"{source.path.resolve()}{source.label or ''}".encode()
        data = source.path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        stored = index.catalog.find([sha256]).get(sha256)
        if stored is not None and not stored.removed:
            return None
        image = decode_image(data)
    except UnicodeEncodeError:
        return "its path is not UTF-8: rename it"
    except (InvalidImageError, OSError) as error:
        return str(error)
    return _ReadImage(image.pixels, NewEntry.from_image(sha256, image, source.label, source.path.resolve()))
