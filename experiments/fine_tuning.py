"""Fine-tuning: which layers to train, at which rates, compared with training from scratch.

The tasks are solar cells (ELPV; eight classes, and functional against defective), groceries (Grocery Store, published
split) and 12,000 images of CIFAR-10. Each of `METHODS` trains as `alexnet train` does. A run resumes where it was
stopped: the experiment may take days at the lowest priority. The cheap methods come first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer

from experiments import command
from experiments.results import Results
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Label
from model.exceptions import TrainingError
from training.config import Environment, RecipeOptions, RunOptions, TrainConfig
from training.data.archives import load_elpv
from training.data.datasets import Dataset, Example
from training.data.folders import write_table
from training.data.loading import load_dataset
from training.evaluation.baselines import read_baselines
from training.train import FinishedRun

LEARNING_RATE = 0.002
"""For a batch of 32: the start network's learning rate in proportion to the batch size."""
SCRATCH = "from scratch"
SPLIT_SIZES = {"train": 9_000, "validation": 1_000, "test": 2_000}
"""Numbers of images of CIFAR-10."""


@dataclass(frozen=True)
class Method:
    """How a network is trained. `rates`: learning rate multipliers. `trains`: False for no epoch at all."""

    rates: dict[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    fit_output: bool = True
    trains: bool = True


CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
METHODS = {
    "linear classifier": Method(trains=False),
    "frozen convolutions": Method({"copied": 1.0}, CONVOLUTIONS),
    "all layers": Method({"copied": 1.0}),
    "all layers at a tenth": Method({"copied": 0.1, "new": 0.1}),
    "convolutions at a tenth": Method({"conv": 0.1, "fc": 1.0}),
    "random output layer, others at a tenth": Method({"copied": 0.1}, fit_output=False),
    "random output layer, all layers": Method({"copied": 1.0}, fit_output=False),
    SCRATCH: Method(),
}


@dataclass(frozen=True)
class Task:
    """A data set, how long each training takes, and with how many crops it is measured."""

    epochs: int
    crops: Literal[1, 10]


TASKS = {"cells": Task(15, 10), "defects": Task(15, 10), "cifar10": Task(5, 1), "groceries": Task(15, 10)}


def load_task(name: str, archive: Path | None) -> Dataset:
    """The images of a task: cells in eight classes, functional and defective cells, 12,000 images of CIFAR-10, or
    groceries."""
    if name == "groceries":
        return load_dataset("grocery", archive=archive)
    if name == "cifar10":
        return sample(load_dataset("cifar10", archive=archive), SPLIT_SIZES)
    cells = load_elpv()
    if name == "cells":
        return cells
    kinds = cells.groupings["functional or defective"]
    names = ("functional", "defective")

    def two_classes(examples: tuple[Example, ...]) -> tuple[Example, ...]:
        return tuple(example._replace(label=names.index(kinds[example.label])) for example in examples)

    return replace(
        cells,
        name="defects",
        labels=tuple(Label(id=kind, name=kind) for kind in names),
        groupings={},
        train=two_classes(cells.train),
        validation=two_classes(cells.validation),
        test=two_classes(cells.test),
    )


def sample(dataset: Dataset, sizes: dict[str, int]) -> Dataset:
    """At most `sizes` images of each split, drawn with seed 0."""
    generator = np.random.default_rng(0)

    def draw(split: str) -> tuple[Example, ...]:
        examples = dataset.splits()[split]
        return tuple(examples[row] for row in np.sort(generator.permutation(len(examples))[: sizes[split]]))

    return replace(dataset, train=draw("train"), validation=draw("validation"), test=draw("test"))


def create_config(
    task: Task, method: Method, is_scratch: bool, seed: int, start: Path, environment: Environment
) -> TrainConfig:
    """The configuration of one training. `start`: the artifact to start from, unless `is_scratch`."""
    recipe = RecipeOptions("small", epochs=task.epochs, schedule="cosine", warmup=0.05)
    run = RunOptions(name="network", seed=seed, init_from="none")
    if not is_scratch:
        recipe = replace(recipe, learning_rate=LEARNING_RATE) if method.trains else RecipeOptions("small", epochs=0)
        run = replace(
            run, init_from=start, lr_multipliers=method.rates, frozen=method.frozen, fit_output=method.fit_output
        )
    return TrainConfig.create(recipe, run=run, environment=replace(environment, crops=task.crops, publish="best"))


def measure(run: FinishedRun) -> dict[str, Any]:
    """Errors and accuracies of groups of classes by number of crops; also the epochs, and the baselines' errors."""
    measured: dict[str, Any] = {}
    for m in run.artifact.manifest.measurements:
        groups = {name: round(accuracy, 4) for name, accuracy in m.groups.items()}
        measured[f"{m.crops}"] = {"top1_error": round(m.top1_error, 4), "groups": groups}
    training = run.artifact.manifest.training
    baselines = {baseline.method: round(baseline.top1_error, 4) for baseline in read_baselines(run.path)}
    return measured | {
        "epochs": training["epochs"],
        "published_epoch": training["published_epoch"],
        "baselines": baselines,
    }


def format_table(results: Results) -> str:
    """A Markdown table of each method's mean error by task, and the number of seeds."""
    lines = [f"| | {' | '.join(TASKS)} |", f"|---{'|---' * len(TASKS)}|"]
    for method in METHODS:
        cells = []
        for name, task in TASKS.items():
            runs = [run for key, run in results.runs.items() if key.startswith(f"{name}, {method}, seed ")]
            errors = [100 * run[str(task.crops)]["top1_error"] for run in runs]
            cells.append(f"{np.mean(errors):.2f} % ({len(errors)})" if errors else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


class Run(NamedTuple):
    """One training of the experiment: names in `TASKS` and `METHODS`, and the seed."""

    task: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}, {self.method}, seed {self.seed}"


def iter_runs(seeds: int) -> Iterator[Run]:
    """Every method on every task with one seed, then with the next; methods that don't train run only once."""
    for seed in range(seeds):
        for name, method in METHODS.items():
            if seed == 0 or method.trains:
                yield from (Run(task, name, seed) for task in TASKS)


def train_and_measure(run: Run, start: Path, archive: Path | None, environment: Environment) -> dict[str, Any]:
    """Train in the folder `environment.home`, or resume a training there. Returns what was measured."""
    home = environment.home
    table = home / f"{run.task}.csv"
    home.mkdir(parents=True, exist_ok=True)
    write_table(load_task(run.task, archive), table)
    start_seconds = time.process_time()
    run_environment = replace(environment, data=str(table))
    config = create_config(
        TASKS[run.task], METHODS[run.method], run.method == SCRATCH, run.seed, start, run_environment
    )
    return measure(command.train_or_resume(config)) | {"cpu_seconds": round(time.process_time() - start_seconds)}


def main(
    init_from: Annotated[Path, typer.Option(help="Artifact to start from.")],
    archive: command.ArchiveOption = None,
    task: Annotated[list[str] | None, typer.Option(help="Task; may be repeated (default: all).")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Method; may be repeated (default: all).")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method.")] = 3,
    threads: command.ThreadsOption = 0,
    finished: Annotated[bool, typer.Option("--finished", help="Only the table of the runs so far.")] = False,
    output: command.OutputOption = command.RESULTS,
    cache: command.CacheOption = command.CACHE,
) -> None:
    """Train by every method on every task, one seed after the other; if stopped, the same command resumes it."""
    for names, known in ((task, TASKS), (method, METHODS)):
        if unknown := set(names or []) - known.keys():
            raise TrainingError(f"unknown name {min(unknown)!r}: choose from {'; '.join(known)}")
    start = artifacts.load(init_from)
    settings = {
        "network": start.network_sha256,
        "learning_rate": LEARNING_RATE,
        "epochs": {n: t.epochs for n, t in TASKS.items()},
    }
    results = Results(output / "fine_tuning.json", settings)
    for run in iter_runs(0 if finished else seeds):
        is_selected = (not task or run.task in task) and (not method or run.method in method)
        if not is_selected or str(run) in results.runs:
            continue
        typer.echo(f"--- {run}")
        results.start()
        with command.run_home(output / "fine_tuning-runs", str(run)) as home:
            environment = Environment("", home=home, cache=cache, threads=threads)
            results.add(str(run), train_and_measure(run, start.path, archive, environment))
    typer.echo(format_table(results))


if __name__ == "__main__":
    command.run(main)
