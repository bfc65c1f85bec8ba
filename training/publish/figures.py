"""Figures of a training run: curves, kernels (Figure 3), predictions (Figure 4), confusion matrix.

Each is drawn in the colors of the current theme (`themed`): for a light page by default, or for a dark one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.artifacts.class_names import name_in_figure, short_names
from model.artifacts.kernels import SHEET_COLUMNS
from model.runtime import top_k
from training.optim.range_test import RangeTest, smooth

Pixels = NDArray[np.uint8]
TRUE_CLASS, OTHER_CLASS = "#d6409f", "#4c78a8"
"""As in Figure 4: the true class in pink, the others in blue."""
ACCENT = "#d9534f"
"""Red that can be read on white and on black."""
MAX_NAMED_CLASSES, MAX_COUNTED_CLASSES = 100, 20
"""Maximum number of classes for names beside a confusion matrix, and for numbers in it."""
LIGHT, DARK = ("#ffffff", "#1a1a1a", "#8a8a8a"), ("#16181c", "#e6e6e6", "#8a8a8a")
"""Background, text, and what is less important."""


@contextmanager
def themed(dark: bool) -> Iterator[None]:
    """The colors of the figures that are made and saved in this context."""
    background, text, faint = DARK if dark else LIGHT
    with mpl.rc_context(
        {
            "figure.facecolor": background,
            "axes.facecolor": background,
            "savefig.facecolor": background,
            "text.color": text,
            "axes.labelcolor": text,
            "xtick.labelcolor": text,
            "ytick.labelcolor": text,
            "axes.edgecolor": faint,
            "xtick.color": faint,
            "ytick.color": faint,
        }
    ):
        yield


def draw_curves(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, top-1 error and learning rate by epoch, from the records of metrics.jsonl."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    loss, error, learning_rate = figure.subplots(1, 3)
    epochs = [record["epoch"] for record in records]
    text = mpl.rcParams["text.color"]
    marker = "o" if len(records) == 1 else ""
    for axes, name in ((loss, "loss"), (error, "top1_error")):
        for split, color in (("train", text), ("validation", ACCENT)):
            values = [record.get(f"{split}_{name}", np.nan) for record in records]
            axes.plot(epochs, values, color=color, label=split, linewidth=1.4, marker=marker)
        axes.set(title=name.replace("_", " ").replace("top1", "top-1"), xlabel="epoch", ylim=(0, None))
        axes.legend(frameon=False)
    rates = [record["learning_rate"] for record in records]
    learning_rate.step(epochs, rates, where="mid", color=text, marker=marker)
    scale = "log" if any(rate > 0 for rate in rates) else "linear"
    learning_rate.set(title="learning rate", xlabel="epoch", yscale=scale)
    for axes in (loss, error, learning_rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def draw_range_test(test: RangeTest) -> Figure:
    """The losses of a range test by learning rate, their moving average, and the rate that was found."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    text, faint = mpl.rcParams["text.color"], mpl.rcParams["axes.edgecolor"]
    axes.plot(test.rates, test.losses, color=faint, linewidth=1, label="steps")
    axes.plot(test.rates, smooth(list(test.losses)), color=text, linewidth=1.4, label="moving average")
    if test.best_rate is not None:
        axes.axvline(test.best_rate, color=ACCENT, linewidth=1.4, label=f"found: {test.best_rate:g}")
    highest = 2 * max(test.losses[:1], default=1.0)  # exploded losses are cut off
    axes.set(xlabel="learning rate", ylabel="loss", xscale="log", ylim=(0, highest))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_kernels(kernels: NDArray[np.float32], towers: int) -> Figure:
    """Figure 3: the kernels (N, h, w, 3) of conv1, `SHEET_COLUMNS` per row, tower 1 above tower 2, all on one scale."""
    scaled = (kernels - kernels.min()) / max(float(np.ptp(kernels)), 1e-12)
    rows = np.split(scaled, towers)
    figure = Figure(figsize=(8, 1.7 * towers), layout="constrained")
    for number, (axes, tower) in enumerate(zip(np.ravel(figure.subplots(len(rows), 1)), rows, strict=True), 1):
        axes.imshow(_tile(tower), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(f"tower {number}", loc="left", fontsize=9)
    return figure


def _tile(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, h, w, 3) -> one image (..., 4) with `SHEET_COLUMNS` of them per row and a transparent pixel between."""
    count, height, width, _ = images.shape
    rows, columns = -(-count // SHEET_COLUMNS), min(SHEET_COLUMNS, count)
    sheet = np.zeros(((height + 1) * rows - 1, (width + 1) * columns - 1, 4), np.float32)
    for number, image in enumerate(images):
        top, left = (height + 1) * (number // SHEET_COLUMNS), (width + 1) * (number % SHEET_COLUMNS)
        sheet[top : top + height, left : left + width, :3] = image
        sheet[top : top + height, left : left + width, 3] = 1
    return sheet


def draw_predictions(
    images: Sequence[Pixels], labels: Sequence[int], probabilities: NDArray[np.float32], names: Sequence[str]
) -> Figure:
    """Figure 4, left: images, their true class below, and the five most probable classes as bars."""
    columns, shown = 4, short_names(names)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(11, 3.8 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [3, 2] * rows})
    for axes in grid.flat:
        axes.set_axis_off()
    for number, image in enumerate(images):
        top, bars = grid[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        top.imshow(image)
        name = name_in_figure(shown[labels[number]])
        top.text(0.5, -0.03, name, transform=top.transAxes, ha="center", va="top", fontsize=9)
        _bars(bars, probabilities[number], labels[number], shown)
    return figure


def _bars(axes: Axes, probability: NDArray[np.float32], label: int, names: Sequence[str]) -> None:
    order = top_k(probability, 5)[::-1]
    axes.set_axis_on()
    axes.barh(
        range(len(order)),
        probability[order],
        color=[TRUE_CLASS if c == label else OTHER_CLASS for c in order],
        height=0.8,
    )
    for place, c in enumerate(order):
        axes.text(0.02, place, name_in_figure(names[c], 36, 1), va="center", fontsize=8)
    axes.set(xlim=(0, 1), xticks=[], yticks=[])


def draw_confusion_matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Confusion matrix (classes, classes): true classes in rows, predicted ones in columns, as shares of the row.

    With names and numbers if there are few classes.
    """
    classes = len(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(max(4.5, 0.16 * classes + 2), 12)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel="predicted", ylabel="true")
    if classes <= MAX_NAMED_CLASSES:
        small, shown = 8 if classes <= 30 else 5, [name_in_figure(name) for name in short_names(names)]
        axes.set_xticks(range(classes), shown, rotation=90, fontsize=small)
        axes.set_yticks(range(classes), shown, fontsize=small)
    if classes <= MAX_COUNTED_CLASSES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color, fontsize=8)
    return figure
