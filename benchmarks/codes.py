"""`python benchmarks/codes.py INDEX ...`: coders side by side on the features of indexes, and on their pixels.

A seeded fifth of each index's images, 500 at most, ask; the coders are trained on the rest. Recall is the share of
the exact nearest among the first 100 and 1,000 by Hamming distance; mAP is by label, of the first 1,000. ITQ is
FAISS's as well as ours. Pixels are the thumbnails at 32 x 32. Writes docs/results/, a table and two images.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import faiss
import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import commit, machine, write
from index.evaluation import average_precision
from index.store import ImageIndex
from training.hashing.autoencoder import CodeConfig
from training.hashing.coders import Array, Coder, linear
from training.hashing.train_codes import CODERS, make

BITS, LISTS, NEAR, SHOWN = (28, 64, 128, 256), (100, 1000), (6, 10), 5
PIXELS = 32


def itq_of_faiss(features: Array, bits: int) -> Coder:
    """As FAISS's ITQTransform trains it, on features of unit length from the mean."""
    transform = faiss.ITQTransform(features.shape[1], bits, True)
    transform.train(features)
    directions = faiss.vector_to_array(transform.pca_then_itq.A).reshape(bits, -1).T
    return linear("itq", faiss.vector_to_array(transform.mean), directions)


def named(kind: str) -> Callable[[Array, int], Coder]:
    return lambda features, bits: make(kind, features, bits, CodeConfig(), None)


MAKERS: dict[str, Callable[[Array, int], Coder]] = {kind: named(kind) for kind in reversed(CODERS)}
MAKERS["itq (FAISS)"] = itq_of_faiss


class Images:
    """An index's features, pixels and labels; `asking`: those that ask, `rest`: those that are asked."""

    def __init__(self, path: Path) -> None:
        with closing(ImageIndex.open(path)) as index:
            entries = [e for e in index.catalog.everything() if e.label and e.id not in index.damaged]
            self.name, self.labels = path.name, np.array([entry.label for entry in entries])
            self.features = np.stack([index.feature(entry.id) for entry in entries])
            self.thumbnails = [index.catalog.thumbnail(entry.id) for entry in entries]
        order = np.random.default_rng(0).permutation(len(entries))
        self.asking, self.rest = np.split(order, [min(500, len(entries) // 5)])

    def pixels(self) -> Array:
        """(N, 3072) float32, 0..255."""
        small = [Image.open(io.BytesIO(data)).convert("RGB").resize((PIXELS, PIXELS)) for data in self.thumbnails]
        return np.stack([np.asarray(image, np.float32).ravel() for image in small])


def ranked(coder: Coder, asked: Array, rows: Array) -> NDArray[np.int64]:
    """(Q, 1000) rows by Hamming distance."""
    count = min(max(LISTS), len(rows))
    return np.asarray(faiss.knn_hamming(coder.encode(asked), coder.encode(rows), count)[1], np.int64)


def measure(order: NDArray[np.int64], exact: NDArray[np.int64], right: NDArray[np.bool_]) -> dict[str, float]:
    """`exact`: (Q, 10) nearest rows by features; `right`: (Q, 1000), whether a ranked row has the query's label."""
    found = {
        f"recall of {k} in {listed}": float(
            np.mean([len(set(a[:k]) & set(b[:listed])) / k for a, b in zip(exact, order, strict=True)])
        )
        for listed in LISTS
        for k in NEAR
    }
    return found | {"mAP": float(np.mean([average_precision(hits) for hits in right]))}


def compare(images: Images, say: Callable[[str], None]) -> dict[str, Any]:
    """Every coder at every length; the exact ranking by features first, and codes of pixels last."""
    features, pixels = images.features, images.pixels()
    asked, rows, labels = features[images.asking], features[images.rest], images.labels
    exact = np.asarray(faiss.knn(asked, rows, min(max(LISTS), len(rows)))[1])

    def right(order: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(labels[images.rest][order] == labels[images.asking][:, None])

    found: dict[str, Any] = {"exact": measure(exact, exact[:, :10], right(exact))}
    for bits in BITS:
        for name, maker in MAKERS.items():
            begun = time.perf_counter()
            order = ranked(maker(rows, bits), asked, rows)
            row = measure(order, exact[:, :10], right(order)) | {"seconds": time.perf_counter() - begun}
            found[f"{name}, {bits}"] = row
            say(f"{images.name:8} {bits:3} bits {name:12} " + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    coder = make("autoencoder", pixels[images.rest], 256, CodeConfig(), None)
    order = ranked(coder, pixels[images.asking], pixels[images.rest])
    found["autoencoder of pixels, 256"] = measure(order, exact[:, :10], right(order))
    say(f"{images.name:8} 256 bits of pixels      {found['autoencoder of pixels, 256']}")
    codes = ranked(make("autoencoder", rows, 256, CodeConfig(), None), asked, rows)
    found["shown"] = {"features": codes[:SHOWN, :6].tolist(), "pixels": order[:SHOWN, :6].tolist()}
    return found


def drawing(images: Images, shown: dict[str, list[list[int]]], path: Path) -> None:
    """Five queries, six neighbors by codes of features and six by codes of pixels."""
    figure = Figure(figsize=(13, 1.15 * SHOWN), layout="constrained")
    axes = figure.subplots(SHOWN, 13)
    for row in range(SHOWN):
        chosen = [("query", images.asking[row])]
        chosen += [(kind, images.rest[place]) for kind in ("features", "pixels") for place in shown[kind][row]]
        for axis, (kind, place) in zip(axes[row], chosen, strict=True):
            axis.imshow(np.asarray(Image.open(io.BytesIO(images.thumbnails[place]))), cmap="gray")
            axis.set_xticks([])
            axis.set_yticks([])
            same = images.labels[place] == images.labels[images.asking[row]]
            for side in axis.spines.values():
                side.set(color="black" if kind == "query" else "#1a7f37" if same else "#cf222e", linewidth=2)
    for place, title in ((0, "query"), (3, "by codes of features"), (9, "by codes of pixels")):
        axes[0][place].set_title(title, fontsize=9)
    figure.savefig(path, dpi=110)


def curves(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Recall of the nearest ten among a hundred, by length."""
    figure = Figure(figsize=(4 * len(found), 3.2), layout="constrained")
    for axis, (name, rows) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for maker in MAKERS:
            axis.plot(BITS, [100 * rows[f"{maker}, {bits}"]["recall of 10 in 100"] for bits in BITS], "o-", label=maker)
        axis.set(title=name, xlabel="bits", ylabel="recall of 10 in 100, %", xscale="log", ylim=(0, 102))
        axis.set_xticks(BITS, [str(bits) for bits in BITS])
        axis.minorticks_off()
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def main(
    indexes: Annotated[list[Path], typer.Argument(help="Folders of indexes with labels.")],
    output: Annotated[Path, typer.Option(help="Where results go.")] = ROOT / "docs" / "results",
) -> None:
    """Measure, print, draw, and write a dated result."""
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    found: dict[str, dict[str, Any]] = {}
    for path in indexes:
        images = Images(path)
        found[images.name] = compare(images, typer.echo)
        shown = found[images.name].pop("shown")
        drawing(images, shown, output / f"codes-{images.name}.jpg")
    curves(found, output / "codes-recall.png")
    typer.echo(f"written: {write(result | {'indexes': found}, output, 'codes')}")


if __name__ == "__main__":
    typer.run(main)
