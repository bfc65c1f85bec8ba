"""All images of a data set decoded once, with the mean image and the RGB covariance of the training part.

One pass: each file is read, brought to 256 x 256 by the image contract, and added to exact integer sums, so that the
statistics depend neither on order nor on rounding. The pass is restartable; broken files are listed and skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.exceptions import DatasetError, InvalidImageError
from model.images.preprocess import CONTRACT, SIDE, decode_image
from model.lock import alone
from model.runtime import available_cpus
from training.data.datasets import Dataset, Example
from training.data.storage import JpegImages, Pixels, RawImages

CHUNK = 256
SAVE_SECONDS = 10

Format = Literal["raw", "jpeg"]


@dataclass(frozen=True)
class ImageCache:
    """`images`: N of 256 x 256 in the order of `dataset.examples`; `skipped`: row -> what is wrong with it.

    `mean` (256, 256, 3) float32 and `covariance` (3, 3) float64 are over the training part, pixels 0..255.
    """

    images: RawImages | JpegImages
    mean: NDArray[np.float32]
    covariance: NDArray[np.float64]
    skipped: dict[int, str]

    def rows(self, dataset: Dataset, part: str) -> NDArray[np.int64]:
        """The rows of one part whose files could be read."""
        start = {"train": 0, "validation": len(dataset.train)}.get(part, len(dataset.train) + len(dataset.validation))
        rows = np.arange(start, start + len(dataset.parts()[part]))
        return rows[~np.isin(rows, list(self.skipped))]


def build(dataset: Dataset, root: Path, form: Format = "raw") -> ImageCache:
    """Open the cache of `dataset` below `root`, decoding what isn't there yet. Raises DatasetError.

    One process at a time works on a cache; others wait, and find it finished.
    """
    home = root / f"{dataset.name}-{_fingerprint(dataset, form)}"
    home.mkdir(parents=True, exist_ok=True)
    with alone(home / "lock", "reading the same images into the cache"):
        images = (JpegImages if form == "jpeg" else RawImages)(home, len(dataset.examples))
        progress = _Progress(home / "progress.npz")
        progress.load()
        if not images.go_on(progress.done):
            progress.path.unlink()  # first: killed from here on, the next run must not believe it
            progress = _Progress(progress.path)
            images.go_on(0)
        _decode(dataset.examples, len(dataset.train), images, progress)
    _report(dataset, progress.skipped, home)
    mean, covariance = progress.statistics()
    return ImageCache(images, mean, covariance, progress.skipped)


def _fingerprint(dataset: Dataset, form: Format) -> str:
    """Changes when a file, its part, or the image contract changes."""
    digest = hashlib.sha256(f"{CONTRACT} {form}".encode())
    for part, examples in dataset.parts().items():
        for example in examples:
            try:
                stat = example.path.stat()
            except OSError as error:
                raise DatasetError(f"expected an image at {example.file}, found: {error.strerror}") from error
            digest.update(f"{part}\0{example.path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


class _Progress:
    """How many images are done, what was skipped, and the integer sums over the training part so far."""

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

    def add(self, image: Pixels) -> None:
        """Add a (256, 256, 3) training image to the sums; they hold a hundred million images exactly."""
        from training.data.crop_kernels import add_to_sums

        self.count += 1
        add_to_sums(image, self.image_sum, self.outer_sum)

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Mean image and the 3 x 3 covariance of all training pixels."""
        if not self.count:
            raise DatasetError("expected readable images to train on, found none")
        pixels = self.count * SIDE * SIDE
        mean_rgb = self.image_sum.sum((0, 1)) / pixels
        covariance = self.outer_sum / pixels - np.outer(mean_rgb, mean_rgb)
        return (self.image_sum / self.count).astype(np.float32), covariance


def _decode(examples: Sequence[Example], train: int, images: RawImages | JpegImages, progress: _Progress) -> None:
    """Read what isn't done yet: decoders on all cores, a chunk ahead of the one that is written."""
    if progress.done == len(examples):
        return
    title = "reading images"
    with (
        ThreadPoolExecutor(available_cpus()) as pool,
        tqdm(total=len(examples), initial=progress.done, desc=title, unit="image", smoothing=0, disable=None) as bar,
    ):

        def submit(start: int) -> list[Future[Any]]:
            return [pool.submit(_read, example.path, images) for example in examples[start : start + CHUNK]]

        ahead, saved = submit(progress.done), time.monotonic()
        for start in range(progress.done, len(examples), CHUNK):
            current, ahead = ahead, submit(start + CHUNK)
            for row, future in enumerate(current, start):
                result = future.result()
                if isinstance(result, str):
                    progress.skipped[row] = result
                    images.write(row, np.zeros((SIDE, SIDE, 3), np.uint8), b"")
                else:
                    images.write(row, *result)
                    if row < train:
                        progress.add(result[0])
                bar.update()
            progress.done = start + len(current)
            if time.monotonic() - saved > SAVE_SECONDS or progress.done == len(examples):
                try:
                    images.flush()
                    progress.save()
                except OSError as error:
                    raise DatasetError(
                        f"expected space for the cache in {progress.path.parent}, found: {error.strerror}; "
                        "what was saved is kept, and the same command goes on from there"
                    ) from error
                saved = time.monotonic()


def _read(path: Path, images: RawImages | JpegImages) -> tuple[Pixels, bytes] | str:
    try:
        return images.encode(decode_image(path.read_bytes()).pixels)
    except (InvalidImageError, OSError) as error:
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
        raise DatasetError(f"expected readable images to train on in every class, found none in: {', '.join(lost[:5])}")


def batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive slices of `rows`; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
