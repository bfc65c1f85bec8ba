"""Measure training speed with images from the cache, and the share of time spent waiting for them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.artifacts.artifact import Label
from training.config import DeviceCache, Environment, NetworkOptions, RecipeOptions, TrainConfig, TrainingPrecision
from training.data.cache import ImageCache
from training.data.copies import find_copies
from training.data.datasets import Dataset, Example
from training.data.storage import RawImages
from training.data.traits import TRAITS
from training.loop.device_cache import keep_on_device
from training.loop.distributed import DistributedContext
from training.loop.engine import TrainingEngine
from training.optim.initial_weights import InitialState

NUM_IMAGES, NUM_STEPS, WARMUP_STEPS = 4096, 30, 10
CHUNK_ROWS = 256
PATTERN_SIZE = 8
NOISE = 48


class SyntheticImages(NamedTuple):
    """Images of several classes, and the cache that holds them."""

    dataset: Dataset
    cache: ImageCache


@contextmanager
def create_images(num_images: int = NUM_IMAGES, num_classes: int = 1000) -> Iterator[SyntheticImages]:
    """Images that exist in this context: a coarse pattern per class plus noise; image n has class n mod `num_classes`.

    They have no files.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield open_images(Path(folder), num_images, num_classes)


def open_images(folder: Path, num_images: int, num_classes: int) -> SyntheticImages:
    """The images of `create_images` in a folder; images already there are reused."""
    labels = tuple(Label(id=str(number), name=str(number)) for number in range(num_classes))
    examples = tuple(Example("", number % num_classes) for number in range(num_images))
    dataset = Dataset("noise", "", "", labels, examples, (), ())
    images = RawImages(folder, num_images)
    exists = images.path.exists()
    images.resume(0)
    if not exists:
        _draw(images, num_classes)
    traits = np.zeros(num_images, TRAITS)
    copies = find_copies(dataset, traits)
    mean, covariance = np.full((256, 256, 3), 127.5, np.float32), 5400 * np.eye(3)
    return SyntheticImages(dataset, ImageCache(images, mean, covariance, {}, traits, copies))


def _draw(images: RawImages, num_classes: int) -> None:
    generator = np.random.default_rng(0)
    patterns = generator.integers(NOISE, 256 - NOISE, (num_classes, PATTERN_SIZE, PATTERN_SIZE, 3), np.uint8)
    repeats = 256 // PATTERN_SIZE
    for start in range(0, images.count, CHUNK_ROWS):
        rows = np.arange(start, min(start + CHUNK_ROWS, images.count))
        coarse = patterns[rows % num_classes] - np.uint8(NOISE)
        pixels = coarse.repeat(repeats, 1).repeat(repeats, 2)
        pixels += generator.integers(0, 2 * NOISE, pixels.shape, np.uint8)
        for row, image in zip(rows, pixels, strict=True):
            images.write(int(row), image, b"")
    images.flush()


def create_engine(
    images: SyntheticImages,
    context: DistributedContext,
    batch_size: int,
    precision: TrainingPrecision,
    is_compiled: bool = False,
    network: NetworkOptions | None = None,
    recipe: str = "paper",
    device_cache: DeviceCache = "auto",
) -> TrainingEngine:
    """The engine that training/run.py uses, with the initial weights of the paper's authors.

    `device_cache`: whether the images are kept in the device's memory; `auto` as in training/run.py.
    """
    config = TrainConfig.create(
        RecipeOptions(recipe, batch_size=batch_size, initialization="source"),
        network,
        environment=Environment(precision=precision, compile=is_compiled, device_cache=device_cache),
    )
    initial = InitialState.create(config, images.dataset.labels)
    engine = TrainingEngine(config, images.dataset, images.cache, context, initial)
    stored = images.cache.images
    rows = np.arange(stored.count), np.empty(0, np.int64)
    engine.loader.device_images = keep_on_device(device_cache, stored, rows, 2 * batch_size, context, lambda: False)
    return engine


def measure_loading(
    engine: TrainingEngine, num_steps: int = NUM_STEPS, warmup_steps: int = WARMUP_STEPS
) -> dict[str, float]:
    """Images per second of training steps as in training/run.py, cropping and copying included.

    `data_stall`: fraction of the time in which steps waited for images.
    """
    batch_size = engine.recipe.batch_size
    order = np.resize(np.arange(engine.loader.cache.images.count), (num_steps + warmup_steps) * batch_size)
    for step, sums in engine.run_epoch(order, 1, 0):
        if step == warmup_steps - 1:
            sums.sum().item()  # waits for the GPU
            start, engine.loader.stall_seconds = time.perf_counter(), 0.0
    sums.sum().item()
    seconds = time.perf_counter() - start
    return {
        "images_per_second": num_steps * batch_size / seconds,
        "data_stall": engine.loader.stall_seconds / seconds,
    }


def train_steps(engine: TrainingEngine, num_steps: int) -> list[float]:
    """Run steps, starting at the first image. Returns the loss of each."""
    batch_size = engine.recipe.batch_size
    order = np.resize(np.arange(engine.loader.cache.images.count), num_steps * batch_size)
    losses = []
    for _, sums in engine.run_epoch(order, 1, 0):
        losses.append(float(sums[0]) / batch_size)
        sums.zero_()
    return losses
