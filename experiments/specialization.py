"""Measure how the towers specialize in color (section 6.1), on the kernels of conv1.

A kernel's color is the fraction of its energy that remains when the mean of its three planes is subtracted at every
pixel: 0 if it sees only gray, 2/3 on average if its planes are independent. Figure 3 shows it in images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import command
from experiments.results import write_report
from model.artifacts import artifact as artifacts
from model.artifacts.kernels import read_kernels
from model.artifacts.weights import read_spec
from model.exceptions import TrainingError

Array = NDArray[np.float64]
NUM_PERMUTATIONS = 10_000
"""Random divisions of the kernels into two towers, to estimate the p-value of the difference."""


class Specialization(NamedTuple):
    """How different the towers are in color.

    `means`: mean color of each tower's kernels. `separation`: |2p - 1|, where p is the probability that a kernel of one
    tower has more color than a kernel of the other: 0 if the towers are alike, 1 if every kernel of one tower has more.
    `p_value`: how often towers drawn at random are at least as different.
    """

    means: tuple[float, float]
    separation: float
    p_value: float


def measure_color(kernels: NDArray[np.float32]) -> Array:
    """The color of kernels, from 0 to 1: (N, h, w, 3) -> (N,)."""
    gray = kernels.mean(3, keepdims=True)
    energy = np.maximum((kernels.astype(np.float64) ** 2).sum((1, 2, 3)), 1e-30)
    colors: Array = ((kernels - gray).astype(np.float64) ** 2).sum((1, 2, 3)) / energy
    return colors


def measure_specialization(colors: Array) -> Specialization:
    """The specialization by `colors` (N,), whose first half is the first tower's."""
    half = len(colors) // 2
    ranks = colors.argsort(kind="stable").argsort(kind="stable")
    generator = np.random.default_rng(0)
    separation = _measure_separation(ranks[:half], len(ranks))
    permuted = np.stack([generator.permutation(ranks)[:half] for _ in range(NUM_PERMUTATIONS)])
    as_different = (_measure_separation(permuted, len(ranks)) >= separation - 1e-12).sum()
    p_value = float((as_different + 1) / (NUM_PERMUTATIONS + 1))  # the actual towers count, too: never 0
    means = (float(colors[:half].mean()), float(colors[half:].mean()))
    return Specialization(means, float(separation), p_value)


def _measure_separation(ranks: NDArray[np.int64], count: int) -> Array:
    """The separation by the ranks of one tower's kernels among all kernels (Mann and Whitney's statistic)."""
    half = ranks.shape[-1]
    greater = ranks.sum(-1) - half * (half - 1) / 2
    return np.asarray(np.abs(2 * greater / (half * (count - half)) - 1))


def draw(colors: dict[str, Array]) -> Figure:
    """Plot one point per kernel, with the towers side by side."""
    figure = Figure(figsize=(1.5 + 1.1 * len(colors), 4), layout="constrained")
    axes = figure.subplots()
    for number, values in enumerate(colors.values()):
        for tower, points in enumerate(np.split(values, 2)):
            spread = np.linspace(-0.12, 0.12, len(points)) + number + 0.34 * tower - 0.17
            axes.plot(
                spread,
                points,
                ".",
                color=("black", "tab:red")[tower],
                label=f"tower {tower + 1}" if not number else None,
            )
    axes.set_xticks(range(len(colors)), colors, rotation=20, ha="right")
    axes.set(ylabel="color of a kernel", ylim=(0, 1))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    artifact: Annotated[
        list[Path], typer.Option(help="Artifact with two towers; may be repeated, such as for several seeds.")
    ],
    output: command.OutputOption = command.RESULTS,
) -> None:
    """Measure how different the towers of each network are in color."""
    colors, results = {}, {}
    for path in artifact:
        loaded = artifacts.load(path)
        manifest = loaded.manifest
        if read_spec(manifest).towers != 2:
            raise TrainingError(f"the network of {path} has one tower: choose artifacts with two")
        name = f"{manifest.name} {manifest.version}"
        if name in colors:
            raise TrainingError(f"two artifacts are called {name}: their results couldn't be told apart")
        kernels = read_kernels(loaded)
        if kernels is None:
            raise TrainingError(f"{path} has no kernels.npy")
        colors[name] = measure_color(kernels)
        result = measure_specialization(colors[name])
        results[name] = result._asdict() | {"commit": manifest.training.get("commit")}
        first, second = result.means
        typer.echo(
            f"{name}: color {first:.3f} and {second:.3f}, separation {result.separation:.2f}, p = {result.p_value:.4f}"
        )
    write_report(output / "specialization.json", {"networks": results})
    draw(colors).savefig(output / "specialization.png", dpi=110)


if __name__ == "__main__":
    command.run(main)
