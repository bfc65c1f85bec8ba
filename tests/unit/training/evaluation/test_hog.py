"""Histograms of oriented gradients: edges of one direction, whatever their contrast."""

from __future__ import annotations

import numpy as np

from training.evaluation.hog import CELLS, NUM_FEATURES, ORIENTATIONS, hog_features


def stripes(vertical: bool, low: int, high: int) -> np.ndarray:
    place = np.arange(256)
    values = np.where(place // 16 % 2, high, low)[None if vertical else slice(None), slice(None) if vertical else None]
    return np.broadcast_to(values[..., None], (256, 256, 3)).astype(np.uint8)


def test_edges_are_in_the_bin_of_their_direction() -> None:
    features = hog_features(np.stack([stripes(True, 0, 255), stripes(False, 0, 255)]))
    assert features.shape == (2, NUM_FEATURES)
    by_direction = features.reshape(2, CELLS - 1, CELLS - 1, 4, ORIENTATIONS).sum((1, 2, 3))
    assert by_direction.argmax(1).tolist() == [0, ORIENTATIONS // 2]
    assert by_direction[0, 0] > 0.99 * by_direction[0].sum()


def test_contrast_hardly_matters_and_a_flat_image_has_none() -> None:
    strong, weak, flat = hog_features(np.stack([stripes(True, 0, 255), stripes(True, 100, 160), stripes(True, 9, 9)]))
    assert np.allclose(strong, weak, atol=0.01)
    assert not flat.any()
