"""Check the numerical equivalence of a served ONNX graph and the network that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.exceptions import ExportError
from model.runtime import OnnxModel

Array = NDArray[np.float32]
Reference = Callable[[NDArray[np.uint8], tuple[int, ...]], tuple[Array, Array]]
"""(N, 256, 256, 3) uint8 images and crop ids -> probabilities and features, means over the crops."""

TOLERANCE = 1e-4
"""Largest allowed difference of a probability, and of a feature relative to the largest one of the batch.

Two runtimes sum as many as 9,216 float32 products in different orders, which changes a logit by about 1e-6 of its size;
measured differences stay below 2e-5. Real mistakes (swapped channels or towers, a wrong mean or norm, a crop off by a
pixel) cause more than 1e-3.
"""


def check_equivalence(path: Path, reference: Reference, cases: Sequence[tuple[int, tuple[int, ...]]]) -> float:
    """Compare the graph at `path` with the reference on random images, and return the largest difference of a
    probability.

    `cases`: number of images and crop ids. Raises ExportError.
    """
    model, generator = OnnxModel(path, device="cpu"), np.random.default_rng()  # unseeded: new images each time
    worst = 0.0
    for num_images, crops in cases:
        images = random_images(generator, num_images)
        expected_probabilities, expected_features = reference(images, crops)
        probabilities, features = model.run(images, crops)
        difference = float(np.abs(probabilities - expected_probabilities).max())
        largest = max(np.abs(expected_features).max(), 1e-6)  # after tanh, all may be negative
        feature_difference = float(np.abs(features - expected_features).max() / largest)
        if not (difference <= TOLERANCE and feature_difference <= TOLERANCE):  # also for NaN
            raise ExportError(
                f"the ONNX graph doesn't compute what the network does: probabilities differ by {difference:g} and "
                f"features by {feature_difference:g}; at most {TOLERANCE:g} is allowed ({num_images} images, crops "
                f"{crops})"
            )
        worst = max(worst, difference)
    return worst


def random_images(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Colored blocks with noise: (count, 256, 256, 3)."""
    blocks = generator.integers(0, 256, (count, 8, 8, 3)).repeat(32, 1).repeat(32, 2)
    noise = generator.normal(0, 30, blocks.shape)
    return (blocks + noise).clip(0, 255).astype(np.uint8)
