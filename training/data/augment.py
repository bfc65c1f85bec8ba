"""Augmentation (section 4.1): random crops, mirroring and PCA color shift, reproducible from (seed, epoch, image)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.images.contract import IMAGE_SIZE
from model.images.crops import CENTER_CROP, CROP_SIZE, MARGIN, OFFSETS
from training.recipes import Recipe

CROP_STREAM, COLOR_STREAM, DROPOUT_STREAM, TRANSFORM_STREAM, MIXING_STREAM, COMPETITION_STREAM, ORDER_STREAM = range(7)
"""Independent streams of random numbers, for this module and the others that draw some in training."""


def shuffle_rows(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows of an epoch (N,), shuffled."""
    # without a stream, epoch 0 would repeat the random numbers of the split: NumPy ignores a trailing 0
    return np.random.default_rng((seed, epoch, ORDER_STREAM)).permutation(rows)


class Crops(NamedTuple):
    """What to cut out of N images of the cache.

    `rows` (N,): rows of the cache. `strides` (N, 3) int64: where a crop starts in the 65,536 pixels of its image, and
    the steps to its next row and column; mirroring and rotation only change these. `mean_strides`: the same for the
    mean image. `color_shifts` (N, 3) float32, gray levels, added after the mean was subtracted. `scale` multiplies the
    result.
    """

    rows: NDArray[np.int64]
    strides: NDArray[np.int64]
    mean_strides: NDArray[np.int64]
    color_shifts: NDArray[np.float32]
    scale: float


@dataclass(frozen=True)
class Augmentation:
    """The random draws of a recipe, for images with a given RGB covariance.

    `color_axes` (3, 3): column i is p_i times the eigenvalue lambda_i or its square root (see
    `training.recipes.Recipe`), computed for pixels in 0..1 and scaled to 0..255. `rotate`: also rotate crops by quarter
    turns, for images without a natural orientation.
    """

    recipe: Recipe
    color_axes: NDArray[np.float64]
    seed: int
    rotate: bool = False

    @classmethod
    def create(cls, recipe: Recipe, covariance: NDArray[np.float64], seed: int, rotate: bool = False) -> Augmentation:
        """`covariance` (3, 3): of the training pixels, 0..255."""
        values, vectors = np.linalg.eigh(covariance / 255**2)
        values = values.clip(min=0)
        axes = vectors * (values if recipe.pca_color_scale == "eigenvalue" else np.sqrt(values)) * 255
        return cls(recipe, axes, seed, rotate)

    def draw(self, epoch: int, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Crops:
        """Augmented crops of the images in `rows`, which are at `positions` in the epoch's order."""
        recipe, count = self.recipe, len(rows)
        uniform = hash_uniform((self.seed, epoch, CROP_STREAM), self.crop_keys(rows, positions), 4)
        center = np.full((count, 2), MARGIN // 2)
        offsets = (uniform[:, :2] * (MARGIN + 1)).astype(np.int64) if recipe.random_crop else center
        mirrored = (uniform[:, 2] < 0.5) & recipe.mirror
        rotations = (uniform[:, 3] * 4).astype(np.int64) if self.rotate else np.zeros(count, np.int64)
        strides = _strides(offsets, mirrored, rotations)
        return Crops(rows, strides, self._mean_strides(strides), *self.color_shifts(epoch, rows))

    def crop_keys(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) keys of the random numbers for crops and mirroring, equal for images that share them."""
        size = self.recipe.crop_group_size
        return rows if size == 1 else positions // size

    def color_shifts(self, epoch: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], float]:
        """(N, 3) random shifts of all pixels of the images in `rows`, in gray levels; and the scale to apply next."""
        recipe = self.recipe
        if not recipe.pca_color_std or epoch >= recipe.color_end_epoch:
            return np.zeros((len(rows), 3), np.float32), 1.0
        normal = recipe.pca_color_std * _hash_normal((self.seed, epoch, COLOR_STREAM), rows)
        scale = 1 / (1 + recipe.pca_color_std) if recipe.pca_color_scale == "standard_deviation" else 1.0
        return (normal @ self.color_axes.T).astype(np.float32), scale

    def center(self, rows: NDArray[np.int64]) -> Crops:
        """The center crops of the images in `rows`, not augmented."""
        return self.crops(rows, np.full(len(rows), CENTER_CROP[0]))

    def crops(self, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> Crops:
        """One of the ten crops (`model.images.crops`) of each image in `rows`, by its id, not augmented."""
        offsets, mirrored = np.array(OFFSETS)[ids % len(OFFSETS)], ids >= len(OFFSETS)
        strides = _strides(offsets, mirrored, np.zeros(len(rows), np.int64))
        return Crops(rows, strides, self._mean_strides(strides), np.zeros((len(rows), 3), np.float32), 1.0)

    def _mean_strides(self, strides: NDArray[np.int64]) -> NDArray[np.int64]:
        """Strides of the mean image: the crop's own, or those of the center crop for every crop."""
        if self.recipe.network.mean == "own":
            return strides
        top, left = OFFSETS[CENTER_CROP[0]]
        return np.tile(np.array([top * IMAGE_SIZE + left, IMAGE_SIZE, 1]), (len(strides), 1))


def _strides(
    offsets: NDArray[np.int64], mirrored: NDArray[np.bool_], rotations: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(N, 3): start, row step and column step of crops at (top, left), mirrored, then rotated left by quarter turns."""
    start = offsets[:, 0] * IMAGE_SIZE + offsets[:, 1]
    row, column = np.full(len(start), IMAGE_SIZE), np.where(mirrored, -1, 1)
    start = np.where(mirrored, start + CROP_SIZE - 1, start)
    for rotation in (1, 2, 3):
        rotated = rotations >= rotation
        start = np.where(rotated, start + (CROP_SIZE - 1) * column, start)
        row, column = np.where(rotated, -column, row), np.where(rotated, row, column)
    return np.stack([start, row, column], 1)


def hash_uniform(stream: tuple[int, ...], keys: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """(N, count) numbers in [0, 1) for N keys, the same for a key wherever it occurs (SplitMix64 as a hash)."""
    state = np.zeros(1, np.uint64)
    for number in stream:
        state = _splitmix64(state + np.uint64(number))
    state = _splitmix64(state ^ keys.astype(np.uint64))[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    uniform: NDArray[np.float64] = (_splitmix64(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def _hash_normal(stream: tuple[int, ...], keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, 3) normal numbers of standard deviation 1 (Box and Muller 1958)."""
    uniform = hash_uniform(stream, keys, 6)
    normal: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-uniform[:, :3])) * np.cos(2 * np.pi * uniform[:, 3:])
    return normal


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _splitmix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of SplitMix64 (Steele et al. 2014); it overflows by design."""
    z = z + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
