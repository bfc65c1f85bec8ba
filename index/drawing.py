"""Drawings of an index: queries with their nearest neighbors (Figure 4, right), a map of the features by t-SNE, and its
search quality."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.entries import Entry
from index.evaluation import Evaluation
from index.file_queries import read_queries
from index.protocol import Index, intact_entries
from index.search import Query
from model.artifacts.class_names import name_in_figure
from model.exceptions import IndexStoreError
from model.figures import save_figure
from model.runtime import OnnxModel

NUM_NEIGHBORS = 6
COLORS = [f"C{number}" for number in range(10) if number != 7] + ["navy", "gold", "black", "teal", "salmon", "lime"]
"""Colors of the most frequent labels; the others are gray, so C7 (gray) is left out."""
PCA_COMPONENTS = 50
MAX_PERPLEXITY = 30.0


class DrawnQuery(NamedTuple):
    """An image whose neighbors are drawn: its thumbnail, title and (dim,) feature.

    `id`: id of the same image in the index, which isn't drawn as its own neighbor; 0 if it isn't indexed.
    """

    thumbnail: bytes
    title: str
    feature: NDArray[np.float32]
    id: int = 0


def draw(index: Index, output: Path, queries: Sequence[DrawnQuery], max_images: int, seed: int) -> list[Path]:
    """Write neighbors.png and map.png to the folder `output`. Returns their paths.

    Raises IndexStoreError if there are no queries, or too few images in the index. Needs the extra `train`.
    """
    entries = intact_entries(index)
    if len(entries) <= NUM_NEIGHBORS:
        raise IndexStoreError(f"drawing needs more than {NUM_NEIGHBORS} images, but the index has {len(entries)}")
    if not queries:
        raise IndexStoreError("none of the query images can be read: choose others")
    output.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(entries))
    neighbors_path, map_path = output / "neighbors.png", output / "map.png"
    _draw_neighbors(index, queries, neighbors_path)
    _draw_map(index, [entries[number] for number in order[:max_images]], map_path, seed)
    return [neighbors_path, map_path]


def indexed_queries(index: Index, count: int, seed: int) -> list[DrawnQuery]:
    """`count` random images of the index itself."""
    entries = intact_entries(index)
    sample = [entries[number] for number in np.random.default_rng(seed).permutation(len(entries))[:count]]
    return [
        DrawnQuery(index.catalog.thumbnail(entry.id), entry.label or "", index.feature(entry.id), entry.id)
        for entry in sample
    ]


def folder_queries(index: Index, model: OnnxModel, folder: Path, count: int, seed: int) -> list[DrawnQuery]:
    """`count` random images of a folder, in the role of the paper's test images; titled by label, or else by name."""
    return [
        DrawnQuery(image.thumbnail, image.label or (image.source.name if image.source else ""), feature, image_id)
        for image, feature, image_id in read_queries(index, model, folder, count, seed)
    ]


def embed_2d(features: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(N, dim) -> (N, 2) by t-SNE (van der Maaten and Hinton 2008) of the first 50 principal components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(PCA_COMPONENTS, *features.shape)
    reduced = PCA(components, random_state=seed).fit_transform(features)
    perplexity = min(MAX_PERPLEXITY, (len(features) - 1) / 3)
    points: NDArray[np.float32] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return points


def draw_evaluation(result: Evaluation, path: Path) -> None:
    """Write an image of precision by k, and of the average precision of each label, worst first.

    Needs the extra `train`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 3))
    left.bar([str(k) for k in result.precision], [100 * share for share in result.precision.values()], color="#2563a8")
    left.set(xlabel="k nearest", ylabel="with the same label, %", ylim=(0, 100))
    values = sorted(result.average_precision.items(), key=lambda item: item[1])
    right.bar(range(len(values)), [100 * value for _, value in values], color="#2563a8")
    right.set(ylabel="average precision, %", ylim=(0, 100))
    if len(values) <= 100:
        shown = [name_in_figure(label, 28) for label, _ in values]
        right.set_xticks(range(len(values)), shown, rotation=90, fontsize=6)
    save_figure(figure, path, dpi=150)


def _draw_neighbors(index: Index, queries: Sequence[DrawnQuery], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 * (NUM_NEIGHBORS + 1), 1.75 * len(queries)), layout="constrained")
    grid = figure.subplots(len(queries), NUM_NEIGHBORS + 1, squeeze=False)
    for row, query in zip(grid, queries, strict=True):
        neighbors = index.search(Query(query.feature, NUM_NEIGHBORS + 1))
        others = [neighbor for neighbor in neighbors if neighbor.entry.id != query.id][:NUM_NEIGHBORS]
        cells = [
            (query.thumbnail, query.title),
            *((index.catalog.thumbnail(n.entry.id), f"{n.distance:.1f}  {n.entry.label or ''}") for n in others),
        ]
        for axes, (thumbnail, title) in zip(row, cells, strict=False):
            axes.imshow(Image.open(io.BytesIO(thumbnail)))
            axes.set_title(name_in_figure(title, 24), fontsize=7)
        for axes in row:
            axes.set_axis_off()
    save_figure(figure, path, dpi=100)


def _draw_map(index: Index, entries: list[Entry], path: Path, seed: int) -> None:
    from matplotlib.figure import Figure

    points = embed_2d(index.features([entry.id for entry in entries]), seed)
    labels = [entry.label or "none" for entry in entries]
    names, counts = np.unique(labels, return_counts=True)
    frequent = list(names[np.argsort(-counts, kind="stable")][: len(COLORS)])
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    others = np.array([label not in frequent for label in labels])
    axes.scatter(points[others, 0], points[others, 1], s=6, color="lightgrey")
    markers = []
    for number, name in enumerate(frequent):
        mask = np.array([label == name for label in labels])
        markers.append(axes.scatter(points[mask, 0], points[mask, 1], s=6, color=COLORS[number]))
    shown = [name_in_figure(name, 28) for name in frequent]  # passed explicitly, since a label may begin with "_"
    axes.set_axis_off()
    axes.legend(markers, shown, fontsize=7, markerscale=2, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path, dpi=110)
