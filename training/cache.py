"""All pictures of a data set decoded once: a uint8 memory map, the mean picture and the RGB covariance.

One pass: each file is read, brought to 256 x 256 by the picture contract, and added to exact integer sums, so that the
statistics depend neither on order nor on rounding. The pass is restartable; broken files are listed and skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.errors import DatasetError, InvalidPictureError
from model.preprocess import CONTRACT, SIDE, read_picture
from model.runtime import available_cpus
from training.datasets import Dataset, Example

CHUNK = 256


@dataclass(frozen=True)
class PictureCache:
    """`pictures` (N, 256, 256, 3) uint8 in the order of `dataset.examples`; `skipped`: row -> what is wrong with it.

    `mean` (256, 256, 3) float32 and `covariance` (3, 3) float64 are over the training part, pixels 0..255.
    """

    pictures: NDArray[np.uint8]
    mean: NDArray[np.float32]
    covariance: NDArray[np.float64]
    skipped: dict[int, str]

    def rows(self, dataset: Dataset, part: str) -> NDArray[np.int64]:
        """The rows of one part whose files could be read."""
        start = {"train": 0, "validation": len(dataset.train)}.get(part, len(dataset.train) + len(dataset.validation))
        rows = np.arange(start, start + len(dataset.parts()[part]))
        return rows[~np.isin(rows, list(self.skipped))]


def build(dataset: Dataset, root: Path) -> PictureCache:
    """Open the cache of `dataset` below `root`, decoding what isn't there yet. Raises DatasetError."""
    examples = dataset.examples
    home = root / f"{dataset.name}-{_fingerprint(dataset)}"
    home.mkdir(parents=True, exist_ok=True)
    size = len(examples) * SIDE * SIDE * 3
    store = home / "pictures.u8"
    progress = _Progress(home / "progress.npz")
    if store.is_file() and store.stat().st_size == size:
        progress.load()
    else:
        _reserve(store, size)
    pictures = np.memmap(store, np.uint8, "r+", shape=(len(examples), SIDE, SIDE, 3))
    _decode(examples, len(dataset.train), pictures, progress)
    _report(dataset, progress.skipped, home)
    mean, covariance = progress.statistics()
    return PictureCache(pictures, mean, covariance, progress.skipped)


def _fingerprint(dataset: Dataset) -> str:
    """Changes when a file, its part, or the picture contract changes."""
    digest = hashlib.sha256(CONTRACT.encode())
    for part, examples in dataset.parts().items():
        for example in examples:
            try:
                stat = example.path.stat()
            except OSError as error:
                raise DatasetError(f"expected a picture at {example.file}, found: {error.strerror}") from error
            path = example.path.absolute()
            digest.update(f"{part}\0{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _reserve(path: Path, size: int) -> None:
    """Take the space at once: running out of it later would kill the process without a word."""
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DatasetError(f"expected {size:,} bytes of free space for {path}, found: {error.strerror}") from error


class _Progress:
    """How many pictures are done, what was skipped, and the integer sums over the training part so far."""

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, 0
        self.skipped: dict[int, str] = {}
        self.count = 0
        self.image_sum = np.zeros((SIDE, SIDE, 3), np.int64)
        self.outer_sum = np.zeros((3, 3), np.int64)

    def load(self) -> None:
        """Take up what was saved; from the start if nothing whole was."""
        try:
            with np.load(self.path) as saved:
                values = {name: saved[name] for name in saved.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return
        self.done, self.count = int(values["done"]), int(values["count"])
        self.skipped = {int(row): reason for row, reason in json.loads(str(values["skipped"])).items()}
        self.image_sum, self.outer_sum = values["image_sum"], values["outer_sum"]

    def save(self) -> None:
        partial = self.path.with_suffix(".partial.npz")
        np.savez(
            partial,
            done=self.done,
            count=self.count,
            skipped=json.dumps(self.skipped),
            image_sum=self.image_sum,
            outer_sum=self.outer_sum,
        )
        os.replace(partial, self.path)

    def add(self, pictures: NDArray[np.uint8]) -> None:
        """Add (N, 256, 256, 3) training pictures to the sums; products of bytes are exact in float64."""
        self.count += len(pictures)
        self.image_sum += pictures.sum(0, dtype=np.int64)
        for picture in pictures:
            pixels = picture.reshape(-1, 3).astype(np.float64)
            self.outer_sum += np.rint(pixels.T @ pixels).astype(np.int64)

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Mean picture and the 3 x 3 covariance of all training pixels."""
        if not self.count:
            raise DatasetError("expected readable pictures to train on, found none")
        pixels = self.count * SIDE * SIDE
        mean_rgb = self.image_sum.sum((0, 1)) / pixels
        covariance = self.outer_sum / pixels - np.outer(mean_rgb, mean_rgb)
        return (self.image_sum / self.count).astype(np.float32), covariance


def _decode(examples: Sequence[Example], train: int, pictures: NDArray[np.uint8], progress: _Progress) -> None:
    if progress.done == len(examples):
        return
    workers = available_cpus()
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(examples), initial=progress.done, desc="reading pictures", unit="picture", disable=None) as bar,
    ):
        for start in range(progress.done, len(examples), CHUNK):
            rows = range(start, min(start + CHUNK, len(examples)))
            for row, result in zip(rows, pool.map(_read, (examples[row].path for row in rows)), strict=True):
                if isinstance(result, str):
                    progress.skipped[row] = result
                else:
                    pictures[row] = result
                bar.update()
            good = [row for row in rows if row < train and row not in progress.skipped]
            progress.add(pictures[good])
            pictures.flush()  # type: ignore[attr-defined]
            progress.done = rows.stop
            progress.save()


def _read(path: Path) -> NDArray[np.uint8] | str:
    try:
        return read_picture(path.read_bytes()).pixels
    except (InvalidPictureError, OSError) as error:
        return str(error)


def _report(dataset: Dataset, skipped: dict[int, str], home: Path) -> None:
    """Name the files that were skipped, and refuse a class of which none is left to train on."""
    examples = dataset.examples
    if skipped:
        listing = home / "skipped.txt"
        listing.write_text("".join(f"{examples[row].path}\t{reason}\n" for row, reason in skipped.items()))
        tqdm.write(
            f"skipped {len(skipped):,} of {len(examples):,} files that can't be read; all are listed in {listing}"
        )
        for row, reason in list(skipped.items())[:5]:
            tqdm.write(f"  {examples[row].path}: {reason}")
    left = {example.label for row, example in enumerate(dataset.train) if row not in skipped}
    lost = [label.name for position, label in enumerate(dataset.labels) if position not in left]
    if lost:
        raise DatasetError(
            f"expected readable pictures to train on in every class, found none in: {', '.join(lost[:5])}"
        )


def batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive slices of `rows`; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
