"""Measure recall and mean average precision of the autoencoder's binary codes, compared with LSH, PCA and ITQ.

    python -m benchmarks.binary_codes INDEX [INDEX ...]

A fifth of each index's images, at most 500, drawn with a seed, are the queries; the encoders are trained on the rest.
Recall: share of the exact nearest neighbors among the first 100 and 1,000 by Hamming distance. mAP: by label, over the
first 1,000. ITQ is measured in our implementation and in FAISS's. Pixels are the thumbnails at 32 x 32. Writes a
result, a plot and drawings of neighbors.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import faiss
import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from benchmarks.baselines.hashing import itq, linear_encoder, lsh, pca
from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from index.evaluation import average_precision
from index.folder.store import FolderIndex
from index.protocol import intact_entries
from training.hashing.autoencoder import CodeConfig, train_autoencoder
from training.hashing.binary_encoder import Array, BinaryEncoder

BITS = (28, 64, 128, 256)
SHORTLISTS = (100, 1000)
RECALL_AT = (6, 10)
MAX_NEIGHBORS = max(RECALL_AT)
MAX_QUERIES = 500
NUM_DRAWN_QUERIES, NUM_DRAWN_NEIGHBORS = 5, 6
PIXEL_SIZE, PIXEL_BITS = 32, 256


def train_faiss_itq(features: Array, bits: int) -> BinaryEncoder:
    """FAISS's ITQTransform, which scales centered features to unit length."""
    transform = faiss.ITQTransform(features.shape[1], bits, True)
    transform.train(features)
    directions = faiss.vector_to_array(transform.pca_then_itq.A).reshape(bits, -1).T
    return linear_encoder("itq", faiss.vector_to_array(transform.mean), directions)


def train_by_reconstruction(features: Array, bits: int) -> BinaryEncoder:
    """The autoencoder trained by reconstruction alone, as the paper proposes."""
    return train_autoencoder(features, bits, CodeConfig(objective="reconstruction"))


METHODS: dict[str, Callable[[Array, int], BinaryEncoder]] = {
    "lsh": lsh,
    "pca": pca,
    "itq": itq,
    "autoencoder": train_autoencoder,
    "autoencoder by reconstruction": train_by_reconstruction,
    "itq (FAISS)": train_faiss_itq,
}


