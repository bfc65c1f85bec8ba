"""Compare accuracy on functional and defective solar cells (ELPV), from scratch or fine-tuned, to Deitsch et al. 2019.

As in that paper, 75 % of the cells are for training and 25 % for testing, split by type and defect probability. The
network has eight classes, type times probability. These probabilities are read in two ways, with ten crops each: either
a cell is defective if its probability is above a half, and its weight is how certain that is (1 for 0 and 1, 2/3 for
1/3 and 2/3); or any probability above zero is a defect, weighted by it. The predicted probability of a defect is the
sum over the defective classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import command
from experiments.results import Results
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact
from model.exceptions import TrainingError
from model.runtime import OnnxModel
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.data.archives import load_elpv
from training.data.datasets import Dataset
from training.data.folders import write_table
from training.evaluation.evaluate import decode_batches, predict
from training.evaluation.predictions import Predictions

PUBLISHED = {"SVM": 82.44, "CNN": 88.42}
"""Accuracy in percent, of Deitsch et al. 2019: hand-crafted features, and a VGG-19 pre-trained on ImageNet."""
CURVE_POINTS = 101
NARROW = NetworkOptions(hidden=256, channels=(16, 40, 64, 64, 40))
"""The network of the ablations."""


class Truth(NamedTuple):
    """The truth about M cells, or classes of cells: `defective` (M,), and their `weights` (M,)."""

    defective: NDArray[np.bool_]
    weights: NDArray[np.float64]


def create_truth(dataset: Dataset, any_doubt: bool) -> Truth:
    """Which classes are defective, and how certain that is; `any_doubt`: any probability above zero is a defect.

    Classes are named mono-0, poly-67 and so on, by type and defect probability in percent.
    """
    percent = np.array([int(label.id.rpartition("-")[2]) for label in dataset.labels])
    thirds = np.round(3 * percent / 100)
    if any_doubt:
        return Truth(percent > 0, np.where(percent > 0, thirds / 3, 1.0))
    return Truth(percent > 50, np.where(thirds % 3 == 0, 1.0, 2 / 3))


def measure(artifact: Artifact, dataset: Dataset) -> dict[str, Any]:
    """Accuracies on the test split in both readings, and confusion matrix and ROC curve in the first.

    Rows of the matrix are the truth, functional first.
    """
    batches = decode_batches(dataset.test, artifact.image_contract)
    predictions = predict(OnnxModel(artifact.network_path), batches, len(dataset.test))
    probability, truth = _predict_cells(predictions, create_truth(dataset, any_doubt=False))
    predicted = probability > 0.5
    matrix = [[int(((truth.defective == row) & (predicted == column)).sum()) for column in (0, 1)] for row in (0, 1)]
    false, true, area = compute_roc_curve(probability, truth)
    return {
        "accuracy": _measure_accuracy(probability, truth._replace(weights=np.ones(len(predicted)))),
        "weighted_accuracy": _measure_accuracy(probability, truth),
        "any_doubt_accuracy": _measure_accuracy(*_predict_cells(predictions, create_truth(dataset, any_doubt=True))),
        "confusion": matrix,
        "area": round(area, 4),
        "curve": [np.round(false, 4).tolist(), np.round(true, 4).tolist()],
    }


def _predict_cells(predictions: Predictions, classes: Truth) -> tuple[NDArray[np.float64], Truth]:
    """The predicted probability that each test cell is defective, and the truth."""
    truth = Truth(classes.defective[predictions.labels], classes.weights[predictions.labels])
    return predictions.probabilities[:, classes.defective].sum(1, dtype=np.float64), truth


def _measure_accuracy(probability: NDArray[np.float64], truth: Truth) -> float:
    """Weighted accuracy in percent."""
    return round(100 * float(np.average((probability > 0.5) == truth.defective, weights=truth.weights)), 2)


def compute_roc_curve(
    probability: NDArray[np.floating], truth: Truth
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Weighted false and true positive rates at `CURVE_POINTS` points, and the area under the curve."""
    order = np.argsort(-probability, kind="stable")
    positive, weights, ranked = truth.defective[order], truth.weights[order], probability[order]
    true, false = np.cumsum(weights * positive), np.cumsum(weights * ~positive)
    last = np.r_[np.flatnonzero(np.diff(ranked)), len(ranked) - 1]  # equal probabilities are one threshold
    true, false = np.r_[0, true[last] / true[-1]], np.r_[0, false[last] / false[-1]]
    points = np.linspace(0, 1, CURVE_POINTS)
    return points, np.interp(points, false, true), float(np.trapezoid(true, false))


