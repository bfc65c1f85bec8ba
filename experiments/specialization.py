"""Section 6.1: does one tower see color and the other not? Measured on the kernels of conv1, of any artifacts.

A kernel's color is the share of its energy that is left when the mean of its three planes is taken away at every
pixel: 0 where it sees gray alone, 2/3 on average where its planes are independent. Figure 3 has it in images.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import command
from model.artifacts import artifact as artifacts
from model.artifacts.kernels import read_kernels
from model.artifacts.weights import architecture_of
from model.exceptions import TrainingError
from training.publish.provenance import commit

Array = NDArray[np.float64]
DRAWS = 10_000
"""Random divisions of the kernels into two towers, for the probability of so great a difference by chance."""


class Specialization(NamedTuple):
    """`means`: the mean color of each tower's kernels. `apart`: the probability that a kernel of one tower has more
    color than one of the other, as its distance from a half, times two: 0 where towers are alike, 1 where each kernel
    of one has more. `chance`: how often towers drawn at random are as far apart."""

    means: tuple[float, float]
    apart: float
    chance: float


def color(kernels: NDArray[np.float32]) -> Array:
    """(N, h, w, 3) -> (N,), from 0 to 1."""
    gray = kernels.mean(3, keepdims=True)
    energy = np.maximum((kernels.astype(np.float64) ** 2).sum((1, 2, 3)), 1e-30)
    found: Array = ((kernels - gray).astype(np.float64) ** 2).sum((1, 2, 3)) / energy
    return found


def specialization(colors: Array, seed: int = 0) -> Specialization:
    """Of (N,) colors, the first half of them the first tower's."""
    half = len(colors) // 2
    ranks = colors.argsort(kind="stable").argsort(kind="stable")
    generator = np.random.default_rng(seed)
    found = _apart(ranks[:half], len(ranks))
    drawn = np.stack([generator.permutation(ranks)[:half] for _ in range(DRAWS)])
    chance = float((_apart(drawn, len(ranks)) >= found - 1e-12).mean())
    means = (float(colors[:half].mean()), float(colors[half:].mean()))
    return Specialization(means, float(found), chance)


def _apart(ranks: NDArray[np.int64], count: int) -> Array:
    """From the ranks of one tower's kernels among all (Mann and Whitney's statistic)."""
    half = ranks.shape[-1]
    greater = ranks.sum(-1) - half * (half - 1) / 2
    return np.asarray(np.abs(2 * greater / (half * (count - half)) - 1))


def draw(colors: dict[str, Array]) -> Figure:
    """A point a kernel, the towers side by side."""
    figure = Figure(figsize=(1.5 + 1.1 * len(colors), 4), layout="constrained")
    axes = figure.subplots()
    for place, values in enumerate(colors.values()):
        for tower, some in enumerate(np.split(values, 2)):
            spread = np.linspace(-0.12, 0.12, len(some)) + place + 0.34 * tower - 0.17
            axes.plot(
                spread, some, ".", color=("black", "tab:red")[tower], label=f"tower {tower + 1}" if not place else None
            )
    axes.set_xticks(range(len(colors)), colors, rotation=20, ha="right")
    axes.set(ylabel="color of a kernel", ylim=(0, 1))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    networks: Annotated[list[Path], typer.Argument(help="Artifacts of two towers, such as runs with several seeds.")],
    output: command.OutputOption = command.RESULTS,
) -> None:
    """How far apart the towers of each network are in color."""
    colors, result = {}, {}
    for path in networks:
        artifact = artifacts.load(path)
        if architecture_of(artifact.manifest).towers != 2:
            raise TrainingError(f"expected networks of two towers, found one in {path}")
        name = f"{artifact.manifest.name} {artifact.manifest.version}"
        colors[name] = color(read_kernels(artifact.network))
        found = specialization(colors[name])
        result[name] = found._asdict() | {"commit": artifact.manifest.training.get("commit")}
        first, second = found.means
        typer.echo(f"{name}: color {first:.3f} and {second:.3f}, apart {found.apart:.2f}, by chance {found.chance:.2f}")
    output.mkdir(parents=True, exist_ok=True)
    draw(colors).savefig(output / "specialization.png", dpi=110)
    text = json.dumps({"commit": commit(), "networks": result}, indent=1)
    (output / "specialization.json").write_text(text + "\n")


if __name__ == "__main__":
    command.run(main)
