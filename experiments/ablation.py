"""Run ablations: how the error changes without a part of the network or of its training, as a table and a plot.

Each row of a grid is trained with several seeds: `ablation.toml` on Grocery Store, `ablation_photos.toml` on many
photographs. In addition, one crop instead of ten and an ensemble are measured.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import command
from experiments.results import Results
from experiments.sources import write_split
from model.artifacts.history import read_history
from model.exceptions import TrainingError
from training.config import Environment, NetworkOptions, RecipeOptions, RunOptions, TrainConfig
from training.evaluation.ensemble import evaluate_ensemble

Errors = NDArray[np.float64]
GRID = Path(__file__).with_suffix(".toml")
WHOLE, CENTER_CROP, ENSEMBLE = "the network", "one crop instead of ten", "ensemble"
MAX_SEEDS = 9
SOURCES = ("paper", "authors")
REPORTED = {
    "one tower": {"paper": "+1.7 / +1.2", "authors": "+1.7 / +1.2"},
    "no cross-tower connection": {"authors": "+1.2 / +1.1"},
    "no response normalization": {"paper": "+1.4 / +1.2", "authors": "+1.4 / +1.2"},
    "non-overlapping pooling": {"paper": "+0.4 / +0.3", "authors": "+0.4 / +0.3"},
    "no color shift": {"paper": "over +1"},
    "no random crops, no mirroring": {"paper": "overfits"},
    "no dropout": {"paper": "overfits"},
    "without conv2": {"paper": "about +2"},
    "without conv3": {"paper": "about +2"},
    "without conv3, and towers apart": {"paper": "about +2"},
    "without conv4": {"paper": "about +2"},
    "without conv5": {"paper": "about +2"},
    CENTER_CROP: {"paper": "+1.5 / +1.3", "authors": "+1.6 / +1.3"},
    ENSEMBLE: {"paper": "-2.6 / -1.8"},
}
"""Changes of the top-1 / top-5 error in percentage points by row, from the paper's text and from the authors' logs."""


def read_grid(path: Path) -> dict[str, Any]:
    """Read a grid from a TOML file and add `REPORTED` changes to its rows, as in result files. Raises TrainingError."""
    try:
        grid = tomllib.loads(path.read_text())
    except OSError as error:
        raise TrainingError(f"can't read the grid {path}: {error.strerror}") from error
    except ValueError as error:
        raise TrainingError(f"{path} isn't a TOML file: {error}") from error
    if WHOLE not in grid.get("rows", {}):
        raise TrainingError(f"{path} has no row named {WHOLE!r}, which the others are compared with")
    grid["rows"] = {row: options | REPORTED.get(row, {}) for row, options in grid["rows"].items()}
    return grid


def train_row(base: Mapping[str, Any], row: Mapping[str, Any], seed: int, environment: Environment) -> dict[str, Any]:
    """Train and measure one network. Returns its top-1 and top-5 errors from 0 to 1 by number of crops, and the
    training and validation `losses` of the last epoch."""
    config = TrainConfig.create(
        RecipeOptions(**base.get("recipe", {}) | row.get("recipe", {})),
        NetworkOptions(**base.get("network", {}) | row.get("network", {})),
        RunOptions(name=f"seed-{seed}", seed=seed, init_from="none"),
        environment,
    )
    artifact = command.train_or_resume(config).artifact
    history = read_history(artifact)
    assert history is not None
    last = history.epochs[-1]
    return command.list_errors(artifact.manifest.measurements) | {"losses": [last.train_loss, last.validation_loss]}


def measure_ensemble(data: str, members: Sequence[Path]) -> dict[str, Any]:
    """Errors of the averaged probabilities of several artifacts."""
    measurements = evaluate_ensemble(members, data, "test", device="auto", log=typer.echo)
    return command.list_errors(measurements) | {"members": len(members)}


def compare_errors(results: Results, row: str) -> Errors:
    """(seeds, 2): top-1 and top-5 errors of a row minus the whole network's with the same seed, in points."""
    runs = results.runs
    if row == ENSEMBLE:
        members = [runs[f"{WHOLE}, seed {seed}"]["10"] for seed in range(runs[ENSEMBLE]["members"])]
        return np.array(100 * (np.array([runs[ENSEMBLE]["10"]]) - np.mean(members, axis=0)))
    crops, name = ("1", WHOLE) if row == CENTER_CROP else ("10", row)
    pairs = [
        (runs[f"{name}, seed {seed}"][crops], runs[f"{WHOLE}, seed {seed}"]["10"])
        for seed in range(MAX_SEEDS)
        if f"{name}, seed {seed}" in runs
    ]
    return np.array([100 * np.subtract(*pair) for pair in pairs])


def format_table(grid: Mapping[str, Any], results: Results) -> str:
    """A Markdown table: each row's mean change in points, minimum and maximum over seeds, and the reported changes.

    Losses are the training and validation losses of the last epoch, seed 0.
    """
    whole = [run["10"] for name, run in results.runs.items() if name.startswith(f"{WHOLE}, ")]
    errors = [f"{e.mean():.2f} ({e.min():.2f} to {e.max():.2f})" for e in 100 * np.array(whole).T]
    lines = [
        f"The network: top-1 error {errors[0]} %, top-5 error {errors[1]} %, ten crops, seeds: {len(whole)}; losses "
        f"{format_losses(results, WHOLE)}.",
        "",
        "| change | seeds | top-1, points | top-5, points | losses | the paper | the authors' logs |",
        "|---|---|---|---|---|---|---|",
    ]
    measured = list_measured_rows(grid, results)
    for row in list_rows(grid):
        reported = [REPORTED.get(row, {}).get(source, "") for source in SOURCES]
        if row not in measured:
            lines.append(f"| {' | '.join((row, '0', 'not run', 'not run', '', *reported))} |")
            continue
        changes = compare_errors(results, row)
        ours = [f"{c.mean():+.2f}" + (f" ({c.min():+.2f} to {c.max():+.2f})" if len(c) > 1 else "") for c in changes.T]
        seeds = str(results.runs[row]["members"] if row == ENSEMBLE else len(changes))
        lines.append(f"| {' | '.join((row, seeds, *ours, format_losses(results, row), *reported))} |")
    return "\n".join(lines)


