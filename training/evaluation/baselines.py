"""Simple baselines that show whether training a network was worth it; kept in a run's baselines.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from model.artifacts.intervals import Interval, wilson_interval
from model.files import atomic_write
from training.config import TrainConfig
from training.data.cache import ImageCache, batches
from training.data.datasets import Dataset
from training.evaluation.hog import hog_features
from training.evaluation.linear_probe import fit_linear_probe

BASELINES = "baselines.json"
ROWS_PER_BLOCK = 256
MAX_TRAIN_IMAGES, MAX_VALIDATION_IMAGES, MAX_HELD_OUT_IMAGES = 4_000, 1_000, 2_000
"""Maximum number of images for gradient histograms: a random sample if there are more."""
MAX_CPU_SECONDS = 120.0
HOG = "gradient histograms (HOG) and a linear classifier"
NEAREST_NEIGHBOR = "nearest neighbor of the start network's features"
START = "the start network, without further training"
LINEAR = "linear classifier on the start network's features"


@dataclass(frozen=True)
class Baseline:
    """Top-1 error of a baseline on `num_images` of a split, with `num_train_images` of the training split."""

    method: str
    split: str
    top1_error: float
    num_images: int
    num_train_images: int

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the error, by Wilson's method."""
        return wilson_interval(self.top1_error, self.num_images)


def write_baselines(folder: Path, baselines: Sequence[Baseline]) -> None:
    """Write baselines.json of a run. Raises OSError."""
    with atomic_write(folder / BASELINES) as file:
        file.write(json.dumps([asdict(baseline) for baseline in baselines], indent=1) + "\n")


def read_baselines(folder: Path) -> list[Baseline]:
    """The baselines of a run; none if there is no file, or it is damaged."""
    try:
        return TypeAdapter(list[Baseline]).validate_json((folder / BASELINES).read_bytes())
    except (OSError, ValidationError):
        return []


def as_served(cache: ImageCache, config: TrainConfig, dataset: Dataset) -> ImageCache:
    """A run's images as its network will read them: the cache has those that training degrades in full detail."""
    if config.recipe.degradation is None:
        return cache
    return cache.reduced(config.run.image_contract.detail, len(dataset.train))


def sample_rows(rows: NDArray[np.int64], limit: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """At most `limit` of these rows, drawn at random, in ascending order."""
    return np.sort(generator.permutation(rows)[:limit])


def measure_hog(dataset: Dataset, cache: ImageCache, seed: int) -> Baseline:
    """A linear classifier of gradient histograms, measured on the held-out split; at most a minute or so."""
    generator = np.random.default_rng(seed)
    labels = np.array([example.label for example in dataset.examples])
    split = dataset.held_out_split
    limits = {"train": MAX_TRAIN_IMAGES, "validation": MAX_VALIDATION_IMAGES, split: MAX_HELD_OUT_IMAGES}
    rows = {name: sample_rows(cache.rows(dataset, name), limit, generator) for name, limit in limits.items()}
    features = {name: _hog(cache, part) for name, part in rows.items()}
    probe = fit_linear_probe(
        features["train"],
        labels[rows["train"]],
        features["validation"][:, None],
        labels[rows["validation"]],
        len(dataset.labels),
        max_cpu_seconds=MAX_CPU_SECONDS,
    )
    if probe.ran_out_of_time:
        tqdm.write("the baseline took too long to try weaker regularization: it may be better than measured")
    predicted = (features[split] @ probe.weight.T + probe.bias).argmax(1)
    error = float((predicted != labels[rows[split]]).mean())
    return Baseline(HOG, split, error, len(rows[split]), len(rows["train"]))


def _hog(cache: ImageCache, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.concatenate([hog_features(cache.read(part)) for part in batches(rows, ROWS_PER_BLOCK)])


def nearest_neighbor_error(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> float:
    """Top-1 error if every image gets the class of the training image with the nearest features (Euclidean)."""
    squares = (train**2).sum(1)
    wrong = 0
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = features[start : start + ROWS_PER_BLOCK]
        nearest = (squares - 2 * block @ train.T).argmin(1)
        wrong += int((train_labels[nearest] != labels[start : start + ROWS_PER_BLOCK]).sum())
    return wrong / len(labels)
