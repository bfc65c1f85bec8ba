"""Section 4.1: random crops, mirror images and the PCA color shift, reproducible from (seed, epoch, image)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.images.crops import CENTER_CROP, CROP, MARGIN, OFFSETS
from model.images.preprocess import SIDE
from training.config import Recipe

OF_CROP, OF_COLOR = 0, 1


class Crops(NamedTuple):
    """What to cut, N images.

    `rows` (N,) of the cache. `walks` (N, 3) int64: where in the 65,536 pixels of an image a crop starts, and the steps
    to its next row and column; mirrors and quarter turns are other starts and steps. `mean_walks`: the same through the
    mean image. `shifts` (N, 3) float32 gray levels, added after the mean was subtracted; `factor` multiplies the
    result.
    """

    rows: NDArray[np.int64]
    walks: NDArray[np.int64]
    mean_walks: NDArray[np.int64]
    shifts: NDArray[np.float32]
    factor: float


@dataclass(frozen=True)
class Augmentation:
    """The random draws of a recipe, for images of an RGB covariance.

    `axes` (3, 3): column i is p_i times the eigenvalue lambda_i, for pixels of 0..1 and scaled back to 0..255, or
    times its square root (see `training.config.Recipe`). `turned`: for images without an up, crops are also turned by
    quarter turns.
    """

    recipe: Recipe
    axes: NDArray[np.float64]
    seed: int
    turned: bool = False

    @classmethod
    def of(cls, recipe: Recipe, covariance: NDArray[np.float64], seed: int, turned: bool = False) -> Augmentation:
        """`covariance` (3, 3) of the training pixels, 0..255."""
        values, vectors = np.linalg.eigh(covariance / 255**2)
        values = values.clip(min=0)
        return cls(recipe, vectors * (values if recipe.color == "eigenvalue" else np.sqrt(values)) * 255, seed, turned)

    def draw(self, epoch: int, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Crops:
        """Crops of the images in `rows`, which stand at `positions` of the epoch's order."""
        recipe, count = self.recipe, len(rows)
        keys = rows if recipe.crop_group == 1 else positions // recipe.crop_group
        uniform = uniforms((self.seed, epoch, OF_CROP), keys, 4)
        offsets = (uniform[:, :2] * (MARGIN + 1)).astype(np.int64) if recipe.crop else np.full((count, 2), MARGIN // 2)
        mirrored = (uniform[:, 2] < 0.5) & recipe.mirror
        turns = (uniform[:, 3] * 4).astype(np.int64) if self.turned else np.zeros(count, np.int64)
        walks = _walks(offsets, mirrored, turns)
        shifts, factor = np.zeros((count, 3), np.float32), 1.0
        if recipe.color_deviation and epoch < recipe.color_end:
            normal = recipe.color_deviation * _normals((self.seed, epoch, OF_COLOR), rows)
            shifts = (normal @ self.axes.T).astype(np.float32)
            if recipe.color == "deviation":
                factor = 1 / (1 + recipe.color_deviation)
        return Crops(rows, walks, self._mean_walks(walks), shifts, factor)

    def center(self, rows: NDArray[np.int64]) -> Crops:
        """The central crops of the images in `rows`, as they are."""
        none = np.zeros(len(rows), np.int64)
        walks = _walks(np.tile(OFFSETS[CENTER_CROP[0]], (len(rows), 1)), none.astype(bool), none)
        return Crops(rows, walks, walks, np.zeros((len(rows), 3), np.float32), 1.0)

    def _mean_walks(self, walks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each pixel's own mean, or the central view of the mean image for every crop."""
        if self.recipe.architecture.mean == "own":
            return walks
        top, left = OFFSETS[CENTER_CROP[0]]
        return np.tile(np.array([top * SIDE + left, SIDE, 1]), (len(walks), 1))


def _walks(offsets: NDArray[np.int64], mirrored: NDArray[np.bool_], turns: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 3): start, row step and column step of crops at (top, left), mirrored, then turned left by quarter turns."""
    start = offsets[:, 0] * SIDE + offsets[:, 1]
    row, column = np.full(len(start), SIDE), np.where(mirrored, -1, 1)
    start = np.where(mirrored, start + CROP - 1, start)
    for turn in (1, 2, 3):
        on = turns >= turn
        start = np.where(on, start + (CROP - 1) * column, start)
        row, column = np.where(on, -column, row), np.where(on, row, column)
    return np.stack([start, row, column], 1)


def uniforms(stream: tuple[int, ...], keys: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """(N, count) numbers in [0, 1), the same for a key wherever and whenever it comes up (SplitMix64 as a hash)."""
    state = np.zeros(1, np.uint64)
    for number in stream:
        state = _mix(state + np.uint64(number))
    state = _mix(state ^ keys.astype(np.uint64))[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    uniform: NDArray[np.float64] = (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def _normals(stream: tuple[int, ...], keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, 3) normal numbers of deviation 1 (Box and Muller 1958)."""
    uniform = uniforms(stream, keys, 6)
    normal: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-uniform[:, :3])) * np.cos(2 * np.pi * uniform[:, 3:])
    return normal


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's step (Steele et al. 2014); overflow is meant."""
    z = z + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
