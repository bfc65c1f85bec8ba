"""What each part of the network and of its training is worth: a grid of runs, a table and a plot.

The rows are in `ablation.toml`. Besides them: one crop instead of ten, and several networks as one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import command
from experiments.results import Results
from model.exceptions import TrainingError
from training import config
from training.evaluation import ensemble

Errors = NDArray[np.float64]
GRID = Path(__file__).with_suffix(".toml")
WORDS = ("paper", "authors")
WHOLE, CENTER_CROP, TOGETHER = "the network", "one crop instead of ten", "several networks as one"
MOST_SEEDS = 9
PAPER = {CENTER_CROP: ("+1.5 / +1.3", "+1.6 / +1.3"), TOGETHER: ("-2.6 / -1.8", "")}


def run(options: Mapping[str, Any], seed: int, folder: Path, places: Mapping[str, Path]) -> dict[str, Any]:
    """One network, trained and measured with ten crops and one: errors from 0 to 1."""
    given = {name: value for name, value in options.items() if name not in WORDS}
    given |= {"widths": tuple(given["widths"])} if "widths" in given else {}
    chosen = config.configure({"seed": seed, "name": f"seed-{seed}"} | given | dict(places) | {"artifacts": folder})
    artifact = command.trained(chosen)
    return {f"{m.crops}": [m.top1_error, m.top5_error] for m in artifact.manifest.measurements}


def together(data: str, members: Sequence[Path], archive: Path | None) -> dict[str, Any]:
    """The mean of the probabilities of several artifacts."""
    found = ensemble.evaluate(members, data, "test", archive, False, "auto", "float32", typer.echo)
    return {f"{m.crops}": [m.top1_error, m.top5_error] for m in found} | {"members": len(members)}


def differences(results: Results, row: str) -> Errors:
    """(seeds, 2): top-1 and top-5 errors of a row minus those of the whole network with the same seed, in points."""
    runs = results.runs
    if row == TOGETHER:
        members = [runs[f"{WHOLE}, seed {seed}"]["10"] for seed in range(runs[TOGETHER]["members"])]
        return np.array(100 * (np.array([runs[TOGETHER]["10"]]) - np.mean(members, axis=0)))
    crops, name = ("1", WHOLE) if row == CENTER_CROP else ("10", row)
    pairs = [
        (runs[f"{name}, seed {seed}"][crops], runs[f"{WHOLE}, seed {seed}"]["10"])
        for seed in range(MOST_SEEDS)
        if f"{name}, seed {seed}" in runs
    ]
    return np.array([100 * np.subtract(*pair) for pair in pairs])


def table(grid: Mapping[str, Any], results: Results) -> str:
    """Markdown: a row's change in points, from the least to the greatest of the seeds, and what others found."""
    whole = [run["10"] for name, run in results.runs.items() if name.startswith(f"{WHOLE}, ")]
    errors = [f"{one.mean():.2f} ({one.min():.2f} to {one.max():.2f})" for one in 100 * np.array(whole).T]
    lines = [
        f"The network: top-1 error {errors[0]} %, top-5 error {errors[1]} %, ten crops, {len(whole)} seeds.",
        "",
        "| change | seeds | top-1, points | top-5, points | the paper | the authors' logs |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(grid, results):
        change = differences(results, row)
        ours = [
            f"{one.mean():+.2f}" + (f" ({one.min():+.2f} to {one.max():+.2f})" if len(one) > 1 else "")
            for one in change.T
        ]
        told = PAPER.get(row) or tuple(grid["rows"][row].get(word, "") for word in WORDS)
        seeds = str(results.runs[row]["members"] if row == TOGETHER else len(change))
        lines.append(f"| {' | '.join((row, seeds, *ours, *told))} |")
    return "\n".join(lines)


def rows(grid: Mapping[str, Any], results: Results) -> list[str]:
    """All rows that are compared with the whole network and have a run."""
    measured = [row for row in grid["rows"] if row != WHOLE and f"{row}, seed 0" in results.runs]
    return [*measured, CENTER_CROP, *([TOGETHER] if TOGETHER in results.runs else [])]


def draw(grid: Mapping[str, Any], results: Results) -> Figure:
    """Changes of the top-1 error: the mean, and from the least to the greatest of the seeds.

    The gray band is as far as a seed of the whole network is from the mean of the others.
    """
    names = rows(grid, results)[::-1]
    found = [differences(results, row)[:, 0] for row in names]
    figure = Figure(figsize=(7, 0.3 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    means = np.array([one.mean() for one in found])
    spread = np.array([[mean - one.min(), one.max() - mean] for mean, one in zip(means, found, strict=True)])
    whole = 100 * np.array([run["10"][0] for name, run in results.runs.items() if name.startswith(f"{WHOLE}, ")])
    axes.axvspan(*(whole[[whole.argmin(), whole.argmax()]] - whole.mean()), color="0.9", label="the network itself")
    axes.errorbar(means, range(len(names)), xerr=spread.T, fmt="o", color="black", capsize=3)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="change of the top-1 error, percentage points")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def measure(grid: Mapping[str, Any], results: Results, seeds: int, places: Mapping[str, Path], members: Path) -> None:
    """Run what isn't in `results`: a seed of every row, then the next, so that it may be stopped at any time."""
    with TemporaryDirectory() as scratch:
        for seed in range(max(seeds, grid["members"])):
            for row in grid["rows"]:
                name = f"{row}, seed {seed}"
                if name in results.runs or (row != WHOLE and seed >= seeds):
                    continue
                folder = members if row == WHOLE else Path(scratch) / "artifacts"
                options = grid["base"] | grid["rows"][row]
                results.add(name, run(options, seed, folder, {"runs": Path(scratch) / "runs"} | dict(places)))
    if TOGETHER not in results.runs:
        networks = [members / f"seed-{seed}" for seed in range(grid["members"])]
        results.add(TOGETHER, together(grid["base"]["data"], networks, places.get("archive")))


def main(
    grid: Annotated[Path, typer.Option(help="The rows.")] = GRID,
    data: Annotated[str | None, typer.Option(help="Other images than the grid's.")] = None,
    archive: Annotated[Path | None, typer.Option(help="The zip file of grocery or cifar10.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_SEEDS, help="Runs of a row.")] = 3,
    finished: Annotated[bool, typer.Option("--finished", help="Only table and plot of the runs so far.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: one epoch of narrow networks, two rows.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: Annotated[Path, typer.Option(help="Decoded images.")] = Path("cache"),
) -> None:
    """Train every row of the grid with several seeds; stopped, it goes on with the run where it was."""
    chosen = tomllib.loads(grid.read_text())
    if WHOLE not in chosen.get("rows", {}):
        raise TrainingError(f"expected a row {WHOLE!r} in {grid}, found none")
    chosen["base"] |= {"data": data} if data else {}
    if quick:
        output /= command.QUICK
        seeds, chosen["members"] = 1, 2
        chosen["base"] |= {"epochs": 1, "hidden": 16, "widths": [4, 8, 8, 8, 8], "batch": 8}
        chosen["rows"] = {row: chosen["rows"][row] for row in (WHOLE, "towers apart")}
    results = Results(output / "ablation.json", {"base": chosen["base"], "rows": chosen["rows"]})
    places = {"cache": cache} | ({"archive": archive} if archive is not None else {})
    if not finished:
        measure(chosen, results, seeds, places, output / "ablation-members")
    elif f"{WHOLE}, seed 0" not in results.runs:
        raise TrainingError(f"expected a run of {WHOLE} in {results.path}, found none yet")
    draw(chosen, results).savefig(output / "ablation.png", dpi=110)
    typer.echo(table(chosen, results))


if __name__ == "__main__":
    command.run(main)
