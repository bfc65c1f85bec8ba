"""The outcome of a training run, in sentences and as report.json: the result, baselines and next steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.artifacts.artifact import Artifact, Measurement
from model.artifacts.held_out import may_know_held_out, splits_of_ancestors
from model.artifacts.intervals import Interval, format_interval
from model.files import atomic_write
from model.shell_command import Command
from training.config import Environment, RunOptions, TrainConfig
from training.data.data_check import DataCheck
from training.data.earlier_split import split_advice
from training.evaluation.baselines import LINEAR, START, Baseline

REPORT_DATA = "report.json"
MAJORITY_CLASS = "always guessing the most frequent class"
TRAIN_ALL_LAYERS = "train all layers, not just the output layer, which takes longer but may lower the error"


@dataclass(frozen=True)
class RunSummary:
    """`measured`: with the most crops. `seconds`: of training and validation. `commands`: next steps, each in a few
    words and as a command."""

    artifact: Artifact
    measured: Measurement
    split: str
    baselines: Sequence[Baseline]
    check: DataCheck
    epochs: int
    seconds: float
    commands: Sequence[tuple[str, str]]

    @property
    def num_right(self) -> int:
        return round((1 - self.measured.top1_error) * self.measured.num_images)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the share that is right."""
        low, high = self.measured.top1_interval
        return 1 - high, 1 - low

    @property
    def result(self) -> str:
        """The first sentence of a report."""
        low, high = self.interval
        count = f"{self.num_right:,} of {self.measured.num_images:,} {self.split} images right"
        return f"{count}; 95 % interval {100 * low:.0f} to {100 * high:.0f} %"

    @property
    def doubt(self) -> str:
        """Why the result may be too good; empty if there is no reason to think so."""
        doubts = []
        if self.split == "validation":
            doubts.append(
                "There is no test split: these images also steered training, so the error on others is likely "
                "higher. To measure it, put some images into a folder named test."
            )
        training = self.artifact.manifest.training
        if may_know_held_out(training):
            doubts.append(
                f"The network that this run started from was trained on another split of {training['dataset']}: some "
                f"of these {self.split} images may be among its training images, so the error on others may be higher. "
                f"To measure it, {split_advice(splits_of_ancestors(training), training['dataset'])}."
            )
        return " ".join(doubts)

    @property
    def verdict(self) -> str:
        """Whether the network is better than the best baseline.

        Without a training step, the network is itself the linear classifier on the start network's features: no rival.
        """
        training = self.artifact.manifest.training
        is_trained = training.get("published_epoch", self.epochs) or training.get("published_steps")
        if not is_trained and any(baseline.method == START for baseline in self.baselines):
            return "Training wasn't worth it: no epoch was better than the start network, which is published unchanged."
        rivals = [baseline for baseline in self.baselines if is_trained or baseline.method != LINEAR]
        if not rivals:
            return ""
        best = min(rivals, key=lambda baseline: baseline.top1_error)
        error, (low, high) = self.measured.top1_error, self.measured.top1_interval
        ours, theirs = 100 * (1 - error), 100 * (1 - best.top1_error)
        compared = f"the network's accuracy is {ours:.1f} %, against {theirs:.1f} % for {best.method}"
        if high < best.interval[0]:
            return f"Training was worth it: {compared}."
        if low > best.interval[1]:
            return f"A baseline is better: {compared}. Train longer, or start from a network (--init-from)."
        return f"No clear difference from a baseline: {compared}; their intervals overlap."

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        manifest = self.artifact.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "result": self.result,
            "verdict": self.verdict,
            "split": self.split,
            "num_images": self.measured.num_images,
            "num_right": self.num_right,
            "interval": self.interval,
            "measurements": [m.model_dump(mode="json") for m in manifest.measurements],
            "baselines": [asdict(baseline) | {"interval": baseline.interval} for baseline in self.baselines],
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "data": self.check.to_json(),
            "training": manifest.training,
            "next": [line for _, line in self.commands],
        }

    def write(self, folder: Path) -> None:
        """Write report.json. Raises OSError."""
        with atomic_write(folder / REPORT_DATA) as file:
            file.write(json.dumps(self.to_json(), indent=1) + "\n")


def majority_class_baseline(split: str, num_train: Sequence[int], num_held_out: Sequence[int]) -> Baseline:
    """The error of always answering the most frequent training class, from the number of images of each class."""
    total = sum(num_held_out)
    error = 1 - num_held_out[int(np.argmax(num_train))] / total
    return Baseline(MAJORITY_CLASS, split, error, total, sum(num_train))


def next_commands(artifact: Path, config: TrainConfig) -> list[tuple[str, str]]:
    """Commands for a new network: a few words on what each does, and the command.

    `artifact`: its folder, which all commands name: without it they would take a later version if there is one.
    `config`: that of the run that made it.
    """
    environment, home = config.environment, config.environment.home
    index = Command("index", "add").option("artifact", artifact).option("data", environment.data)
    serve = Command("serve").option("artifact", artifact)
    commands = {
        "search for similar images": index.option("exclude", environment.exclude).option("home", home, Path()),
        "classify and search on a page and over HTTP": serve.option("home", home, Path()),
        "classify images": Command("classify").option("artifact", artifact).argument("IMAGE"),
    }
    if not config.recipe.has_epochs:
        commands = {TRAIN_ALL_LAYERS: _train_all_layers(artifact, config)} | commands
    return [(what, str(command)) for what, command in commands.items()]


def _train_all_layers(artifact: Path, config: TrainConfig) -> Command:
    """The command that trains all layers of `artifact`, whose output layer alone was fitted.

    On the same data with the same split: another one could test on training images.
    """
    environment, run = config.environment, config.run
    plain, plain_run = Environment(), RunOptions()
    return (
        Command("train")
        .option("data", environment.data)
        .option("exclude", environment.exclude)
        .option("archive", environment.archive)
        .option("seed", run.seed, plain_run.seed)
        .option("split", run.split, plain_run.split)
        .option("split_from", run.split_from)
        .option("drop_near_duplicates", run.drop_near_duplicates)
        .option("name", run.name)
        .option("init_from", artifact)
        .option("epochs", 15)
        .option("lr_multipliers", "copied=1")  # the full rate: a fitted output layer doesn't distort copied layers
        .option("publish", "best")
        .option("class_weights", config.recipe.class_weights)
        .option("max_pixels", environment.max_pixels, plain.max_pixels)
        .option("cache_format", run.cache_format, plain_run.cache_format)
        .option("crops", environment.crops, plain.crops)
        .option("device", environment.device, plain.device)
        .option("home", environment.home, plain.home)
        .option("artifacts", environment.artifacts)
        .option("runs", environment.runs)
        .option("cache", environment.cache)
    )


def format_baseline(baseline: Baseline) -> tuple[str, str, str, str]:
    """Method, share that is right with its interval, images it was trained and measured on, as text."""
    low, high = baseline.interval
    right = f"{100 * (1 - baseline.top1_error):.1f} % ({format_interval((1 - high, 1 - low))})"
    return baseline.method, right, f"{baseline.num_train_images:,}", f"{baseline.num_images:,}"


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
