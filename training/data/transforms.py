"""`Transforms`: what recipes with boxes, degradation or color jitter draw for an image, reproducible as `Crops`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.images.contract import IMAGE_SIZE
from model.images.crops import CROP_SIZE, MARGIN
from training.data.augment import TRANSFORM_STREAM, Augmentation, hash_uniform
from training.recipes import Boxes, ColorJitter, Degradation, Range, Recipe

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Degraded(NamedTuple):
    """How N images are degraded, (N,) each (see `training.recipes.Degradation`).

    `stored_size`, `size`: pixels of the image's side after the first and second reduction. `first`, `second`, `third`:
    JPEG qualities: two for the stored image where `stored`, and one for the box where `compressed`. `sigma`: that of
    the blur. `white_balance` (N, 3): factors.
    """

    stored_size: Numbers
    size: Numbers
    first: Numbers
    second: Numbers
    third: Numbers
    stored: Flags
    compressed: Flags
    sigma: Numbers
    white_balance: Numbers


class Jittered(NamedTuple):
    """(N,) relative changes; a saturation of -1 leaves gray."""

    brightness: Numbers
    contrast: Numbers
    saturation: Numbers


class Transforms(NamedTuple):
    """How to transform N images of the cache.

    `rows` (N,): rows of the cache. `boxes` (N, 4): left, top, width and height in pixels. `mirrored` (N,).
    `rotations` (N,): quarter turns. `warps` (N, 2, 2): matrices about the center, the identity where not `warped` (N,).
    `color_shifts` (N, 3), in gray levels; `scale` multiplies the result, after the mean was subtracted.
    """

    rows: NDArray[np.int64]
    boxes: Numbers
    mirrored: Flags
    rotations: NDArray[np.int64]
    warps: Numbers
    warped: Flags
    color_shifts: NDArray[np.float32]
    scale: float
    degraded: Degraded | None
    jittered: Jittered | None


def has_transforms(recipe: Recipe) -> bool:
    """Whether the recipe uses `Transforms` rather than the paper's crops."""
    return any(option is not None for option in (recipe.boxes, recipe.degradation, recipe.jitter))


def draw_transforms(
    augmentation: Augmentation, epoch: int, rows: NDArray[np.int64], positions: NDArray[np.int64]
) -> Transforms:
    """Random transforms of the images in `rows`, which are at `positions` in the epoch's order."""
    recipe, count, stream = augmentation.recipe, len(rows), (augmentation.seed, epoch, TRANSFORM_STREAM)
    draw = _Draw(stream, rows)
    shared = draw if recipe.crop_group_size == 1 else _Draw(stream, augmentation.crop_keys(rows, positions))
    boxes = _draw_boxes(recipe.boxes, recipe.random_crop, shared)
    mirrored = shared.chance(0.5) & recipe.mirror
    rotations = (draw.uniform() * 4).astype(np.int64) if augmentation.rotate else np.zeros(count, np.int64)
    warps, warped = np.tile(np.eye(2), (count, 1, 1)), np.zeros(count, bool)
    if recipe.boxes is not None:
        warps, warped = _draw_warps(recipe.boxes, draw)
    return Transforms(
        rows,
        boxes,
        mirrored,
        rotations,
        warps,
        warped,
        *augmentation.color_shifts(epoch, rows),
        None if recipe.degradation is None else _draw_degradation(recipe.degradation, draw),
        None if recipe.jitter is None else _draw_jitter(recipe.jitter, draw),
    )


class _Draw:
    """Random numbers for N images, one (N,) array after the other."""

    def __init__(self, stream: tuple[int, ...], rows: NDArray[np.int64]) -> None:
        self._columns = iter(hash_uniform(stream, rows, 48).T)

    def uniform(self) -> Numbers:
        return next(self._columns)

    def between(self, limits: Range) -> Numbers:
        low, high = limits
        return low + (high - low) * self.uniform()

    def chance(self, probability: float) -> Flags:
        return self.uniform() < probability

    def normal(self) -> Numbers:
        """Box and Muller 1958."""
        normal: Numbers = np.sqrt(-2 * np.log1p(-self.uniform())) * np.cos(2 * np.pi * self.uniform())
        return normal


def _draw_boxes(boxes: Boxes | None, random_crop: bool, draw: _Draw) -> Numbers:
    """Boxes (N, 4); without `boxes`, those of the paper's crops."""
    places = np.stack([draw.uniform(), draw.uniform()])
    if boxes is None:
        corners = np.floor(places * (MARGIN + 1)) if random_crop else np.full_like(places, MARGIN // 2)
        return np.concatenate([corners, np.full_like(corners, CROP_SIZE)]).T
    area = IMAGE_SIZE**2 * draw.between(boxes.area)
    aspect = np.exp(draw.between((-1, 1)) * math.log(boxes.max_aspect))
    sides = np.minimum(np.sqrt(np.stack([area * aspect, area / aspect])), IMAGE_SIZE)
    return np.concatenate([places * (IMAGE_SIZE - sides), sides]).T


def _draw_warps(boxes: Boxes, draw: _Draw) -> tuple[Numbers, Flags]:
    warped = draw.chance(boxes.warped)
    angle = np.where(warped, boxes.rotation_std * draw.normal(), 0)
    across, down = (np.where(warped, draw.between((-boxes.shear, boxes.shear)), 0) for _ in range(2))
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cosine, across - sine], 1), np.stack([sine + down, cosine], 1)], 1), warped


def _draw_degradation(degradation: Degradation, draw: _Draw) -> Degraded:
    blurred = draw.chance(degradation.blurred)
    return Degraded(
        np.round(draw.between(degradation.stored_size)),
        np.round(draw.between(degradation.size)),
        np.round(draw.between(degradation.stored_quality)),
        np.round(draw.between(degradation.stored_quality)),
        np.round(draw.between(degradation.compressed_quality)),
        draw.chance(degradation.stored),
        draw.chance(degradation.compressed),
        np.where(blurred, draw.between((0, degradation.max_blur)), 0),
        np.exp(degradation.white_balance_std * np.stack([draw.normal() for _ in range(3)], 1)),
    )


def _draw_jitter(jitter: ColorJitter, draw: _Draw) -> Jittered:
    limits = (-jitter.strength, jitter.strength)
    brightness, contrast, saturation = (np.where(draw.chance(jitter.share), draw.between(limits), 0) for _ in range(3))
    return Jittered(brightness, contrast, np.where(draw.chance(jitter.gray), -1, saturation))
