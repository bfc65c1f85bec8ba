"""Plain baselines beside a trained network: they show whether training was worth it. Kept in a run's baselines.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from model.artifacts.intervals import Interval, wilson_interval
from model.files import atomic_write

BASELINES = "baselines.json"
ROWS_PER_BLOCK = 256


@dataclass(frozen=True)
class Baseline:
    """Top-1 error of a plain method on `num_images` of a split, with `num_train_images` of the training split."""

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


def nearest_neighbor_error(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> float:
    """Top-1 error if every image gets the class of the training image with the nearest features (Euclidean)."""
    squares = np.einsum("nd,nd->n", train, train)
    wrong = 0
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = features[start : start + ROWS_PER_BLOCK]
        nearest = (squares - 2 * block @ train.T).argmin(1)
        wrong += int((train_labels[nearest] != labels[start : start + ROWS_PER_BLOCK]).sum())
    return wrong / len(labels)
