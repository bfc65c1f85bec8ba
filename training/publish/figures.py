"""Images of a training: curves, Figure 3's kernels, Figure 4's bars, the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.network.spec import Architecture

Pixels = NDArray[np.uint8]
RIGHT, WRONG = "#d6409f", "#4c78a8"
"""As in Figure 4: the true class in pink, the others in blue."""


def curves(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, top-1 error and learning rate by epoch, from metrics.jsonl."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    loss, error, rate = figure.subplots(1, 3)
    epochs = [record["epoch"] for record in records]
    for axes, name in ((loss, "loss"), (error, "top1_error")):
        for part, color in (("train", "black"), ("validation", "#c0392b")):
            values = [record.get(f"{part}_{name}", np.nan) for record in records]
            axes.plot(epochs, values, color=color, label=part, linewidth=1.4)
        axes.set(title=name.replace("_", " ").replace("top1", "top-1"), xlabel="epoch", ylim=(0, None))
        axes.legend(frameon=False)
    rate.step(epochs, [record["rate"] for record in records], where="mid", color="black")
    rate.set(title="learning rate", xlabel="epoch", yscale="log")
    for axes in (loss, error, rate):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def kernels(weights: Mapping[str, NDArray[np.float32]], architecture: Architecture) -> Figure:
    """Figure 3: conv1's kernels, 16 a row, tower 1 above tower 2, all on one scale."""
    values = weights["conv1.weight"].transpose(0, 2, 3, 1)  # (96, 11, 11, 3)
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    rows = np.split(scaled, architecture.towers)
    figure = Figure(figsize=(8, 1.7 * architecture.towers), layout="constrained")
    for number, (axes, tower) in enumerate(zip(np.ravel(figure.subplots(len(rows), 1)), rows, strict=True), 1):
        axes.imshow(_tiled(tower), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(f"tower {number}", loc="left", fontsize=9)
    return figure


def _tiled(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, h, w, 3) -> one image of them, 16 a row, with a white pixel between."""
    count, height, width, _ = images.shape
    sheet = np.ones(((height + 1) * -(-count // 16) - 1, (width + 1) * min(16, count) - 1, 3), np.float32)
    for number, image in enumerate(images):
        top, left = (height + 1) * (number // 16), (width + 1) * (number % 16)
        sheet[top : top + height, left : left + width] = image
    return sheet


def answers(
    images: Sequence[Pixels], truth: Sequence[int], probabilities: NDArray[np.float32], names: Sequence[str]
) -> Figure:
    """Figure 4, left: images with their true class below, and the five most probable classes as bars."""
    columns = 4
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(11, 3.6 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [3, 2] * rows})
    for axes in grid.flat:
        axes.set_axis_off()
    for number, image in enumerate(images):
        top, bars = grid[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        top.imshow(image)
        top.set_title(_short(names[truth[number]]), fontsize=9)
        _bars(bars, probabilities[number], truth[number], names)
    return figure


def _bars(axes: Axes, probability: NDArray[np.float32], truth: int, names: Sequence[str]) -> None:
    order = np.argsort(-probability, kind="stable")[:5][::-1]
    axes.set_axis_on()
    axes.barh(range(len(order)), probability[order], color=[RIGHT if c == truth else WRONG for c in order], height=0.8)
    for place, c in enumerate(order):
        axes.text(0.02, place, _short(names[c]), va="center", fontsize=8)
    axes.set(xlim=(0, 1), xticks=[], yticks=[])


def confusion(truth: NDArray[np.int64], named: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Rows: the true class; columns: the class named first; the share of the row. Numbers and names for few classes."""
    classes = len(names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, named), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(max(4.5, 0.16 * classes + 2), 12)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel="named", ylabel="true")
    if classes <= 100:
        small = 8 if classes <= 30 else 5
        axes.set_xticks(range(classes), [_short(name) for name in names], rotation=90, fontsize=small)
        axes.set_yticks(range(classes), [_short(name) for name in names], fontsize=small)
    if classes <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=color, fontsize=8)
    return figure


def _short(name: str) -> str:
    """The first of a synset's names, cut to fit; `$` would start a formula."""
    first = name.split(",")[0].replace("$", r"\$")
    return first if len(first) <= 26 else first[:25] + "…"
