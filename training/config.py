"""What a training run is told: the recipe by name, and the run's own choices. Saved beside what they produced."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from model.artifacts.artifact import MANIFEST
from model.exceptions import TrainingError
from model.network.spec import Architecture, Scheme

NEVER = 1e9
"""An epoch that doesn't come; JSON knows no infinity."""


@dataclass(frozen=True)
class Recipe:
    """How the network is trained. The defaults are sections 4 and 5 of the paper.

    `batch`: images a step, over all processes. `bias_rate`: the biases' learning rate in units of the weights';
    `bias_rate_falls`: it is divided as theirs is. `decay_biases`: the paper's rule has no exception for biases.

    `color`: what the PCA color shift's N(0, `color_deviation`) multiplies. `eigenvalue`, of the covariance of pixels
    taken as 0..1 (the reading under which the paper's formula gives a few gray levels), or `deviation`, its square
    root, after which the whole image is divided by 1 + `color_deviation` (the authors' program).

    `schedule`: `plateau` divides the rate by ten after `patience` epochs without a better validation error; after
    `drops` divisions the next one ends the run. `milestones` divides it at the epochs in `milestones`; after
    `color_end` the color shift is off, after `conv1_slow` conv1 learns at a tenth, after `conv1_end` not at all.
    These epochs are for a run of `epochs`, and scale with it (see `with_epochs`).

    `crop_group`: so many consecutive images share crop and mirror. `shuffle`: another order in every epoch.
    """

    name: str
    architecture: Architecture = field(default_factory=Architecture)
    initialization: Scheme = "paper"
    batch: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    decay_biases: bool = True
    bias_rate: float = 1.0
    bias_rate_falls: bool = True
    color: Literal["eigenvalue", "deviation"] = "eigenvalue"
    color_deviation: float = 0.1
    mirror: bool = True
    crop: bool = True
    crop_group: int = 1
    shuffle: bool = True
    epochs: int = 90
    schedule: Literal["plateau", "milestones"] = "plateau"
    patience: int = 6
    drops: int = 3
    milestones: tuple[float, ...] = ()
    color_end: float = NEVER
    conv1_slow: float = NEVER
    conv1_end: float = NEVER

    def with_batch(self, batch: int) -> Recipe:
        """Another batch, and the learning rate in proportion to it (Krizhevsky's runs at 256 kept their errors so)."""
        return replace(self, batch=batch, learning_rate=self.learning_rate * batch / self.batch)

    def with_epochs(self, epochs: int) -> Recipe:
        """Another length, and the epochs of the schedule in proportion to it."""
        scale = epochs / self.epochs
        return replace(
            self,
            epochs=epochs,
            milestones=tuple(scale * epoch for epoch in self.milestones),
            color_end=scale * self.color_end,
            conv1_slow=scale * self.conv1_slow,
            conv1_end=scale * self.conv1_end,
        )


