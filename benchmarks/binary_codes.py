"""Recall and mean average precision of the autoencoder's binary codes, compared with LSH, PCA and ITQ.

    python -m benchmarks.binary_codes INDEX [INDEX ...]

A fifth of each index's images, drawn with a seed, 500 at most, are the queries; the encoders are trained on the others.
Recall: share of the exact nearest among the first 100 and 1,000 by Hamming distance. mAP: by label, of the first 1,000.
ITQ is ours and FAISS's. Pixels are the thumbnails at 32 x 32. Writes a result, a plot and drawings of neighbors.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from benchmarks.baselines.hashing import itq, linear_encoder, lsh, pca
from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from index.evaluation import average_precision
from index.protocol import intact_entries
from index.store import ImageIndex
from training.hashing.autoencoder import CodeConfig, train_autoencoder
from training.hashing.binary_encoder import Array, BinaryEncoder

BITS = (28, 64, 128, 256)
SHORTLISTS = (100, 1000)
RECALL_AT = (6, 10)
MAX_QUERIES = 500
NUM_DRAWN = 5
PIXEL_SIZE, PIXEL_BITS = 32, 256


def faiss_itq(features: Array, bits: int) -> BinaryEncoder:
    """As FAISS's ITQTransform trains it, on features of unit length from the mean."""
    transform = faiss.ITQTransform(features.shape[1], bits, True)
    transform.train(features)
    directions = faiss.vector_to_array(transform.pca_then_itq.A).reshape(bits, -1).T
    return linear_encoder("itq", faiss.vector_to_array(transform.mean), directions)


def reconstructing(features: Array, bits: int) -> BinaryEncoder:
    """The autoencoder trained by reconstruction alone, as the paper proposes."""
    return train_autoencoder(features, bits, CodeConfig(objective="reconstruction"))


METHODS: dict[str, Callable[[Array, int], BinaryEncoder]] = {
    "lsh": lsh,
    "pca": pca,
    "itq": itq,
    "autoencoder": train_autoencoder,
    "autoencoder by reconstruction": reconstructing,
    "itq (FAISS)": faiss_itq,
}


