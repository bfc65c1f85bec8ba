"""The image cache: all images of a dataset decoded once, with the mean image and RGB covariance of the training split.

One pass: each file is read, brought to 256 x 256 by the image contract, and added to exact integer sums, so that the
statistics depend neither on order nor on rounding. The pass can be resumed; broken files are listed and skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.datasets.listing import Skipped, describe_unreadable, write_skipped
from model.exceptions import DatasetError
from model.files import atomic_write, exclusive_lock
from model.images.contract import DEFAULT_CONTRACT, IMAGE_SIZE, ImageContract
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.thread_pool import ordered_map
from training.data.copies import Copies, find_copies
from training.data.crop_kernels import add_to_sums
from training.data.datasets import Dataset, Example
from training.data.refusals import find_refusals
from training.data.storage import JpegImages, Pixels, RawImages
from training.data.traits import TRAITS, Traits, TraitsFile, decode_with_traits, open_traits

MAX_NAME_BYTES = 100
"""Bytes of a data set's name kept in its cache folder's: names in a file system have at most 255 bytes."""
CHUNK = 256
"""Images between two checks of whether it is time to save."""
AHEAD = 512
"""Decoded images that may wait to be written: 100 MB."""
SAVE_SECONDS = 10

CacheFormat = Literal["raw", "jpeg"]
DecodeRow = Callable[[int], "tuple[Pixels, bytes, Traits] | Skipped"]


class Reduction(NamedTuple):
    """The first `num_images` images are reduced to `detail` pixels a side and enlarged again when they are read."""

    detail: int
    num_images: int


@dataclass(frozen=True)
class ImageCache:
    """Decoded images of a dataset, and their statistics.

    `images`: N of 256 x 256 in the order of `dataset.examples`. `skipped`: row -> the file that isn't used, and why: it
    couldn't be decoded, or is one of `copies`. `mean` (256, 256, 3) float32 and `covariance` (3, 3) float64: of the
    used images of the training split, pixels 0..255. `traits` (N,): see `training.data.traits`.
    """

    images: RawImages | JpegImages
    mean: NDArray[np.float32]
    covariance: NDArray[np.float64]
    skipped: dict[int, Skipped]
    traits: Traits
    copies: Copies
    reduction: Reduction | None = None

    def with_channel_mean(self) -> ImageCache:
        """The same with the mean of each channel in place of the mean image."""
        mean = self.mean.mean((0, 1), dtype=np.float64).astype(np.float32)
        return self.with_mean(np.broadcast_to(mean, self.mean.shape).copy())

    def with_mean(self, mean: NDArray[np.float32]) -> ImageCache:
        """The same with another mean image, such as that of the network a run starts from."""
        return replace(self, mean=mean)

    def reduced(self, detail: int | None, num_images: int) -> ImageCache:
        """The same with the first `num_images` images reduced to `detail`, as a network reads them when it is served: a
        run that degrades its training images stores them in full detail."""
        return self if detail is None else replace(self, reduction=Reduction(detail, num_images))

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(N, 256, 256, 3) uint8 pixels of the images in `rows`."""
        pixels = self.images.read(rows)
        if self.reduction is None:
            return pixels
        detail, pixels = self.reduction.detail, pixels.copy()
        for number in np.flatnonzero(rows < self.reduction.num_images):
            small = Image.fromarray(pixels[number]).resize((detail, detail), Image.Resampling.BILINEAR)
            pixels[number] = np.asarray(small.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))
        return pixels

    def digests(self) -> NDArray[np.int64]:
        """Checksum of each image's pixels, (N, 2); zeros for a file that can't be decoded."""
        return np.array(self.traits["digest"]).view(np.int64)

    def rows(self, dataset: Dataset, split: str) -> NDArray[np.int64]:
        """The rows of one split that are used."""
        start = {"train": 0, "validation": len(dataset.train)}.get(split, len(dataset.train) + len(dataset.validation))
        rows = np.arange(start, start + len(dataset.splits()[split]))
        return rows[~np.isin(rows, list(self.skipped))]


