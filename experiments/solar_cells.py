"""Functional or defective solar cells (ELPV), beside Deitsch et al. 2019: several seeds, from nothing and not.

As they did, 75 % of the cells to train and 25 % to test, split by type and probability of a defect. The network has
eight classes, type times probability. Two readings of these probabilities, ten crops each: a cell is defective where
its probability is above a half, and weighs as much as that is sure, 1 for 0 and 1, 2/3 for 1/3 and 2/3; or every doubt
is a defect, which weighs its probability. The probability of a defect is the sum over the classes that are defective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import command
from experiments.results import Results
from model.artifacts import artifact as artifacts
from model.runtime import OnnxModel
from training import config
from training.data import datasets
from training.data.datasets import Dataset
from training.data.folders import ABOUT
from training.evaluation.evaluate import Predictions, predict, read

PUBLISHED = {"SVM": 82.44, "CNN": 88.42}
"""Accuracy in percent, of Deitsch et al. 2019: hand-made features, and a VGG-19 started from ImageNet."""
COPIED = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
"""Layers that are copied; they learn at the full rate, since cells look like nothing else."""
POINTS = 101
"""Of a curve that is kept."""


class Cells(NamedTuple):
    """What is known of cells, or of classes of them: `defective` (M,), and `weights` (M,)."""

    defective: NDArray[np.bool_]
    weights: NDArray[np.float64]


def cells(dataset: Dataset, doubtful: bool) -> Cells:
    """By class: whether it is defective, and how sure that is; `doubtful`: every doubt is a defect. Classes are called
    mono-0, poly-67 and so on."""
    percent = np.array([int(label.id.rpartition("-")[2]) for label in dataset.labels])
    thirds = np.round(3 * percent / 100)
    if doubtful:
        return Cells(percent > 0, np.where(percent > 0, thirds / 3, 1.0))
    return Cells(percent > 50, np.where(thirds % 3 == 0, 1.0, 2 / 3))


def measure(network: Path, dataset: Dataset) -> dict[str, Any]:
    """Accuracies by both readings, and by the first the confusion matrix (rows: truth; functional first) and the curve,
    on the test part."""
    found = predict(OnnxModel(network), read(dataset.test), len(dataset.test))
    doubted, classes = cells(dataset, doubtful=True), cells(dataset, doubtful=False)
    probability, truth = _test_cells(found, classes)
    named = probability > 0.5
    matrix = [[int(((truth.defective == row) & (named == column)).sum()) for column in (0, 1)] for row in (0, 1)]
    false, true, area = curve(probability, truth)
    return {
        "accuracy": _right(probability, truth._replace(weights=np.ones(len(named)))),
        "weighted_accuracy": _right(probability, truth),
        "doubted_accuracy": _right(*_test_cells(found, doubted)),
        "confusion": matrix,
        "area": round(area, 4),
        "curve": [np.round(false, 4).tolist(), np.round(true, 4).tolist()],
    }


def _test_cells(found: Predictions, classes: Cells) -> tuple[NDArray[np.float64], Cells]:
    """The probability that each test cell is defective, and what it is."""
    truth = Cells(classes.defective[found.labels], classes.weights[found.labels])
    return found.best[:, classes.defective].sum(1, dtype=np.float64), truth


def _right(probability: NDArray[np.float64], truth: Cells) -> float:
    """Percent named rightly, each with its weight."""
    return round(100 * float(np.average((probability > 0.5) == truth.defective, weights=truth.weights)), 2)


def curve(probability: NDArray[np.floating], truth: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Rates of false and of true alarms at `POINTS` places, and the area below, each cell with its weight."""
    order = np.argsort(-probability, kind="stable")
    alarms, weights, ranked = truth.defective[order], truth.weights[order], probability[order]
    true, false = np.cumsum(weights * alarms), np.cumsum(weights * ~alarms)
    last = np.r_[np.flatnonzero(np.diff(ranked)), len(ranked) - 1]  # equal probabilities are one threshold
    true, false = np.r_[0, true[last] / true[-1]], np.r_[0, false[last] / false[-1]]
    places = np.linspace(0, 1, POINTS)
    return places, np.interp(places, false, true), float(np.trapezoid(true, false))