RECIPES = {
    "paper": Recipe("paper"),
    "source": Recipe(
        "source",
        architecture=Architecture(normalization="source", mean="center"),
        initialization="source",
        decay_biases=False,
        bias_rate=2.0,
        bias_rate_falls=False,
        color="deviation",
        crop_group=32,
        shuffle=False,
        epochs=91,
        schedule="milestones",
        milestones=(25, 51, 79),
        color_end=67,
        conv1_slow=67,
        conv1_end=72,
    ),
    "small": Recipe(
        "small",
        # pixels to about unit variance; a power of two, so that folding it into conv1 is exact
        architecture=Architecture(input_scale=1 / 64),
        initialization="he",
        batch=32,
        learning_rate=0.005,
        decay_biases=False,
        epochs=60,
        patience=8,
        drops=2,
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of this name. Raises TrainingError."""
    if name not in RECIPES:
        raise TrainingError(f"expected a recipe of {', '.join(RECIPES)}, found {name!r}")
    return RECIPES[name]


@dataclass(frozen=True)
class RunConfig:
    """One run: where its images and results are, and what it does besides the recipe.

    `seed`: of weights, order, crops and dropout; `split_seed`: of the split, where the data has none of its own.
    `towers`: processes that share one network. `micro_batch`: at most so many images at once in a process, whose
    gradients add up to the whole batch's; 0: its whole share. `precision`: `float32`, `bfloat16` (autocast),
    `float64`, or `auto`: bfloat16 where the processor has it. `rates`: factors of the learning rate by layer;
    `frozen`: layers that stay as they are. `asked`: fields of the architecture that were chosen by name, whatever the
    recipe or the artifact to start from say. `save_steps`: steps between checkpoints within an epoch, besides one
    every ten minutes; 0: none. `measure`: the errors at the end with ten crops, or of the center alone.
    """

    recipe: Recipe
    data: str = "elpv"
    archive: Path | None = None
    name: str = "elpv"
    seed: int = 0
    split_seed: int = 0
    init_from: Path | None = None
    asked: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    towers: int = 1
    micro_batch: int = 0
    precision: str = "auto"
    device: str = "auto"
    compiled: bool = False
    save_steps: int = 0
    cache_format: Literal["raw", "jpeg"] = "raw"
    measure: Literal["ten", "center"] = "ten"
    artifacts: Path = Path("artifacts")
    cache: Path = Path("cache")
    runs: Path = Path("runs")

    def account(self) -> dict[str, Any]:
        """All that may not change when a run goes on, as JSON has it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return {name: value for name, value in plain.items() if name not in MACHINE}


MACHINE = (
    "data", "archive", "towers", "micro_batch", "precision", "device", "compiled", "save_steps", "artifacts", "cache",
    "runs", "measure",
)  # fmt: skip
"""What may change when a run goes on: where and how it computes, not what. JPEGs lose, so their cache isn't here."""
FILE = "config.json"
ARTIFACT = "artifact.txt"
"""Where the artifact of a finished run is, in the run's folder."""


def configure(given: Mapping[str, Any]) -> RunConfig:
    """A run from options by their names: those of RunConfig, of its recipe and of the recipe's architecture.

    Raises TrainingError.
    """
    chosen = recipe(given.get("recipe", "small"))
    asked = _of(Architecture, given, ("classes", "towers"))
    asked |= ({"towers": 1} if given.get("one_tower") else {}) | ({"joined": False} if given.get("apart") else {})
    architecture = replace(chosen.architecture, **asked)
    changes = _of(Recipe, given, ("name", "architecture", "epochs", "batch"))
    if "batch" in given:
        chosen = chosen.with_batch(given["batch"])
    if "epochs" in given:
        chosen = chosen.with_epochs(given["epochs"])
    run = _of(RunConfig, given, ("recipe",))
    run.setdefault("data", RunConfig.data)
    run["name"] = name = run.get("name") or Path(run["data"]).resolve().stem.lstrip(".")
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
        raise TrainingError(f"expected a --name that can be one folder's, without a dot in front, found {name!r}")
    return RunConfig(recipe=replace(chosen, architecture=architecture, **changes), asked=tuple(asked), **run)


def factors(text: str) -> dict[str, float]:
    """Factors of the learning rate by layer, from conv1=0.01,fc8=1. Raises TrainingError."""
    try:
        return {layer: float(factor) for layer, factor in (item.split("=") for item in text.split(","))}
    except ValueError:
        raise TrainingError(f"expected --rates like conv1=0.01,fc8=1, found {text!r}") from None


def go_on(run: Path, given: Mapping[str, Any]) -> RunConfig:
    """The configuration of the run in a folder, with what `given` changes of `MACHINE`. Raises TrainingError."""
    fixed = sorted(set(given) - set(MACHINE))
    if fixed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise TrainingError(f"expected a run to go on as it was started, found {options} beside --resume")
    chosen = read(run)
    if (run / ARTIFACT).is_file():
        made = Path((run / ARTIFACT).read_text(encoding="utf-8").rstrip("\n"))
        if (made / MANIFEST).is_file():
            raise TrainingError(f"expected a run that isn't finished, found one with its artifact: {made}")
    return replace(chosen, **given)


def read(run: Path) -> RunConfig:
    """The configuration that a run was started with. Raises TrainingError."""
    try:
        return TypeAdapter(RunConfig).validate_json((run / FILE).read_bytes())
    except OSError as error:
        each = " on every machine" if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 else ""
        raise TrainingError(f"expected the folder of a run with {FILE}{each}, found none at {run}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "its beginning"
        raise TrainingError(
            f"expected a {FILE} of this version in {run}, found a fault at {where}: {problem['msg']}"
        ) from error


def save(run: Path, chosen: RunConfig) -> None:
    """Write a run's configuration to its folder; a full disk leaves the one before. Raises TrainingError."""
    replace_file(run / FILE, json.dumps(asdict(chosen), indent=1, default=str) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file of a run whole, or leave it as it was. Raises TrainingError."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(f"expected to write {path}, found: {error.strerror}; nothing was changed") from error


def _of(kind: type[Any], given: Mapping[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    names = {known.name for known in fields(kind)} - set(without)
    return {name: value for name, value in given.items() if name in names}
