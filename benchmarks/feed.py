"""training/run.py's own steps on images out of a cache: what feeding them costs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.artifacts.artifact import Label
from training.config import RECIPES, RunConfig
from training.data.cache import ImageCache
from training.data.datasets import Dataset, Example
from training.data.storage import RawImages
from training.loop.distributed import Processes
from training.loop.train_step import Learner
from training.optim.initial_weights import begin


def fed(batch: int, device: torch.device, precision: str, compiled: bool, steps: int = 30) -> dict[str, float]:
    """Images a second of training/run.py's own steps, out of a cache of 4,096 images: cutting and copying counted;
    and the share of the time in which the steps waited for images."""
    pixels = np.random.default_rng(0).integers(0, 256, (4096, 256, 256, 3), np.uint8)
    recipe = replace(RECIPES["paper"].with_batch(batch), initialization="source")
    chosen = RunConfig(recipe, precision=precision, compiled=compiled)
    labels = tuple(Label(id=str(number), name=str(number)) for number in range(1000))
    examples = tuple(Example("", number % 1000) for number in range(len(pixels)))
    dataset = Dataset("noise", "", "", labels, examples, (), ())
    with tempfile.TemporaryDirectory() as folder:
        stored = RawImages(Path(folder), len(pixels))
        stored.go_on(0)
        stored.map[:] = pixels
        cache = ImageCache(stored, np.full((256, 256, 3), 127.5, np.float32), 5400 * np.eye(3), {})
        learner = Learner(chosen, dataset, cache, Processes(device), begin(chosen, labels))
        order = np.resize(np.arange(len(pixels)), (steps + 10) * batch)
        for step, totals in learner.steps(order, 1, 0):
            if step == 9:
                totals.sum().item()  # waits for what the GPU still has to do
                started, learner.feed.waited = time.perf_counter(), 0.0
        totals.sum().item()
        seconds = time.perf_counter() - started
    return {"images_per_second": steps * batch / seconds, "waited": learner.feed.waited / seconds}
