"""Drawings of an index: its neighbors, its map and its search quality."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from index.drawing import draw, draw_evaluation, embed_2d, folder_queries, indexed_queries
from index.entries import make_thumbnail
from index.evaluation import LabeledQuery, evaluate
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts.artifact import Artifact
from model.exceptions import DatasetError, IndexStoreError
from model.runtime import OnnxModel
from tests.helpers.indexes import features_at, make_entry, make_index

BLACK = make_thumbnail(np.zeros((256, 256, 3), np.uint8))


def test_an_index_is_drawn(index_path: Path, tmp_path: Path) -> None:
    index = FolderIndex.open(index_path)
    paths = draw(index, tmp_path / "figures", indexed_queries(index, 3, 0), max_images=3000, seed=0)
    index.close()
    assert paths == [tmp_path / "figures" / "neighbors.png", tmp_path / "figures" / "map.png"]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_label_that_begins_with_an_underscore_is_in_the_legend(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label that would be a formula is shown verbatim, too. A map has at least two images."""
    shown: list[str] = []

    def read_legend(figure: Figure, target: Any, **options: Any) -> None:
        shown.extend(text.get_text() for axes in figure.axes if (legend := axes.get_legend()) for text in legend.texts)
        savefig(figure, target, **options)

    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", read_legend)
    labels = ["_private", "_private", r"$\frac$", r"$\frac$", "a", "a", "a"]
    entries = [make_entry(number, label) for number, label in enumerate(labels)]
    index = FolderIndex.open(make_index(tmp_path / "i", artifact, *[replace(e, thumbnail=BLACK) for e in entries]))
    queries = indexed_queries(index, 1, 0)
    draw(index, tmp_path / "figures", queries, max_images=3000, seed=0)
    assert shown == ["a", r"\$\frac\$", "_private"]
    draw(index, tmp_path / "figures", queries, max_images=2, seed=0)
    index.close()


def test_images_of_a_folder_are_queries(artifact: Artifact, images: Path, index_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "queries"
    (folder / "of a label").mkdir(parents=True)
    (folder / "of a label" / "indexed.jpg").write_bytes((images / "checks" / "01.jpg").read_bytes())
    with Image.open(images / "circles" / "01.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(folder / "of a label" / "new.png")
    (folder / "of a label" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    index = FolderIndex.open(index_path)
    try:
        queries = folder_queries(index, OnnxModel(artifact.network_path, "cpu"), folder, 5, 0)
        known, other = queries
        assert index.search(Query(known.feature, 1))[0].entry.id == known.id > 0
        assert (known.title, other.title, other.id) == ("of a label", "of a label", 0)
        assert np.asarray(Image.open(io.BytesIO(other.thumbnail))).shape == (256, 256, 3)
        paths = draw(index, tmp_path / "figures", queries, max_images=20, seed=0)
        with Image.open(paths[0]) as drawing:
            assert drawing.size == (1050, 350)  # two queries, each with its six neighbors
        with pytest.raises(IndexStoreError, match="none of the query images can be read"):
            draw(index, tmp_path / "figures", [], 20, 0)
        with pytest.raises(DatasetError, match="there are no images in the folder"):
            folder_queries(index, OnnxModel(artifact.network_path, "cpu"), tmp_path / "empty", 5, 0)
    finally:
        index.close()


def test_too_few_images(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.open(make_index(tmp_path / "i", artifact, make_entry(1)))
    with pytest.raises(IndexStoreError, match="more than 6 images, but the index has 1"):
        draw(index, tmp_path / "figures", indexed_queries(index, 5, 0), 3000, 0)
    index.close()


def test_neighbors_are_near_each_other_on_the_map(index_path: Path) -> None:
    index = FolderIndex.open(index_path)
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


def test_search_quality_of_labels_that_would_be_formulas_is_drawn(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1, 2), [make_entry(n, r"$\foo$") for n in range(2)])
    result = evaluate(index, [LabeledQuery(features_at(1)[0], r"$\foo$", exclude_id=1)], [])
    index.close()
    draw_evaluation(result, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.size == (1350, 600)
