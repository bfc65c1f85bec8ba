"""What each part of the network and of its training is worth: a grid of runs, a table and a plot.

The rows are in `ablation.toml`. Besides them: one view instead of ten, and five networks as one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure

from model.errors import TrainingError
from training import config, ensemble
from training.experiments.results import Results
from training.run import main as train

GRID = Path(__file__).with_suffix(".toml")
WORDS = ("paper", "authors")
WHOLE, CENTRE, TOGETHER = "the network", "one view instead of ten", "five networks as one"
MEMBERS = 5
PAPER = {CENTRE: ("+1.5 / +1.3", "+1.6 / +1.3"), TOGETHER: ("-2.6 / -1.8", "")}


def run(options: Mapping[str, Any], seed: int, folder: Path, places: Mapping[str, Path]) -> dict[str, Any]:
    """One network, trained and measured with ten views and one: errors from 0 to 1."""
    given = {name: value for name, value in options.items() if name not in WORDS}
    given |= {"widths": tuple(given["widths"])} if "widths" in given else {}
    artifact = train(
        config.configure({"seed": seed, "name": f"seed-{seed}"} | given | dict(places) | {"artifacts": folder})
    )
    assert artifact is not None
    return {f"{m.views}": [m.top1_error, m.top5_error] for m in artifact.manifest.measurements}


def together(base: Mapping[str, Any], folder: Path, archive: Path | None) -> dict[str, Any]:
    """The mean of the probabilities of the networks in `folder`."""
    members = [folder / f"seed-{seed}" for seed in range(MEMBERS)]
    found = ensemble.evaluate(members, base["data"], "test", archive, False, "auto", "float32", typer.echo)
    return {f"{m.views}": [m.top1_error, m.top5_error] for m in found} | {"members": len(members)}


def differences(results: Results, row: str, seeds: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(seeds, 2): top-1 and top-5 errors of a row minus those of the whole network with the same seed, in points."""
    runs = results.runs
    if row == TOGETHER:
        single = np.mean([runs[f"{WHOLE}, seed {seed}"]["10"] for seed in range(MEMBERS)], axis=0)
        return np.array(100 * (np.array([runs[TOGETHER]["10"]]) - single))
    views, name = ("1", WHOLE) if row == CENTRE else ("10", row)
    pairs = [(runs[f"{name}, seed {s}"][views], runs[f"{WHOLE}, seed {s}"]["10"]) for s in range(seeds)]
    return np.array([100 * np.subtract(*pair) for pair in pairs])


def table(grid: Mapping[str, Any], results: Results, seeds: int) -> str:
    """Markdown: a row's change in points, from the least to the greatest of the seeds, and what others found."""
    errors = 100 * np.array([results.runs[f"{WHOLE}, seed {seed}"]["10"] for seed in range(seeds)])
    lines = [
        f"The network: top-1 / top-5 error {errors[:, 0].mean():.2f} / {errors[:, 1].mean():.2f} %, ten views.",
        "",
        "| change | top-1, points | top-5, points | the paper | the authors' logs |",
        "|---|---|---|---|---|",
    ]
    for row in rows(grid):
        change = differences(results, row, seeds)
        ours = [
            f"{one.mean():+.2f}" + (f" ({one.min():+.2f} to {one.max():+.2f})" if len(one) > 1 else "")
            for one in change.T
        ]
        told = PAPER.get(row) or tuple(grid["rows"][row].get(word, "") for word in WORDS)
        lines.append(f"| {' | '.join((row, *ours, *told))} |")
    return "\n".join(lines)


def rows(grid: Mapping[str, Any]) -> list[str]:
    """All rows that are compared with the whole network."""
    return [*(row for row in grid["rows"] if row != WHOLE), CENTRE, TOGETHER]


def draw(grid: Mapping[str, Any], results: Results, seeds: int) -> Figure:
    """Changes of the top-1 error: the mean, and from the least to the greatest of the seeds."""
    names = rows(grid)[::-1]
    found = [differences(results, row, seeds)[:, 0] for row in names]
    figure = Figure(figsize=(7, 0.3 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    means = np.array([one.mean() for one in found])
    spread = np.array([[mean - one.min(), one.max() - mean] for mean, one in zip(means, found, strict=True)])
    axes.errorbar(means, range(len(names)), xerr=spread.T, fmt="o", color="black", capsize=3)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="change of the top-1 error, percentage points")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    grid: Annotated[Path, typer.Option(help="The rows.")] = GRID,
    data: Annotated[str | None, typer.Option(help="Other pictures than the grid's.")] = None,
    archive: Annotated[Path | None, typer.Option(help="The zip file of grocery or cifar10.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=MEMBERS, help="Runs of a row.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: one epoch of narrow networks, two rows.")] = False,
    output: Annotated[Path, typer.Option(help="Where the results go.")] = Path("docs/results"),
    cache: Annotated[Path, typer.Option(help="Decoded pictures.")] = Path("cache"),
) -> None:
    """Train every row of the grid with several seeds; stopped, it goes on with the run where it was."""
    chosen = tomllib.loads(grid.read_text())
    if WHOLE not in chosen.get("rows", {}):
        raise TrainingError(f"expected a row {WHOLE!r} in {grid}, found none")
    chosen["base"] |= {"data": data} if data else {}
    if quick:
        seeds = 1
        chosen["base"] |= {"epochs": 1, "hidden": 16, "widths": [4, 8, 8, 8, 8], "batch": 8}
        chosen["rows"] = {row: chosen["rows"][row] for row in (WHOLE, "towers apart")}
    results = Results(output / "ablation.json", {"base": chosen["base"], "rows": chosen["rows"]})
    members = output / "ablation-members"  # the whole network's artifacts, which are one at the end
    with TemporaryDirectory() as scratch:
        places = {"cache": cache, "runs": Path(scratch) / "runs"}
        if archive is not None:
            places["archive"] = archive
        for row in chosen["rows"]:  # a row at a time: what was stopped early has whole rows
            for seed in range(MEMBERS if row == WHOLE else seeds):
                name = f"{row}, seed {seed}"
                if name not in results.runs:
                    folder = members if row == WHOLE else Path(scratch) / "artifacts"
                    results.add(name, run(chosen["base"] | chosen["rows"][row], seed, folder, places))
    if TOGETHER not in results.runs:
        results.add(TOGETHER, together(chosen["base"], members, archive))
    draw(chosen, results, seeds).savefig(output / "ablation.png", dpi=110)
    typer.echo(table(chosen, results, seeds))


if __name__ == "__main__":
    typer.run(main)