def build_cache(
    dataset: Dataset,
    root: Path,
    cache_format: CacheFormat = "raw",
    drop_near_duplicates: bool = False,
    contract: ImageContract = DEFAULT_CONTRACT,
    limits: ImageLimits = DEFAULT_LIMITS,
    train_contract: ImageContract | None = None,
    show: bool = True,
) -> ImageCache:
    """Open the cache of `dataset` below `root`, decoding the images that it doesn't have yet. Raises DatasetError.

    One process at a time works on a cache; others wait, and find it complete. `drop_near_duplicates`: see
    `training.data.copies.find_copies`. `train_contract`: that of the training images, if it differs. `show`: whether
    this process says which files can't be decoded.
    """
    contracts = (train_contract or contract, contract)
    name = os.fsencode(dataset.name)[:MAX_NAME_BYTES].decode(errors="ignore")
    folder = root / f"{name}-{_fingerprint(dataset, cache_format, contracts, limits)}"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / "lock", "reading the same images into the cache"):
        images = (JpegImages if cache_format == "jpeg" else RawImages)(folder, len(dataset.examples))
        examples, num_train = dataset.examples, len(dataset.train)

        def decode(row: int) -> tuple[Pixels, bytes, Traits] | Skipped:
            return decode_example(examples[row], images, contracts[row >= num_train], limits)

        images.repair = partial(_decode_again, decode)
        progress = _Progress(folder / "progress.npz")
        progress.load()
        traits, has_traits = open_traits(folder / "traits.bin", len(dataset.examples))
        if (progress.done and not has_traits) or not images.resume(progress.done):
            tqdm.write(f"the cache in {folder} is damaged: its images are decoded again")
            progress.path.unlink()  # first: if the process is killed later, the next run must not trust it
            progress = _Progress(progress.path)
            images.resume(0)
        _decode_rest(len(examples), num_train, decode, images, traits, progress)
        _list_unreadable(dataset, progress.skipped, folder, show)  # all processes of a run write the same file
    _check(dataset, progress.skipped)
    copies = find_copies(dataset, traits, drop_near_duplicates)
    skipped = progress.skipped | dict(copies.left_out)
    _check(dataset, skipped)
    for row in [row for row in copies.left_out if row < len(dataset.train)]:
        progress.remove(images.read(np.array([row]))[0])
    mean, covariance = progress.statistics()
    return ImageCache(images, mean, covariance, skipped, traits, copies)


def _fingerprint(
    dataset: Dataset, cache_format: CacheFormat, contracts: tuple[ImageContract, ImageContract], limits: ImageLimits
) -> str:
    """Changes when a file, its split, an image contract, the image limits or the cache format changes."""
    names = " ".join(dict.fromkeys(contract.name for contract in contracts))
    digest = hashlib.sha256(f"{names} {limits} {cache_format} 5".encode())
    for split, examples in dataset.splits().items():
        for example in examples:
            try:
                status = example.path.stat()
                state = f"{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"  # mtime alone can be set
            except OSError as error:  # it will be skipped
                state = str(error.errno)
            line = f"{split}\0{example.path.absolute()}\0{state}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


