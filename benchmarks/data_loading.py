"""Speed of training with images from the cache, and the share of the time spent waiting for them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from model.artifacts.artifact import Label
from training.config import Environment, RecipeOptions, TrainConfig, TrainingPrecision
from training.data.cache import ImageCache
from training.data.copies import find_copies
from training.data.datasets import Dataset, Example
from training.data.storage import RawImages
from training.data.traits import TRAITS
from training.loop.distributed import DistributedContext
from training.loop.engine import TrainingEngine
from training.optim.initial_weights import InitialState

NUM_IMAGES, WARMUP_STEPS = 4096, 10


def measure_loading(
    batch_size: int, device: torch.device, precision: TrainingPrecision, is_compiled: bool, num_steps: int = 30
) -> dict[str, float]:
    """Images per second of training steps as in training/run.py, cropping and copying included.

    `data_stall`: fraction of the time in which steps waited for images.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 256, 256, 3), np.uint8)
    config = TrainConfig.create(
        RecipeOptions("paper", batch_size=batch_size, initialization="source"),
        environment=Environment(precision=precision, compile=is_compiled),
    )
    labels = tuple(Label(id=str(number), name=str(number)) for number in range(1000))
    examples = tuple(Example("", number % 1000) for number in range(NUM_IMAGES))
    dataset = Dataset("noise", "", "", labels, examples, (), ())
    with tempfile.TemporaryDirectory() as folder:
        images = RawImages(Path(folder), NUM_IMAGES)
        images.resume(0)
        images.map[:] = pixels
        traits = np.zeros(NUM_IMAGES, TRAITS)
        copies = find_copies(dataset, traits)
        cache = ImageCache(images, np.full((256, 256, 3), 127.5, np.float32), 5400 * np.eye(3), {}, traits, copies)
        initial = InitialState.create(config, labels)
        engine = TrainingEngine(config, dataset, cache, DistributedContext(device), initial)
        order = np.resize(np.arange(NUM_IMAGES), (num_steps + WARMUP_STEPS) * batch_size)
        for step, sums in engine.run_epoch(order, 1, 0):
            if step == WARMUP_STEPS - 1:
                sums.sum().item()  # waits for the GPU
                start, engine.loader.stall_seconds = time.perf_counter(), 0.0
        sums.sum().item()
        seconds = time.perf_counter() - start
    return {
        "images_per_second": num_steps * batch_size / seconds,
        "data_stall": engine.loader.stall_seconds / seconds,
    }
