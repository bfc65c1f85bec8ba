"""One file from which a run goes on: weights, velocity, schedule and position. Replaced atomically, safe to load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from model.errors import TrainingError

NAME = "checkpoint.pt"


def save(run: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) to the run's folder; the previous file stays until this one is whole."""
    partial = run / f"{NAME}.partial"
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, run / NAME)


def load(run: Path) -> dict[str, Any]:
    """Read the run's checkpoint, refusing anything but tensors and plain values. Raises TrainingError."""
    path = run / NAME
    if not path.is_file():
        raise TrainingError(f"expected a checkpoint at {path}, found none")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"expected a checkpoint that loads at {path}, found a damaged one") from error
    return state
