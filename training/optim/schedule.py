"""Learning rate schedules: divide by ten when the validation error stops improving (section 5), or at fixed epochs; and
half a cosine.

Fixed epochs are the authors' own way, from their notes; a recipe scales them to another number of epochs. The other
schedules are told which share of the run is over, so they fit any number of epochs or minutes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from training.recipes import Recipe

COSINE_END = 1e-3
"""The factor at the end of a cosine."""
LEVELS = 1000
"""Number of different learning rates in a run with warm-up or a cosine: each change costs a pass over all weights."""


@dataclass
class Plateau:
    """Divide the learning rate by ten after `patience` epochs without a better error.

    `factor`: the learning rate's current factor. `best`: lowest error so far. `epochs_without_improvement`: since then.
    `drops`: their number so far; the next one comes at its share of the run in `drop_by` at the latest. `finished`:
    whether training should end, as no drops are left.
    """

    patience: int
    drops_left: int
    drop_by: tuple[float, ...] = ()
    factor: float = 1.0
    best: float = float("inf")
    epochs_without_improvement: int = 0
    drops: int = 0
    finished: bool = False

    def update(self, error: float) -> None:
        """Take the validation error of one more epoch into account."""
        if error < self.best:
            self.best, self.epochs_without_improvement = error, 0
            return
        self.epochs_without_improvement += 1
        if self.epochs_without_improvement < self.patience:
            return
        if not self.drops_left:
            self.finished = True
            return
        self._drop()

    def advance(self, progress: float) -> float:
        """The factor when the share `progress` of the run is over."""
        while self.drops_left and self.drops < len(self.drop_by) and progress >= self.drop_by[self.drops]:
            self._drop()
        return self.factor

    def _drop(self) -> None:
        self.factor /= 10
        self.drops += 1
        self.drops_left -= 1
        self.epochs_without_improvement = 0

    def state(self) -> dict[str, Any]:
        values = asdict(self)
        del values["drop_by"]
        return values


@dataclass
class Milestones:
    """Divide the learning rate by ten at each of the `milestones`. `epoch`: number of epochs done."""

    milestones: tuple[float, ...]
    epoch: int = 0
    finished: bool = False

    def update(self, error: float) -> None:
        """Count one more epoch; its error doesn't matter."""
        self.epoch += 1

    def advance(self, progress: float) -> float:
        """The factor now; it changes between epochs only."""
        return float(10.0 ** -sum(self.epoch >= milestone for milestone in self.milestones))

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}


@dataclass
class Cosine:
    """Half a cosine from 1 down to a thousandth (Loshchilov and Hutter 2017)."""

    finished: bool = False

    def update(self, error: float) -> None:
        """Do nothing: the error doesn't matter."""

    def advance(self, progress: float) -> float:
        """The factor when the share `progress` of the run is over."""
        return max(COSINE_END, (1 + math.cos(math.pi * _in_levels(progress))) / 2)

    def state(self) -> dict[str, Any]:
        return {}


Schedule = Plateau | Milestones | Cosine


def create_schedule(recipe: Recipe, state: dict[str, Any] | None = None, new_length: bool = False) -> Schedule:
    """The recipe's schedule at its beginning, or with the `state` of a checkpoint.

    `new_length`: whether the run was made longer or shorter since the state was saved. A plateau then starts over,
    keeping only the best error: the learning rate may rise again.
    """
    state = state or {}
    if recipe.schedule == "milestones":
        return Milestones(recipe.milestones, **state)
    if recipe.schedule == "cosine":
        return Cosine(**state)
    if new_length:
        state = {"best": state["best"]}
    return Plateau(drop_by=recipe.drop_by, **{"patience": recipe.patience, "drops_left": recipe.max_drops} | state)


def warmup_factor(recipe: Recipe, progress: float) -> float:
    """The warm-up factor when the share `progress` of the run is over; 1 after and without warm-up."""
    if progress >= recipe.warmup:
        return 1.0
    return min(1.0, _in_levels(progress) / recipe.warmup)


def _in_levels(progress: float) -> float:
    """The middle of the level that `progress` is in."""
    return (math.floor(min(progress, 1 - 1 / LEVELS) * LEVELS) + 0.5) / LEVELS
