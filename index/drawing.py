"""An index in images: queries with their nearest neighbors (Figure 4, right), and a map of its features."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.catalog import Entry
from index.search import Query
from index.store import ImageIndex
from model.exceptions import IndexStoreError

NEIGHBORS = 6
COLORS = [f"C{number}" for number in range(10) if number != 7] + ["navy", "gold", "black", "teal", "salmon", "lime"]
"""Of the most frequent labels; the others are gray, as C7 is."""


def draw(index: ImageIndex, output: Path, queries: int, most: int, seed: int) -> list[Path]:
    """The files neighbors.png and map.png. Raises IndexStoreError: images are too few, or a package is missing."""
    _require_packages()
    entries = [entry for entry in index.catalog.everything() if entry.id not in index.damaged]
    if len(entries) <= NEIGHBORS:
        raise IndexStoreError(f"expected over {NEIGHBORS} images to draw, found {len(entries)}")
    output.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(entries))
    _neighbors(index, [entries[place] for place in order[:queries]], output / "neighbors.png")
    _map(index, [entries[place] for place in order[:most]], output / "map.png", seed)
    return [output / "neighbors.png", output / "map.png"]


def _require_packages() -> None:
    """Raise IndexStoreError before anything is written if a package for drawing is missing."""
    packages = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
    if missing := [package for module, package in packages.items() if importlib.util.find_spec(module) is None]:
        raise IndexStoreError(
            f"missing package {', '.join(missing)}; install it: pip install -e '.[cpu,train,baselines]'"
        )


def _neighbors(index: ImageIndex, queries: list[Entry], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 * (NEIGHBORS + 1), 1.75 * len(queries)), layout="constrained")
    grid = figure.subplots(len(queries), NEIGHBORS + 1, squeeze=False)
    for row, query in zip(grid, queries, strict=True):
        found = index.search(Query(index.feature(query.id), NEIGHBORS + 1))
        others = [neighbor for neighbor in found if neighbor.entry.id != query.id][:NEIGHBORS]
        shown = [
            (query.id, query.label or ""),
            *((n.entry.id, f"{n.distance:.1f}  {n.entry.label or ''}") for n in others),
        ]
        for axes, (image, title) in zip(row, shown, strict=False):
            axes.imshow(Image.open(io.BytesIO(index.catalog.thumbnail(image))))
            axes.set_title(title[:24].replace("$", r"\$"), fontsize=7)
        for axes in row:
            axes.set_axis_off()
    figure.savefig(target, dpi=100)


def _map(index: ImageIndex, entries: list[Entry], target: Path, seed: int) -> None:
    from matplotlib.figure import Figure

    places = embed_2d(np.stack([index.feature(entry.id) for entry in entries]), seed)
    labels = [entry.label or "none" for entry in entries]
    names, counts = np.unique(labels, return_counts=True)
    shown = list(names[np.argsort(-counts, kind="stable")][: len(COLORS)])
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    others = np.array([label not in shown for label in labels])
    axes.scatter(places[others, 0], places[others, 1], s=6, color="lightgrey")
    for number, name in enumerate(shown):
        own = np.array([label == name for label in labels])
        axes.scatter(places[own, 0], places[own, 1], s=6, color=COLORS[number], label=name[:28])
    axes.set_axis_off()
    axes.legend(fontsize=7, markerscale=2, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(target, dpi=110)


def embed_2d(features: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(N, dim) -> places (N, 2) by t-SNE, after 50 principal components (van der Maaten and Hinton 2008)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = min(50, *features.shape)
    reduced = PCA(parts, random_state=seed).fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)
    places: NDArray[np.float32] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return places
