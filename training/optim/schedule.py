"""Learning rate schedules: divide by ten when the validation error stops improving (section 5), or at fixed epochs.

Fixed epochs are the authors' own way, from their notes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from training.config import Recipe


@dataclass
class Plateau:
    """Divide the learning rate by ten after `patience` epochs without a better error.

    `factor`: of the learning rate now. `best`: lowest error so far. `epochs_without_improvement`: since then.
    `finished`: whether training should end, as no drops are left.
    """

    patience: int
    drops_left: int
    factor: float = 1.0
    best: float = float("inf")
    epochs_without_improvement: int = 0
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
        self.factor /= 10
        self.drops_left -= 1
        self.epochs_without_improvement = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Milestones:
    """Divide the learning rate by ten at each of the `milestones`. `epoch`: number of epochs done."""

    milestones: tuple[float, ...]
    epoch: int = 0
    finished: bool = False

    @property
    def factor(self) -> float:
        return float(10.0 ** -sum(self.epoch >= milestone for milestone in self.milestones))

    def update(self, error: float) -> None:
        """Count one more epoch; its error doesn't matter."""
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}


Schedule = Plateau | Milestones


def create_schedule(recipe: Recipe, state: dict[str, Any] | None = None) -> Schedule:
    """The recipe's schedule at its beginning, or with the `state` of a checkpoint."""
    if recipe.schedule == "milestones":
        return Milestones(recipe.milestones, **(state or {}))
    return Plateau(**(state or {"patience": recipe.patience, "drops_left": recipe.max_drops}))
