"""Images -> an index: read, compute features, add; with a progress bar, and restartable at any moment."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from index.catalog import NewEntry
from index.protocol import Index
from index.shards import Shard
from model.exceptions import DatasetError, InvalidImageError
from model.images.preprocess import DecodedImage, decode_image
from model.runtime import OnnxModel, available_cpus

BATCH = 16
THUMBNAIL_SIDE = 128
PARTS = ("train", "val", "validation", "test")


@dataclass(frozen=True)
class Source:
    """An image file to index, and its label if it has one."""

    path: Path
    label: str | None


@dataclass(frozen=True)
class Report:
    """How many images were added, were there already (same bytes), and can't be read."""

    added: int
    known: int
    skipped: int


@dataclass(frozen=True)
class _Read:
    pixels: NDArray[np.uint8]
    entry: NewEntry


def build(index: Index, model: OnnxModel, sources: Sequence[Source]) -> Report:
    """Add all `sources`. What was added before an interruption is found again by its checksum and not computed anew."""
    added = known = skipped = 0
    batches = [sources[start : start + BATCH] for start in range(0, len(sources), BATCH)]
    with (
        ThreadPoolExecutor(available_cpus()) as pool,
        tqdm(total=len(sources), desc="indexing", unit="image", disable=None) as bar,
    ):
        ahead = _submit(pool, index, batches[0]) if batches else []
        for position, batch in enumerate(batches):
            results = [future.result() for future in ahead]
            ahead = _submit(pool, index, batches[position + 1]) if position + 1 < len(batches) else []
            for source, result in zip(batch, results, strict=True):
                if isinstance(result, str):
                    tqdm.write(f"skipped {str(source.path)!a}: {result}")
            unreadable = sum(isinstance(result, str) for result in results)
            new = _add_new(index, model, [result for result in results if isinstance(result, _Read)])
            added, known, skipped = added + new, known + len(batch) - new - unreadable, skipped + unreadable
            bar.update(len(batch))
    return Report(added, known, skipped)


def find_images(root: Path, shard: Shard | None = None) -> list[Source]:
    """Every visible file below a folder; the label is the name of its first subfolder after a train/val/test part.

    `shard`: only that part's files, since a list of all of them may be too long for one machine. Raises DatasetError.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a folder of images, found no folder at {root}")
    chosen, found = list[Path](), False
    for path in _files(root):
        found = True
        if shard is None or shard.has(path, root):
            chosen.append(path)
    if not found:
        raise DatasetError(f"expected images in {root}, found no file")
    return [Source(path, _label(path, root)) for path in sorted(chosen)]


def _files(folder: Path) -> Iterator[Path]:
    """The visible ones below it, one at a time: a list of all might not fit. Links to folders aren't followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)


def _label(path: Path, root: Path) -> str | None:
    folders = list(path.relative_to(root).parts[:-1])
    if folders and folders[0] in PARTS:
        folders = folders[1:]
    return folders[0].replace("_", " ") if folders else None


def _submit(pool: ThreadPoolExecutor, index: Index, batch: Sequence[Source]) -> list[Future[_Read | str | None]]:
    return [pool.submit(_read, index, source) for source in batch]


def _add_new(index: Index, model: OnnxModel, images: Sequence[_Read]) -> int:
    """Add those images whose bytes aren't in the index, once each; how many."""
    fresh: dict[str, _Read] = {}
    for image in images:
        fresh.setdefault(image.entry.sha256, image)
    for sha256, (_, removed) in index.catalog.known(list(fresh)).items():
        if not removed:
            del fresh[sha256]
    if fresh:
        new = list(fresh.values())
        features = model.features(np.stack([image.pixels for image in new]), index.crops)
        index.add(features, [image.entry for image in new])
    return len(fresh)


def _read(index: Index, source: Source) -> _Read | str | None:
    """The image; None if its bytes are in the index already; or why it can't be read."""
    try:
        f"{source.path.resolve()}{source.label or ''}".encode()
        data = source.path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if not index.catalog.known([sha256]).get(sha256, (0, True))[1]:
            return None
        image = decode_image(data)
    except UnicodeEncodeError:
        return "expected a file name in UTF-8, found another encoding"
    except (InvalidImageError, OSError) as error:
        return str(error)
    return _Read(image.pixels, new_entry(data, image, source.label, source.path.resolve()))


def new_entry(
    data: bytes, image: DecodedImage, label: str | None, source: Path | None, key: str | None = None
) -> NewEntry:
    """What the catalog keeps of an image that was read from `data`."""
    return NewEntry(
        sha256=hashlib.sha256(data).hexdigest(),
        label=label,
        source=source,
        format=image.format,
        width=image.width,
        height=image.height,
        thumbnail=thumbnail(image.pixels),
        key=key,
    )


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """(256, 256, 3) uint8 -> JPEG bytes, 128 x 128."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
