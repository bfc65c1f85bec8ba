"""Section 5: divide the learning rate by ten when the validation error stops improving; a fixed number of times.

And the authors' own way of it, written down from their notes: at given epochs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from training.config import Recipe


@dataclass
class Plateau:
    """The state of the rule: the `factor` of the learning rate now, the best error so far, epochs waited for a better
    one, divisions left, and whether training should end."""

    patience: int
    drops_left: int
    factor: float = 1.0
    best: float = float("inf")
    waited: int = 0
    over: bool = False

    def update(self, error: float) -> None:
        """Take in one epoch's validation error."""
        if error < self.best:
            self.best, self.waited = error, 0
            return
        self.waited += 1
        if self.waited < self.patience:
            return
        if not self.drops_left:
            self.over = True
            return
        self.factor /= 10
        self.drops_left -= 1
        self.waited = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Milestones:
    """The `factor` of the learning rate after so many epochs of a fixed plan."""

    milestones: tuple[float, ...]
    epoch: int = 0
    over: bool = False

    @property
    def factor(self) -> float:
        return float(10.0 ** -sum(self.epoch >= milestone for milestone in self.milestones))

    def update(self, error: float) -> None:
        """Another epoch is done; its error doesn't matter."""
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}


Schedule = Plateau | Milestones


def start(recipe: Recipe) -> Schedule:
    """The recipe's schedule at its beginning."""
    if recipe.schedule == "milestones":
        return Milestones(recipe.milestones)
    return Plateau(recipe.patience, recipe.drops)


def go_on(recipe: Recipe, state: dict[str, Any]) -> Schedule:
    """The recipe's schedule as a checkpoint left it."""
    return Milestones(recipe.milestones, **state) if recipe.schedule == "milestones" else Plateau(**state)
