"""Trainers of a narrow network for the tests of the training loop, their options, and their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.config import RecipeOptions
from training.loop.run_directory import RunDirectory
from training.loop.trainer import Trainer

Make = Callable[..., Trainer]


def options(**changes: Any) -> RecipeOptions:
    return RecipeOptions(**({"epochs": 1, "batch_size": 32} | changes))


def checkpoint(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint, independent of its file."""
    state = RunDirectory(folder).load_checkpoint()
    for key in ("weights", "momenta"):
        state[key] = {name: tensor.clone() for name, tensor in state[key].items()}
    return state
