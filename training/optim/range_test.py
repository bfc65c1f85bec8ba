"""Range test of the learning rate (Smith 2017): a few steps at ever higher rates show where the loss falls fastest."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from model.files import atomic_write

RANGE_TEST = "range_test.json"
LOWEST, HIGHEST = 1e-5, 1.0
NUM_STEPS = 100
SMOOTHING = 0.9
"""Weight of the earlier losses in their moving average."""
DIVERGENCE_FACTOR = 2.0
"""The test ends when the smoothed loss is this many times the lowest one."""
MIN_IMPROVEMENT = 0.02
"""By how much the smoothed loss must fall, relative to the first one, for a rate to be found."""
SHARE_OF_LOWEST = 0.1
"""The rate for a network whose output layer is fitted already, as a share of the rate with the lowest loss."""


@dataclass(frozen=True)
class RangeTest:
    """Learning rates and the losses of the steps made with them; `best_rate`: the one to train with, or None."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    best_rate: float | None

    def write(self, folder: Path) -> None:
        with atomic_write(folder / RANGE_TEST) as file:
            file.write(json.dumps(asdict(self)) + "\n")


def read_range_test(folder: Path) -> RangeTest | None:
    """The range test of a run, if it had one and its file is readable."""
    try:
        return TypeAdapter(RangeTest).validate_json((folder / RANGE_TEST).read_bytes())
    except (OSError, ValidationError):
        return None


def rate_of_step(step: int) -> float:
    """The learning rate of a step from 0 to `NUM_STEPS` - 1: from `LOWEST` to `HIGHEST` in equal ratios."""
    return float(LOWEST * (HIGHEST / LOWEST) ** (step / (NUM_STEPS - 1)))


def smooth(losses: list[float]) -> list[float]:
    """The moving averages of the losses, with bias correction for their beginning."""
    averages, average = [], 0.0
    for number, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**number))
    return averages


def has_diverged(losses: list[float]) -> bool:
    """Whether the test can end here: the loss isn't finite, or far above the lowest one."""
    if not math.isfinite(losses[-1]):
        return True
    averages = smooth(losses)
    return len(losses) > NUM_STEPS // 10 and averages[-1] > DIVERGENCE_FACTOR * min(averages)


def find_rate(rates: list[float], losses: list[float], fitted: bool = False) -> RangeTest:
    """Choose the rate where the smoothed loss falls fastest; none if it never falls by two percent.

    `fitted`: whether the output layer was fitted to features without dropout. Its loss with dropout starts high and
    falls at any rate, so a tenth of the rate with the lowest loss is chosen; above the latter the loss rises.
    """
    kept = [loss for loss in losses if math.isfinite(loss)]
    averages = np.array(smooth(kept))
    best_rate = None
    if len(kept) >= 3:
        lowest = int(averages.argmin())
        if averages[0] - averages[lowest] >= MIN_IMPROVEMENT * averages[0]:
            slopes = np.gradient(averages)[: lowest + 1]
            rate = SHARE_OF_LOWEST * rates[lowest] if fitted else rates[int(slopes.argmin())]
            best_rate = float(f"{rate:.2g}")
    return RangeTest(tuple(rates[: len(kept)]), tuple(kept), best_rate)
