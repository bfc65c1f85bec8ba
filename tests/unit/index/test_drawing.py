"""Drawings of an index: its neighbors and its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.drawing import draw, embed_2d
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError
from tests.helpers.indexes import make_entry, make_index


def test_an_index_is_drawn(index_path: Path, tmp_path: Path) -> None:
    index = ImageIndex.open(index_path)
    paths = draw(index, tmp_path / "figures", num_queries=3, max_images=3000, seed=0)
    index.close()
    assert paths == [tmp_path / "figures" / "neighbors.png", tmp_path / "figures" / "map.png"]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_too_few_images(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.open(make_index(tmp_path / "i", artifact, make_entry(1)))
    with pytest.raises(IndexStoreError, match="more than 6 images, and the index has 1"):
        draw(index, tmp_path / "figures", 5, 3000, 0)
    index.close()


def test_neighbors_are_near_each_other_on_the_map(index_path: Path) -> None:
    index = ImageIndex.open(index_path)
    try:
        entries = list(index.catalog.iter_entries())
        features = np.stack([index.feature(entry.id) for entry in entries])
    finally:
        index.close()
    points = embed_2d(features, 0)
    np.testing.assert_array_equal(points, embed_2d(features, 0))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    labels = np.array([entry.label for entry in entries])
    assert (labels[distances.argmin(1)] == labels).mean() > 0.8