def draw(results: Results, starts: Mapping[str, Any]) -> Figure:
    """Plot all ROC curves, and for each start the sum of its confusion matrices."""
    figure = Figure(figsize=(4 + 2.6 * len(starts), 4), layout="constrained")
    curves, *matrices = figure.subplots(1, 1 + len(starts), width_ratios=[4, *[2.6] * len(starts)])
    for number, (start, axes) in enumerate(zip(starts, matrices, strict=True)):
        runs = [run for name, run in results.runs.items() if name.startswith(f"{start}, ")]
        for number_of_run, run in enumerate(runs):
            area = np.mean([r["area"] for r in runs])
            label = None if number_of_run else f"{start}, area {area:.3f}"
            curves.plot(*run["curve"], color=f"C{number}", alpha=0.7, label=label)
        total = np.sum([run["confusion"] for run in runs], axis=0)
        axes.imshow(total / total.sum(1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(2, 2):
            share = total[row, column] / total[row].sum()
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{100 * share:.1f} %", ha="center", va="center", color=color)
        names = ["functional", "defective"]
        axes.set_xticks([0, 1], names, fontsize=8)
        axes.set_yticks([0, 1], names, fontsize=8, rotation=90, va="center")
        axes.set(title=start, xlabel="predicted", ylabel="true")
    curves.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle=":")
    curves.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    curves.legend(frameon=False, loc="lower right")
    return figure


def format_summary(results: Results, start: str) -> str:
    """Mean accuracies of the runs with one start, as a line of text."""
    runs = [run for name, run in results.runs.items() if name.startswith(f"{start}, ")]
    readings = ("accuracy", "weighted_accuracy", "any_doubt_accuracy")
    means = [f"{np.mean([run[reading] for run in runs]):.2f}" for reading in readings]
    each = ", ".join(f"{run['accuracy']:.2f}" for run in runs)
    area = np.mean([run["area"] for run in runs])
    return (
        f"{start}: accuracy {means[0]} % ({each}), weighted {means[1]} %, any doubt a defect {means[2]} %, "
        f"area {area:.3f}"
    )


class Start(NamedTuple):
    """Options of the runs with one start. `network`: checksum of the network it starts from, None from scratch."""

    options: RunOptions
    network: str | None = None


def list_starts(paths: Sequence[Path]) -> dict[str, Start]:
    """Training from scratch and from each artifact, by name.

    Copied layers learn at the full rate, since solar cells look like nothing else.
    """
    starts = {"from scratch": Start(RunOptions(init_from="none"))}
    for path in paths:
        artifact = artifacts.load(path)
        name = f"from {artifact.manifest.name} version {artifact.manifest.version}"
        if name in starts:
            raise TrainingError(f"two artifacts are called {name[5:]}: their results couldn't be told apart")
        options = RunOptions(init_from=artifact.path, lr_multipliers={"copied": 1.0}, fit_output=False)
        starts[name] = Start(options, artifact.network_sha256)
    return starts


def sample(dataset: Dataset, step: int) -> Dataset:
    """Every `step`-th image of each split."""
    return replace(
        dataset, train=dataset.train[::step], validation=dataset.validation[::step], test=dataset.test[::step]
    )


def main(
    init_from: Annotated[list[Path] | None, typer.Option(help="Artifact to start from; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each start.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Maximum number of epochs.")] = 60,
    narrow: Annotated[bool, typer.Option("--narrow", help="The network of the ablations: minutes per run.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="One epoch of a narrow network on every 40th cell: seconds.")
    ] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Measure functional against defective cells, from scratch and from artifacts; if stopped, the same command resumes
    it."""
    recipe, network = RecipeOptions("small", epochs=epochs), NARROW if narrow else NetworkOptions()
    if quick:
        output /= command.QUICK
        seeds, recipe = 1, RecipeOptions("small", epochs=1)
        network = NetworkOptions(hidden=16, channels=(4, 8, 8, 8, 8))
    starts = list_starts(init_from or [])
    results = Results(output / "solar_cells.json", {"epochs": recipe.epochs, "narrow": narrow or quick})
    dataset = load_elpv()
    data = "elpv"
    if quick:
        dataset = sample(dataset, 40)
        data = str(output / "solar_cells-split.csv")
        write_table(dataset, Path(data))
    results.start()
    for seed in range(seeds):
        for start, (options, sha256) in starts.items():
            name = f"{start}, seed {seed}"
            if name in results.runs:
                if results.runs[name].get("network") != sha256:
                    raise TrainingError(f"{results.path} has {name!r} from another artifact: choose another --output")
                continue
            with command.run_home(output / "solar_cells-runs", name) as home:
                environment = Environment(data, crops=1, home=home, cache=cache)
                config = TrainConfig.create(recipe, network, replace(options, name="cells", seed=seed), environment)
                trained = command.train_or_resume(config).artifact
                results.add(name, measure(trained, dataset) | {"network": sha256})
    draw(results, starts).savefig(output / "solar_cells.png", dpi=100)
    for start in starts:
        typer.echo(format_summary(results, start))
    published = ", ".join(f"{name} {accuracy} %" for name, accuracy in PUBLISHED.items())
    typer.echo(f"Deitsch et al. 2019: {published}")


if __name__ == "__main__":
    command.run(main)
