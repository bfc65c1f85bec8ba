"""Section 5: divide the learning rate by ten when the validation error stops improving; a fixed number of times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Plateau:
    """The state of the rule: `rate` now, the best error so far, epochs waited for a better one, divisions left, and
    whether training should end."""

    rate: float
    patience: int
    drops_left: int
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
        self.rate /= 10
        self.drops_left -= 1
        self.waited = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)
