"""Linear hashing: random directions (LSH), principal components, and ITQ (Gong and Lazebnik 2011)."""

from __future__ import annotations

import numpy as np

from training.hashing.binary_encoder import Array, BinaryEncoder, itq_rotation, principal_components

SEED = 0


def linear_encoder(name: str, mean: Array, directions: Array) -> BinaryEncoder:
    """The signs of (x - mean) @ directions (dim, bits)."""
    directions = np.ascontiguousarray(directions, np.float32)
    return BinaryEncoder(name, directions, (-mean @ directions).astype(np.float32))


def lsh(features: Array, bits: int) -> BinaryEncoder:
    """The signs of the projections onto random orthogonal directions, measured from the mean."""
    directions = np.linalg.qr(np.random.default_rng(SEED).standard_normal((features.shape[1], bits)))[0]
    return linear_encoder("lsh", features.mean(0), directions)


def pca(features: Array, bits: int) -> BinaryEncoder:
    """The signs of the principal components."""
    return linear_encoder("pca", *principal_components(features, bits, SEED))


def itq(features: Array, bits: int) -> BinaryEncoder:
    """The signs of the principal components, rotated so that rounding them to -1 and 1 loses least."""
    mean, directions = principal_components(features, bits, SEED)
    return linear_encoder("itq", mean, np.dot(directions, itq_rotation(np.dot(features - mean, directions), SEED)))