class _Progress:
    """How many images are done, which were skipped, and the integer sums over the training split so far."""

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, 0
        self.skipped: dict[int, Skipped] = {}
        self.count = 0
        self.image_sum = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.int64)
        self.outer_sum = np.zeros((3, 3), np.int64)

    def load(self) -> None:
        """Load what was saved. Start from zero if there is nothing or, with a message, if it is damaged."""
        if not self.path.is_file():
            return
        try:
            with self.path.open("rb") as file, np.load(file) as saved:  # a zip file: its checksums are verified
                values = {name: saved[name] for name in saved.files}
            done, count = int(values["done"]), int(values["count"])
            skipped = {int(row): Skipped(*entry) for row, entry in json.loads(str(values["skipped"])).items()}
            image_sum, outer_sum = values["image_sum"], values["outer_sum"]
        except Exception as error:  # zipfile, NumPy and json can raise almost anything for damage
            tqdm.write(f"{self.path} is damaged ({type(error).__name__}): the images are decoded again")
            return
        self.done, self.count, self.skipped = done, count, skipped
        self.image_sum, self.outer_sum = image_sum, outer_sum

    def save(self) -> None:
        with atomic_write(self.path, "wb") as file:
            np.savez(
                file,
                done=self.done,
                count=self.count,
                skipped=json.dumps(self.skipped),
                image_sum=self.image_sum,
                outer_sum=self.outer_sum,
            )

    def add(self, image: Pixels) -> None:
        """Add a (256, 256, 3) training image to the sums; they hold a hundred million images exactly."""
        self.count += 1
        add_to_sums(image, self.image_sum, self.outer_sum)

    def remove(self, image: Pixels) -> None:
        """Subtract an image that was added from the sums."""
        image_sum, outer_sum = np.zeros_like(self.image_sum), np.zeros_like(self.outer_sum)
        add_to_sums(image, image_sum, outer_sum)
        self.count -= 1
        self.image_sum -= image_sum
        self.outer_sum -= outer_sum

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Mean image and the 3 x 3 covariance of all training pixels."""
        if not self.count:
            raise DatasetError("no image of the training split can be decoded")
        pixels = self.count * IMAGE_SIZE * IMAGE_SIZE
        mean_rgb = self.image_sum.sum((0, 1)) / pixels
        covariance = self.outer_sum / pixels - np.outer(mean_rgb, mean_rgb)
        return (self.image_sum / self.count).astype(np.float32), covariance


def _decode_rest(
    num_images: int,
    num_train: int,
    decode: DecodeRow,
    images: RawImages | JpegImages,
    traits: TraitsFile,
    progress: _Progress,
) -> None:
    """Decode the remaining images on all cores, and save the progress every few seconds."""
    start, saved = progress.done, time.monotonic()
    decoded = ordered_map(decode, range(start, num_images), ahead=AHEAD)
    with tqdm(total=num_images, initial=start, desc="reading images", unit="image", smoothing=0, disable=None) as bar:
        for row, result in enumerate(decoded, start):
            if isinstance(result, Skipped):
                progress.skipped[row] = result
                images.write(row, np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), b"")
                traits[row] = np.zeros((), TRAITS)
            else:
                pixels, encoded, traits[row] = result
                images.write(row, pixels, encoded)
                if row < num_train:
                    progress.add(pixels)
            bar.update()
            last = row + 1 == num_images
            if (row + 1 - start) % CHUNK and not last:
                continue
            progress.done = row + 1
            if last or time.monotonic() - saved > SAVE_SECONDS:
                _save(images, traits, progress)
                saved = time.monotonic()


def _save(images: RawImages | JpegImages, traits: TraitsFile, progress: _Progress) -> None:
    try:
        images.flush()
        traits.flush()
        progress.save()
    except OSError as error:
        raise DatasetError(
            f"cannot write the cache in {progress.path.parent}: {error.strerror}; free some space and run the same "
            "command again to resume it"
        ) from error


def decode_example(
    example: Example, images: RawImages | JpegImages, contract: ImageContract, limits: ImageLimits
) -> tuple[Pixels, bytes, Traits] | Skipped:
    """The pixels of a file as `images` stores them, their encoded bytes and traits; or why it can't be decoded."""
    result = decode_with_traits(example.file, contract, limits)
    if isinstance(result, Skipped):
        return result
    decoded, traits = result
    return *images.encode(decoded.pixels), traits


def _decode_again(decode: DecodeRow, row: int) -> tuple[Pixels, bytes]:
    """Pixels and encoded bytes of an image that is damaged in the cache. Raises DatasetError."""
    result = decode(row)
    if isinstance(result, Skipped):
        raise DatasetError(f"an image in the cache is damaged, and decoding it again failed: {result}")
    return result[0], result[1]


def _list_unreadable(dataset: Dataset, skipped: dict[int, Skipped], folder: Path, show: bool) -> None:
    """Write a list of the files that can't be decoded; with `show`, also log the first ones."""
    if not skipped:
        return
    listing = folder / "skipped.txt"
    write_skipped(listing, list(skipped.values()))
    if show:
        tqdm.write(describe_unreadable(list(skipped.values()), len(dataset.examples), f"listed in {listing}"))


def _check(dataset: Dataset, skipped: dict[int, Skipped]) -> None:
    """Raise DatasetError if the images that are left can't be trained on."""
    if refusals := find_refusals(dataset, skipped):
        raise DatasetError(refusals[0])


def batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive slices of `rows`; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
