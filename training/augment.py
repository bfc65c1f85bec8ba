"""Section 4.1: random crops, mirror images and the PCA colour shift, reproducible from (seed, epoch, picture)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.views import CROP, MARGIN, OFFSETS
from training.cache import PictureCache

Batch = NDArray[np.float32]


@dataclass(frozen=True)
class ColourShift:
    """Adds p_i * alpha_i * lambda_i to every pixel of a picture, alpha_i ~ N(0, deviation) (section 4.1).

    `axes` (3, 3): column i is p_i * lambda_i in grey levels, lambda_i taken for pixels of 0..1 and the shift scaled
    back to 0..255.
    """

    axes: NDArray[np.float64]
    deviation: float

    @classmethod
    def from_covariance(cls, covariance: NDArray[np.float64], deviation: float) -> ColourShift:
        values, vectors = np.linalg.eigh(covariance / 255**2)
        return cls(vectors * values.clip(min=0) * 255, deviation)

    def draw(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """One (3,) shift in grey levels."""
        return (self.axes @ generator.normal(0, self.deviation, 3)).astype(np.float32)


def training_batch(
    cache: PictureCache, rows: NDArray[np.int64], colour: ColourShift, seed: int, epoch: int, turned: bool = False
) -> Batch:
    """Crops of the pictures in `rows`, (N, 224, 224, 3) float32, mean subtracted: 33 x 33 offsets, half mirrored.

    The mean picture is cropped and mirrored with its picture, so that a pixel always meets its own mean. `turned`: for
    pictures without an up, crops are also turned by quarter turns.
    """
    batch = np.empty((len(rows), CROP, CROP, 3), np.float32)
    for crop, row in zip(batch, rows, strict=True):
        generator = np.random.default_rng((seed, epoch, int(row)))
        top, left = generator.integers(0, MARGIN + 1, 2)
        mirrored = generator.random() < 0.5
        window = np.s_[top : top + CROP, left : left + CROP]
        target = crop[:, ::-1] if mirrored else crop
        np.subtract(cache.pictures[row][window], cache.mean[window], out=target)
        if turned:
            crop[:] = np.rot90(crop, int(generator.integers(0, 4))).copy()
        crop += colour.draw(generator)
    return batch


def centre_batch(cache: PictureCache, rows: NDArray[np.int64]) -> Batch:
    """The central views of the pictures in `rows`, (N, 224, 224, 3) float32, mean subtracted."""
    top, left = OFFSETS[4]
    window = np.s_[top : top + CROP, left : left + CROP]
    return np.stack([cache.pictures[row][window] - cache.mean[window] for row in rows])
