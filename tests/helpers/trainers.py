"""Trainers of a narrow network for the tests of the training loop, their options, and their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.config import RecipeOptions
from training.loop.checkpoint_state import CheckpointState
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer

Make = Callable[..., Trainer]


def options(**changes: Any) -> RecipeOptions:
    return RecipeOptions(**({"epochs": 1, "batch_size": 32} | changes))


def checkpoint(folder: Path) -> CheckpointState:
    """The state of a checkpoint, independent of its file."""
    state = RunDirectory(folder).load_checkpoint()
    weights, momenta = (
        {name: tensor.clone() for name, tensor in tensors.items()} for tensors in (state["weights"], state["momenta"])
    )
    return state | {"weights": weights, "momenta": momenta}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.engine.network.state_dict().items()}


def require_equal(trainer: Trainer, other: Trainer) -> None:
    for name, tensor in weights(trainer).items():
        assert torch.equal(tensor, other.engine.network.state_dict()[name]), name