class LabeledImages:
    """Features, thumbnails and labels of an index, divided into `queries` and `rest` (arrays of numbers)."""

    def __init__(self, path: Path) -> None:
        with closing(ImageIndex.open(path)) as index:
            entries = [entry for entry in intact_entries(index) if entry.label]
            self.name, self.labels = path.name, np.array([entry.label for entry in entries])
            self.features = np.stack([index.feature(entry.id) for entry in entries])
            self.thumbnails = [index.catalog.thumbnail(entry.id) for entry in entries]
        order = np.random.default_rng(0).permutation(len(entries))
        self.queries, self.rest = np.split(order, [min(MAX_QUERIES, len(entries) // 5)])

    def pixels(self) -> Array:
        """(N, 3072) float32, 0..255."""
        size = (PIXEL_SIZE, PIXEL_SIZE)
        small = [Image.open(io.BytesIO(data)).convert("RGB").resize(size) for data in self.thumbnails]
        return np.stack([np.asarray(image, np.float32).ravel() for image in small])

    def relevant(self, ranking: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of (Q, k) ranked rows of `rest` has the label of its query."""
        return np.asarray(self.labels[self.rest][ranking] == self.labels[self.queries][:, None])


def rank_by_code(encoder: BinaryEncoder, queries: Array, rows: Array) -> NDArray[np.int64]:
    """(Q, 1000) rows by Hamming distance."""
    count = min(max(SHORTLISTS), len(rows))
    return np.asarray(faiss.knn_hamming(encoder.encode(queries), encoder.encode(rows), count)[1], np.int64)


def measure(ranking: NDArray[np.int64], exact: NDArray[np.int64], relevant: NDArray[np.bool_]) -> dict[str, float]:
    """Recall of the (Q, 10) `exact` nearest rows by a (Q, 1000) ranking, and its mean average precision."""
    recall = {
        f"recall of {k} in {size}": float(
            np.mean([len(set(a[:k]) & set(b[:size])) / k for a, b in zip(exact, ranking, strict=True)])
        )
        for size in SHORTLISTS
        for k in RECALL_AT
    }
    return recall | {"mAP": float(np.mean([average_precision(hits) for hits in relevant]))}


def compare(images: LabeledImages, lengths: Sequence[int], log: Callable[[str], None]) -> dict[str, Any]:
    """Every method at every length; the exact ranking by features first, and codes of pixels last."""
    features, pixels = images.features, images.pixels()
    queries, rows = features[images.queries], features[images.rest]
    exact = np.asarray(faiss.knn(queries, rows, min(max(SHORTLISTS), len(rows)))[1])
    result: dict[str, Any] = {"exact": measure(exact, exact[:, :10], images.relevant(exact))}
    drawn: dict[str, NDArray[np.int64]] = {}
    for bits in lengths:
        for name, train in METHODS.items():
            start = time.perf_counter()
            ranking = rank_by_code(train(rows, bits), queries, rows)
            if train is train_autoencoder:
                drawn["features"] = ranking
            row = measure(ranking, exact[:, :10], images.relevant(ranking))
            row |= {"seconds": time.perf_counter() - start}
            result[f"{name}, {bits}"] = row
            log(f"{images.name:8} {bits:3} bits {name:29} " + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    for name, train in (("autoencoder", train_autoencoder), ("autoencoder by reconstruction", reconstructing)):
        by_pixels = rank_by_code(train(pixels[images.rest], PIXEL_BITS), pixels[images.queries], pixels[images.rest])
        drawn.setdefault("pixels", by_pixels)
        row = measure(by_pixels, exact[:, :10], images.relevant(by_pixels))
        result[f"{name} of pixels, {PIXEL_BITS}"] = row
        log(f"{images.name:8} {PIXEL_BITS:3} bits {name} of pixels: {row}")
    result["drawn"] = {kind: ranking[:NUM_DRAWN, :6].tolist() for kind, ranking in drawn.items()}
    return result


def draw_neighbors(images: LabeledImages, rankings: dict[str, list[list[int]]], path: Path) -> None:
    """Five queries, six neighbors by codes of features and six by codes of pixels."""
    figure = Figure(figsize=(13, 1.15 * NUM_DRAWN), layout="constrained")
    axes = figure.subplots(NUM_DRAWN, 13)
    for row in range(NUM_DRAWN):
        cells = [("query", images.queries[row])]
        cells += [(kind, images.rest[number]) for kind in ("features", "pixels") for number in rankings[kind][row]]
        for axis, (kind, number) in zip(axes[row], cells, strict=True):
            axis.imshow(np.asarray(Image.open(io.BytesIO(images.thumbnails[number]))), cmap="gray")
            axis.set_xticks([])
            axis.set_yticks([])
            same = images.labels[number] == images.labels[images.queries[row]]
            for side in axis.spines.values():
                side.set(color="black" if kind == "query" else "#1a7f37" if same else "#cf222e", linewidth=2)
    for column, title in ((0, "query"), (3, "by codes of features"), (9, "by codes of pixels")):
        axes[0][column].set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)


def draw_curves(results: dict[str, dict[str, Any]], lengths: Sequence[int], path: Path) -> None:
    """Recall of the nearest ten among a hundred, by code length."""
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
    bits: Annotated[list[int] | None, typer.Option(help="Length of the codes; repeat it for several.")] = None,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print, draw, and write a dated result."""
    facts: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    results: dict[str, dict[str, Any]] = {}
    lengths = bits or BITS
    for path in indexes:
        images = LabeledImages(path)
        results[images.name] = compare(images, lengths, typer.echo)
        draw_neighbors(images, results[images.name].pop("drawn"), output / f"codes-{images.name}.jpg")
    draw_curves(results, lengths, output / "codes-recall.png")
    typer.echo(f"wrote {write(facts | {'indexes': results}, output, 'codes')}")


if __name__ == "__main__":
    typer.run(main)
