"""One file from which a run goes on: weights, momenta, schedule and position. Replaced atomically, safe to load.

It holds the whole network, whatever the number of processes: one process, two towers and four read each other's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from model.exceptions import TrainingError

NAME = "checkpoint.pt"
FORMAT = 3


def save(run: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) to the run's folder; the previous file stays until this one is whole.

    Raises TrainingError when it can't be written, leaving the previous file as it was.
    """
    partial = run / f"{NAME}.partial"
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, run / NAME)
        descriptor = os.open(run, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the new name, too, is on the disk
        finally:
            os.close(descriptor)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else "the file could not be written"
        before = "the one before is kept" if (run / NAME).is_file() else "there is none yet"
        raise TrainingError(f"expected to save a checkpoint in {run}, found: {reason}; {before}") from error


def load(run: Path) -> dict[str, Any]:
    """Read the run's checkpoint, refusing anything but tensors and plain values. Raises TrainingError."""
    path = run / NAME
    if not path.is_file():
        raise TrainingError(f"expected a checkpoint at {path}, found none")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise TrainingError(f"expected a checkpoint that loads at {path}, found a damaged one") from error
    if state.get("format") != FORMAT:
        raise TrainingError(f"expected a checkpoint of format {FORMAT} at {path}, found one of another version")
    return state
