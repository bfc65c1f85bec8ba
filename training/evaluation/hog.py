"""Histograms of oriented gradients (Dalal and Triggs 2005): the hand-made features of a baseline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE, CELL, ORIENTATIONS = 64, 8, 9
"""Sides of a reduced image and of a cell, in pixels; directions of a histogram, over half a turn."""
CELLS = SIDE // CELL
NUM_FEATURES = (CELLS - 1) ** 2 * 4 * ORIENTATIONS


def hog_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, side, side, 3) images, the side a multiple of 64 -> (N, 1764) features.

    A histogram for each of 8 x 8 cells, in blocks of 2 x 2 cells that overlap and have unit length each.
    """
    gray = _reduced(images)
    rows, columns = np.gradient(gray, axis=(1, 2))
    strength = np.hypot(rows, columns)
    place = np.arctan2(rows, columns) % np.pi / np.pi * ORIENTATIONS
    lower = np.floor(place).astype(np.int64)
    share = place - lower
    histograms = np.stack([_cell_sums(strength, lower, share, number) for number in range(ORIENTATIONS)], -1)
    blocks = np.concatenate(
        [histograms[:, i : CELLS - 1 + i, j : CELLS - 1 + j] for i in (0, 1) for j in (0, 1)], axis=-1
    )
    blocks /= np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-6)
    return blocks.reshape(len(images), NUM_FEATURES)


def _reduced(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 64, 64) gray images in 0..1."""
    step = images.shape[1] // SIDE
    gray = images.mean(3, dtype=np.float32) / 255
    reduced: NDArray[np.float32] = gray.reshape(len(images), SIDE, step, SIDE, step).mean((2, 4))
    return reduced


def _cell_sums(
    strength: NDArray[np.float32], lower: NDArray[np.int64], share: NDArray[np.float32], number: int
) -> NDArray[np.float32]:
    """(N, 8, 8): each cell's sum for one direction; a gradient is shared between its two nearest directions."""
    weights = np.where(lower % ORIENTATIONS == number, 1 - share, 0) + np.where(
        (lower + 1) % ORIENTATIONS == number, share, 0
    )
    cells = (strength * weights).reshape(len(strength), CELLS, CELL, CELLS, CELL)
    sums: NDArray[np.float32] = cells.sum((2, 4), dtype=np.float32)
    return sums