def format_losses(results: Results, row: str) -> str:
    """Training and validation loss of the last epoch, seed 0; empty if there are none."""
    losses = results.runs.get(f"{row}, seed 0", {}).get("losses", [])
    return " / ".join("not finite" if loss is None else f"{loss:.2f}" for loss in losses)


def list_rows(grid: Mapping[str, Any]) -> list[str]:
    """All rows that are compared with the whole network."""
    return [*(row for row in grid["rows"] if row != WHOLE), CENTER_CROP, ENSEMBLE]


def list_measured_rows(grid: Mapping[str, Any], results: Results) -> list[str]:
    """The rows of `list_rows` that have a run; the row for one crop always counts, since every run measures it."""
    runs = results.runs
    return [row for row in list_rows(grid) if row == CENTER_CROP or row in runs or f"{row}, seed 0" in runs]


def draw(grid: Mapping[str, Any], results: Results) -> Figure:
    """Plot the changes of the top-1 error: mean, minimum and maximum over seeds.

    The gray band is the range of the whole network's seeds around their mean.
    """
    names = list_measured_rows(grid, results)[::-1]
    changes = [compare_errors(results, row)[:, 0] for row in names]
    figure = Figure(figsize=(7, 0.3 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    means = np.array([c.mean() for c in changes])
    spread = np.array([[mean - c.min(), c.max() - mean] for mean, c in zip(means, changes, strict=True)])
    whole = 100 * np.array([run["10"][0] for name, run in results.runs.items() if name.startswith(f"{WHOLE}, ")])
    axes.axvspan(*(whole[[whole.argmin(), whole.argmax()]] - whole.mean()), color="0.9", label="the network itself")
    axes.errorbar(means, range(len(names)), xerr=spread.T, fmt="o", color="black", capsize=3)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="change of the top-1 error, percentage points")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def run_grid(grid: Mapping[str, Any], results: Results, seeds: int, environment: Environment) -> None:
    """Run what isn't in `results`: every row with one seed, then with the next, so that it can be stopped at any time.

    A grid with one member has no ensemble.

    `environment`: data and cache; artifacts of the whole network are written to `environment.artifacts`, runs and other
    artifacts to folders in `environment.home`, each of which is deleted when its run is finished.
    """
    members = environment.artifacts_folder
    for seed in range(max(seeds, grid["members"])):
        for row, options in grid["rows"].items():
            name = f"{row}, seed {seed}"
            if name in results.runs or (row != WHOLE and seed >= seeds):
                continue
            with command.run_home(environment.home, name) as home:
                artifacts = members if row == WHOLE else home / "artifacts"
                row_environment = replace(environment, home=home, artifacts=artifacts)
                results.add(name, train_row(grid["base"], options, seed, row_environment))
    if grid["members"] > 1 and ENSEMBLE not in results.runs:
        networks = [members / f"seed-{seed}" for seed in range(grid["members"])]
        results.add(ENSEMBLE, measure_ensemble(environment.data, networks))


def main(
    grid: Annotated[Path, typer.Option(help="TOML file with the rows.")] = GRID,
    data: Annotated[str | None, typer.Option(help="Images to use instead of the grid's.")] = None,
    archive: command.ArchiveOption = None,
    seeds: Annotated[int, typer.Option(min=1, max=MAX_SEEDS, help="Runs per row.")] = 3,
    threads: command.ThreadsOption = 0,
    finished: Annotated[bool, typer.Option("--finished", help="Only the table and plot of the runs so far.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch of narrow networks, two rows: a minute.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Train every row of the grid with several seeds; if stopped, the same command resumes it."""
    table = read_grid(grid)
    base = table["base"]
    base |= {"data": data} if data else {}
    if quick:
        output /= command.QUICK
        seeds, table["members"] = 1, 2
        base["recipe"] |= {"epochs": 1, "batch_size": 8}
        base["network"] |= {"hidden": 16, "channels": [4, 8, 8, 8, 8]}
        table["rows"] = {row: table["rows"][row] for row in (WHOLE, "no cross-tower connection")}
    results = Results(output / f"{grid.stem}.json", {"base": base, "rows": table["rows"]})
    if not finished:
        split = output / f"{grid.stem}-split.csv"  # one split for all seeds, also for a folder
        write_split(base["data"], archive, base.get("source", ""), split)
        runs, members = output / f"{grid.stem}-runs", output / f"{grid.stem}-members"
        environment = Environment(str(split), home=runs, artifacts=members, cache=cache, threads=threads)
        results.start()
        run_grid(table, results, seeds, environment)
    elif f"{WHOLE}, seed 0" not in results.runs:
        raise TrainingError(f"{results.path} has no run of {WHOLE} yet: leave --finished out")
    draw(table, results).savefig(output / f"{grid.stem}.png", dpi=110)
    typer.echo(format_table(table, results))


if __name__ == "__main__":
    command.run(main)
