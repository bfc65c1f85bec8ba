"""The content of a checkpoint, and whether it belongs to the configuration and the images of a run."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from model.artifacts.held_out import Split
from model.datasets.names import show_path
from model.exceptions import TrainingError
from model.network.registry import build_spec
from model.network.spec import NetworkConfig
from model.plurals import count_of
from training.config import TrainConfig
from training.data.cache import ImageCache
from training.data.datasets import Dataset
from training.loop.clock import ClockState
from training.optim.initial_weights import InitialState


class CheckpointState(TypedDict):
    """What `Trainer.state` returns: tensors on the CPU, of the whole network, and plain values.

    `network`: the recipe's network configuration. `classes`: ids in the order of the outputs. `config`: of
    `TrainConfig.resume_fingerprint`. `upright`: see `Dataset`. `digests` (images, 2) int64: of all images' pixels.

    `origin`, `origin_license`, `splits_of_ancestors`, `mean`, `lr_multipliers`: see `InitialState`.

    `learning_rates`: by parameter. `learning_rate`: the recipe's times the factors of schedule and warm-up.
    `pruning_masks`, `densities`: see `TrainingEngine`. `best`: the epoch with the lowest validation error, its error
    and its loss. `mixes`: whether images are mixed in this epoch. `length`: the run's epochs and minutes. `epoch`:
    completed epochs. `step`: completed steps of the next one. `totals`: of this epoch's steps (`EpochTotals`).
    """

    network: dict[str, Any]
    classes: list[str]
    config: dict[str, Any]
    upright: bool
    digests: Tensor
    origin: str
    origin_license: str
    splits_of_ancestors: tuple[Split, ...]
    mean: Tensor | None
    lr_multipliers: dict[str, float]
    learning_rates: dict[str, float]
    pruning_masks: dict[str, Tensor]
    densities: dict[str, float]
    learning_rate: float
    best: tuple[int, float, float]
    clock: ClockState
    mixes: bool
    threads: int
    schedule: dict[str, Any]
    length: list[float]
    epoch: int
    step: int
    totals: dict[str, Any]
    weights: dict[str, Tensor]
    momenta: dict[str, Tensor]


def initial_from_checkpoint(state: CheckpointState) -> InitialState:
    """The initial state of a run that is resumed from a checkpoint."""
    network = TypeAdapter(NetworkConfig).validate_python(state["network"])
    return InitialState(
        build_spec(network),
        state["weights"],
        state["lr_multipliers"],
        origin=state["origin"],
        mean=None if state["mean"] is None else state["mean"].numpy(),
        origin_license=state["origin_license"],
        splits=tuple((dataset, split) for dataset, split in state["splits_of_ancestors"]),
    )


def check_same_run(state: CheckpointState, config: TrainConfig, dataset: Dataset, cache: ImageCache) -> None:
    """Raise TrainingError if the classes, the images or the configuration differ from the checkpoint's."""
    classes = [label.id for label in dataset.labels]
    if (state["classes"], state["upright"]) != (classes, dataset.upright):
        raise TrainingError("the classes of --data differ from the checkpoint's, or are in another order")
    _check_images(state["digests"].numpy(), dataset, cache)
    for section, values in config.resume_fingerprint().items():
        for name, value in values.items():
            before = state["config"].get(section, {}).get(name)
            if before != value:
                raise TrainingError(f"{section}.{name} is {value} in config.json, but {before} in the checkpoint")


def _check_images(digests: NDArray[np.int64], dataset: Dataset, cache: ImageCache) -> None:
    """Raise TrainingError unless the pixels of all N images are those that the run began with.

    `digests` (N, 2) int64: those at the beginning.
    """
    now = cache.digests()
    if len(now) != len(digests):
        raise TrainingError(
            f"the run began with {count_of(len(digests), 'image')}, but now there are {len(now):,}: restore the "
            "original images, or start a new run"
        )
    changed = np.flatnonzero((now != digests).any(1))
    if len(changed):
        raise TrainingError(
            f"{count_of(len(changed), 'image')} changed since this run began, such as "
            f"{show_path(dataset.examples[changed[0]].file)}, or --max-pixels now skips different ones: "
            "restore the original images and --max-pixels, or start a new run"
        )
