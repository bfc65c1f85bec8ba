"""Mixup and cutmix: each image of a batch is mixed with another one, drawn so that it is the same for any number of
processes and any size of micro-batches.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.images.crops import CROP_SIZE
from training.data.augment import MIXING_STREAM
from training.recipes import Mixing


class Mix(NamedTuple):
    """What is mixed into N images of a batch.

    `rows`, `positions` (N,): the images that are mixed in, as rows of the cache and places in the batch. `shares` (N,):
    the share of each image's own pixels. `square`: top, left and side of the part that cutmix replaces; None: mixup.
    """

    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    shares: NDArray[np.float32]
    square: tuple[int, int, int] | None

    def take(self, positions: NDArray[np.int64]) -> Mix:
        """The same for some images of the batch."""
        return Mix(self.rows[positions], self.positions[positions], self.shares[positions], self.square)


def draw_mix(mixing: Mixing, seed: int, step: int, rows: NDArray[np.int64]) -> Mix | None:
    """How the batch of images in `rows` is mixed in step `step` of the run; None if it isn't."""
    generator = np.random.default_rng((seed, step, MIXING_STREAM))
    kind, area, left, top = generator.random(4)
    positions = generator.permutation(len(rows))
    if kind < mixing.mixup:
        own = generator.beta(mixing.beta, mixing.beta, len(rows))
        return Mix(rows[positions], positions, np.maximum(own, 1 - own).astype(np.float32), None)
    if kind < mixing.mixup + mixing.cutmix:
        side = int(CROP_SIZE * math.sqrt(area * mixing.max_area))
        shares = np.full(len(rows), 1 - (side / CROP_SIZE) ** 2, np.float32)
        square = int(top * (CROP_SIZE - side)), int(left * (CROP_SIZE - side)), side
        return Mix(rows[positions], positions, shares, square)
    return None


def mix_pixels(own: Tensor, others: Tensor, mix: Mix) -> Tensor:
    """(N, 3, 224, 224): own pixels with the partners'."""
    if mix.square is not None:
        top, left, side = mix.square
        mixed = own.clone()
        mixed[:, :, top : top + side, left : left + side] = others[:, :, top : top + side, left : left + side]
        return mixed
    shares = own.new_tensor(mix.shares)[:, None, None, None]
    return own * shares + others * (1 - shares)
