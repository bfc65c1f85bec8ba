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


def test_a_direction_between_two_bins_counts_for_both() -> None:
    """Brightness that rises at 30 degrees, which is halfway between the second bin and the third."""
    rows, columns = np.mgrid[:256, :256]
    slope = 0.6 * (np.cos(np.pi / 6) * columns + np.sin(np.pi / 6) * rows)
    features = hog_features(np.broadcast_to(slope[..., None], (1, 256, 256, 3)).astype(np.uint8))
    shares = features.reshape(-1, ORIENTATIONS).sum(0)
    assert np.sort(shares.argsort()[-2:]).tolist() == [1, 2]
    assert 0.8 < shares[1] / shares[2] < 1.25


def test_an_edge_is_in_the_blocks_around_its_cell() -> None:
    """A dot in the cell of row 2 and column 5: four blocks have it, each at another of its four places."""
    image = np.zeros((1, 256, 256, 3), np.uint8)
    image[0, 2 * 32 + 12 : 2 * 32 + 20, 5 * 32 + 12 : 5 * 32 + 20] = 255
    strength = hog_features(image).reshape(CELLS - 1, CELLS - 1, 4, ORIENTATIONS).sum(-1)
    assert sorted(map(tuple, np.argwhere(strength > 0.1).tolist())) == [(1, 4, 3), (1, 5, 2), (2, 4, 1), (2, 5, 0)]
