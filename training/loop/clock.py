"""`RunClock`: how much of a run is over, in epochs or minutes, and how long it has taken across all resumes."""

from __future__ import annotations

import time
from typing import TypedDict

from training.loop.distributed import DistributedContext
from training.recipes import Recipe


class ClockState(TypedDict):
    """Seconds of the run, and of its current epoch."""

    run_seconds: float
    epoch_seconds: float


class RunClock:
    """Counts the seconds of training and validation, including those before a run was resumed.

    `steps_per_epoch`: steps of whole batches, however many processes share them.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, context: DistributedContext) -> None:
        self._recipe, self._steps_per_epoch, self._context = recipe, steps_per_epoch, context
        self._run_before = self._epoch_before = 0.0
        self._started: float | None = None
        self._epoch_started = 0.0

    def start(self) -> None:
        """Start counting, or resume it."""
        self._started = self._epoch_started = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._run_before, self._epoch_before = self.run_seconds, self.epoch_seconds
        self._started = None

    def start_epoch(self) -> None:
        """Start counting an epoch."""
        self._epoch_before, self._epoch_started = 0.0, time.monotonic()

    @property
    def run_seconds(self) -> float:
        return self._run_before + (0.0 if self._started is None else time.monotonic() - self._started)

    @property
    def epoch_seconds(self) -> float:
        return self._epoch_before + (0.0 if self._started is None else time.monotonic() - self._epoch_started)

    def progress(self, epoch: int, step: int) -> float:
        """The share of the run that is over before a step; above 1 once its minutes are over. All processes must call
        it equally often."""
        if self._recipe.minutes:
            return self._context.from_main(lambda: self.run_seconds / (60 * self._recipe.minutes))
        steps = self._recipe.epochs * self._steps_per_epoch
        done = epoch * self._steps_per_epoch + step
        return done / steps if done < steps else 1.0  # a run that became shorter finishes its current epoch

    def remaining_seconds(self, epoch: int, step: int, steps_per_second: float) -> float:
        """How long the run will still take at this speed."""
        if self._recipe.minutes:
            return max(0.0, 60 * self._recipe.minutes - self.run_seconds)
        epochs = max(self._recipe.epochs - epoch, 1)
        return (epochs * self._steps_per_epoch - step) / steps_per_second

    def state(self) -> ClockState:
        return {"run_seconds": self.run_seconds, "epoch_seconds": self.epoch_seconds}

    def restore(self, state: ClockState) -> None:
        self._run_before, self._epoch_before = state["run_seconds"], state["epoch_seconds"]