class LabeledImages:
    """Features, thumbnails and labels of an index's labeled images.

    `queries` (Q,), `others` (M,): row numbers of the query images and of the searched images.
    """

    def __init__(self, path: Path) -> None:
        with closing(FolderIndex.open(path)) as index:
            entries = [entry for entry in intact_entries(index) if entry.label]
            self.name, self.labels = path.name, np.array([entry.label for entry in entries])
            self.features = np.stack([index.feature(entry.id) for entry in entries])
            self.thumbnails = [index.catalog.thumbnail(entry.id) for entry in entries]
        order = np.random.default_rng(0).permutation(len(entries))
        self.queries, self.others = np.split(order, [min(MAX_QUERIES, len(entries) // 5)])

    def read_pixels(self) -> Array:
        """Thumbnails as (N, 3072) float32, 0..255."""
        size = (PIXEL_SIZE, PIXEL_SIZE)
        small = [Image.open(io.BytesIO(data)).convert("RGB").resize(size) for data in self.thumbnails]
        return np.stack([np.asarray(image, np.float32).ravel() for image in small])

    def match_labels(self, ranking: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of (Q, k) ranked rows of `others` has the label of its query."""
        return np.asarray(self.labels[self.others][ranking] == self.labels[self.queries][:, None])


def rank_by_code(encoder: BinaryEncoder, queries: Array, rows: Array) -> NDArray[np.int64]:
    """(Q, 1000) rows by Hamming distance."""
    count = min(max(SHORTLISTS), len(rows))
    return np.asarray(faiss.knn_hamming(encoder.encode(queries), encoder.encode(rows), count)[1], np.int64)


def measure(ranking: NDArray[np.int64], exact: NDArray[np.int64], relevant: NDArray[np.bool_]) -> dict[str, float]:
    """Recall of the (Q, 10) `exact` nearest rows in a (Q, 1000) ranking, and the ranking's mean average precision as
    hashing papers define it: over the relevant rows in the ranking, not over all relevant rows."""
    recall = {
        f"recall of {k} in {size}": float(
            np.mean([len(set(a[:k]) & set(b[:size])) / k for a, b in zip(exact, ranking, strict=True)])
        )
        for size in SHORTLISTS
        for k in RECALL_AT
    }
    return recall | {"mAP": float(np.mean([average_precision(hits, int(hits.sum())) for hits in relevant]))}


def compare(images: LabeledImages, lengths: Sequence[int], drawing: Path) -> dict[str, dict[str, float]]:
    """Measure the exact ranking, every method at every code length, and codes of pixels.

    `drawing`: image file to write, with some queries and their neighbors.
    """
    queries, rows = images.features[images.queries], images.features[images.others]
    exact = np.asarray(faiss.knn(queries, rows, min(max(SHORTLISTS), len(rows)))[1])
    results: dict[str, dict[str, float]] = {}
    drawn: dict[str, NDArray[np.int64]] = {}

    def add(name: str, ranking: NDArray[np.int64]) -> None:
        results[name] = measure(ranking, exact[:, :MAX_NEIGHBORS], images.match_labels(ranking))

    add("exact", exact)
    for bits in lengths:
        for method, train in METHODS.items():
            start = time.perf_counter()
            ranking = rank_by_code(train(rows, bits), queries, rows)
            seconds = time.perf_counter() - start
            add(f"{method}, {bits}", ranking)
            results[f"{method}, {bits}"]["seconds"] = seconds
            if train is train_autoencoder:
                drawn["codes of features"] = ranking
    pixels = images.read_pixels()
    for method, train in (
        ("autoencoder", train_autoencoder),
        ("autoencoder by reconstruction", train_by_reconstruction),
    ):
        rows = pixels[images.others]
        ranking = rank_by_code(train(rows, PIXEL_BITS), pixels[images.queries], rows)
        add(f"{method} of pixels, {PIXEL_BITS}", ranking)
        drawn.setdefault("codes of pixels", ranking)
    draw_neighbors(images, drawn, drawing)
    return results


def draw_neighbors(images: LabeledImages, rankings: dict[str, NDArray[np.int64]], path: Path) -> None:
    """Draw five queries with the six nearest by each ranking; a green frame means that the label is the query's."""
    figure = Figure(figsize=(13, 1.15 * NUM_DRAWN_QUERIES), layout="constrained")
    axes = figure.subplots(NUM_DRAWN_QUERIES, 1 + len(rankings) * NUM_DRAWN_NEIGHBORS)
    for number, query in enumerate(images.queries[:NUM_DRAWN_QUERIES]):
        nearest = np.concatenate([ranking[number, :NUM_DRAWN_NEIGHBORS] for ranking in rankings.values()])
        for axis, row in zip(axes[number], [query, *images.others[nearest]], strict=True):
            axis.imshow(np.asarray(Image.open(io.BytesIO(images.thumbnails[row]))), cmap="gray")
            axis.set_xticks([])
            axis.set_yticks([])
            has_same_label = images.labels[row] == images.labels[query]
            for spine in axis.spines.values():
                spine.set(color="black" if row == query else "#1a7f37" if has_same_label else "#cf222e", linewidth=2)
    axes[0][0].set_title("query", fontsize=9)
    for number, name in enumerate(rankings):
        axes[0][3 + number * NUM_DRAWN_NEIGHBORS].set_title(f"by {name}", fontsize=9)
    figure.savefig(path, dpi=110)


def draw_curves(results: dict[str, dict[str, dict[str, float]]], lengths: Sequence[int], path: Path) -> None:
    """Plot the recall of the nearest ten among a hundred by code length."""
    figure = Figure(figsize=(4 * len(results), 3.2), layout="constrained")
    for axis, (name, rows) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        for method in METHODS:
            recall = [100 * rows[f"{method}, {bits}"]["recall of 10 in 100"] for bits in lengths]
            axis.plot(lengths, recall, "o-", label=method)
        axis.set(title=name, xlabel="bits", ylabel="recall of 10 in 100, %", xscale="log", ylim=(0, 102))
        axis.set_xticks(lengths, [str(bits) for bits in lengths])
        axis.minorticks_off()
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def main(
    indexes: Annotated[list[Path], typer.Argument(help="Folders of indexes with labels.")],
    bits: Annotated[list[int] | None, typer.Option(min=8, help="Bits per code; may be repeated.")] = None,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print, draw, and write a dated result."""
    output.mkdir(parents=True, exist_ok=True)
    lengths, results = bits or BITS, {}
    for path in indexes:
        images = LabeledImages(path)
        results[images.name] = compare(images, lengths, output / f"codes-{images.name}.jpg")
        typer.echo(format_table(results[images.name], images.name))
    draw_curves(results, lengths, output / "codes-recall.png")
    write_result(output, "codes", {"indexes": results})


if __name__ == "__main__":
    run_main(main)
