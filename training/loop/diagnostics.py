"""What goes wrong in training without an exception, and what to do about it, in words."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.exceptions import TrainingError

FLAT_START_STEPS = 100
STARVING = 0.2
FAR_FROM_ZERO = 30.0
LARGE_BATCH = 1024


def require_finite(loss: float, epoch: int, step: int) -> None:
    """Raise TrainingError for a loss that is no number; `epoch` and `step` count from 0."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"expected a finite loss, found {loss} in epoch {epoch + 1}, step {step + 1}: use a smaller --learning-rate"
        )


def require_mean(pixels: Tensor) -> None:
    """Raise TrainingError when the first batch isn't centered: a mean image of other images stalls training."""
    means = pixels.float().mean((1, 2, 3))
    rest = float(means.mean())
    if len(means) >= 8 and abs(rest) > FAR_FROM_ZERO + 4 * float(means.std()) / len(means) ** 0.5:
        raise TrainingError(
            f"expected pixels about 0 after the mean was subtracted, found {rest:.0f} gray levels on average: the mean "
            "image is not that of these images; delete the cache folder and run again"
        )


def flat_start(loss: float, labels: NDArray[np.int64], epochs: int, batch: int, recipe: str) -> str | None:
    """A warning when the loss of the last of `epochs` is still that of naming classes by their frequency."""
    steps = epochs * math.ceil(len(labels) / batch)
    flat = entropy(labels)
    if epochs < 2 or steps < FLAT_START_STEPS or loss < 0.99 * flat:
        return None
    advice = "try another --seed or --learning-rate"
    if recipe != "small":
        advice = "for a few thousand images use --recipe small, else " + advice
    return (
        f"warning: after {steps:,} steps the loss ({loss:.3f}) is still that of guessing by class frequency "
        f"({flat:.3f}): {advice}"
    )


def starving(waited: float, seconds: float) -> str | None:
    """A warning when an epoch's steps waited for images for a large share of its time."""
    if seconds < 5 or waited < STARVING * seconds:
        return None
    return (
        f"warning: {100 * waited / seconds:.0f} % of the time went to waiting for images: put --cache on a faster "
        "disk, or, where it doesn't fit into memory, use --cache-format jpeg"
    )


def large_batch(batch: int) -> str | None:
    """A warning for a batch at which the linear rule for the rate no longer holds."""
    if batch < LARGE_BATCH:
        return None
    return f"warning: a rate in proportion to the batch is known to hold to about 256 images; this batch has {batch:,}"


def entropy(labels: NDArray[np.int64]) -> float:
    """The loss of answering every image with the class frequencies."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