def draw(results: Results, starts: Mapping[str, Any]) -> Figure:
    """All curves, and the sum of the confusion matrices by start."""
    figure = Figure(figsize=(4 + 2.6 * len(starts), 4), layout="constrained")
    curves, *matrices = figure.subplots(1, 1 + len(starts), width_ratios=[4, *[2.6] * len(starts)])
    for number, (start, axes) in enumerate(zip(starts, matrices, strict=True)):
        runs = [run for name, run in results.runs.items() if name.startswith(f"{start}, ")]
        for place, run in enumerate(runs):
            area = np.mean([r["area"] for r in runs])
            label = None if place else f"{start}, area {area:.3f}"
            curves.plot(*run["curve"], color=f"C{number}", alpha=0.7, label=label)
        total = np.sum([run["confusion"] for run in runs], axis=0)
        axes.imshow(total / total.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(2, 2):
            share = total[row, column] / total[row].sum()
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{100 * share:.1f} %", ha="center", va="center", color=color)
        kinds = ["functional", "defective"]
        axes.set_xticks([0, 1], kinds, fontsize=8)
        axes.set_yticks([0, 1], kinds, fontsize=8, rotation=90, va="center")
        axes.set(title=start, xlabel="named", ylabel="true")
    curves.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle=":")
    curves.set(xlabel="false alarms", ylabel="defects found", xlim=(0, 1), ylim=(0, 1))
    curves.legend(frameon=False, loc="lower right")
    return figure


def _table(dataset: Dataset, path: Path) -> Path:
    """A file that `--data` takes, of these images alone."""
    path.write_text(dataset.split_csv())
    path.with_suffix(ABOUT).write_text(dataset.account().model_dump_json())
    return path


def main(
    init_from: Annotated[list[Path] | None, typer.Option(help="Artifacts to start from, besides from nothing.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each start.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="At most so many.")] = 60,
    narrow: Annotated[bool, typer.Option("--narrow", help="The network of the ablations: minutes a run.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds: an epoch of a narrow network on every 40th cell.")
    ] = False,
    output: command.OutputOption = command.RESULTS,
    cache: Annotated[Path, typer.Option(help="Decoded images.")] = Path("cache"),
) -> None:
    """Accuracy, confusion matrix and curve for functional against defective; stopped, it goes on where it was."""
    options: dict[str, Any] = {"epochs": epochs, "measure": "center"}
    options |= {"hidden": 256, "widths": (16, 40, 64, 64, 40)} if narrow else {}
    if quick:
        output /= command.QUICK
        seeds, options = 1, {"epochs": 1, "hidden": 16, "widths": (4, 8, 8, 8, 8), "measure": "center"}
    starts: dict[str, dict[str, Any]] = {"from nothing": {}}
    for path in init_from or []:
        artifact = artifacts.load(path)
        begun = {"init_from": artifact.path, "rates": dict.fromkeys(COPIED, 1.0)}
        starts[f"from {artifact.manifest.name}"] = begun
    results = Results(output / "solar_cells.json", {"options": options})
    dataset = datasets.load("elpv")
    with TemporaryDirectory() as scratch:
        data = "elpv"
        if quick:
            few = slice(None, None, 40)
            dataset = replace(
                dataset, train=dataset.train[few], validation=dataset.validation[few], test=dataset.test[few]
            )
            data = str(_table(dataset, Path(scratch) / "cells.csv"))
        places = {"artifacts": Path(scratch) / "artifacts", "runs": Path(scratch) / "runs", "cache": cache}
        for seed in range(seeds):
            for start, begun in starts.items():
                name = f"{start}, seed {seed}"
                if name not in results.runs:
                    given = {"data": data, "name": "cells", "seed": seed} | options | begun | places
                    results.add(name, measure(command.trained(config.configure(given)).network, dataset))
    draw(results, starts).savefig(output / "solar_cells.png", dpi=100)
    for start in starts:
        runs = [run for name, run in results.runs.items() if name.startswith(f"{start}, ")]
        kinds = ("accuracy", "weighted_accuracy", "doubted_accuracy")
        said = [f"{np.mean([run[kind] for run in runs]):.2f}" for kind in kinds]
        each = ", ".join(f"{run['accuracy']:.2f}" for run in runs)
        area = np.mean([run["area"] for run in runs])
        typer.echo(
            f"{start}: {said[0]} % right ({each}), {said[1]} % by weight, {said[2]} % with every doubt a defect, "
            f"area {area:.3f}"
        )
    typer.echo(f"Deitsch et al. 2019: {', '.join(f'{name} {right} %' for name, right in PUBLISHED.items())}")


if __name__ == "__main__":
    command.run(main)
