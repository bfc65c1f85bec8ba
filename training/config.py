"""Configuration of a training run: network, recipe, run and environment. Saved as config.json in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from model.exceptions import TrainingError
from model.network.registry import build_spec
from model.network.spec import NetworkConfig, Scheme

STRICT = ConfigDict(extra="forbid")
NEVER = 1e9
"""An epoch that is never reached; JSON has no infinity."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """How a network is trained. The defaults are those of sections 4 and 5 of the paper.

    `batch_size`: images per step, over all processes. `bias_lr_multiplier`: learning rate of the biases in units of the
    weights'; `bias_lr_drops`: it drops when theirs does. `decay_biases`: weight decay for biases, too; the paper's rule
    makes no exception for them.

    `pca_color_std`: standard deviation of the PCA color shift (0: none). `pca_color_scale`: what it is multiplied by.
    `eigenvalue`, of the covariance of pixels in 0..1 (the reading under which the paper's formula gives a few gray
    levels), or `standard_deviation`, its square root, after which the whole image is divided by 1 + `pca_color_std`
    (the authors' program).

    `schedule`: `plateau` divides the learning rate by ten after `patience` epochs without a better validation error, at
    most `max_drops` times; then the run ends. `milestones` divides it at the epochs in `milestones`; from
    `color_end_epoch` on there is no color shift, from `early_anneal_epoch` on the layers with `anneals_early` (conv1)
    learn at a tenth, from `early_freeze_epoch` on not at all. These epochs are for a run of `epochs`, and scale with it
    (`with_epochs`).

    `crop_group_size`: number of consecutive images that share crop and mirroring. `shuffle`: a new order each epoch.
    """

    name: str
    network: NetworkConfig = field(default_factory=NetworkConfig)
    initialization: Scheme = "paper"
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    decay_biases: bool = True
    bias_lr_multiplier: float = 1.0
    bias_lr_drops: bool = True
    pca_color_scale: Literal["eigenvalue", "standard_deviation"] = "eigenvalue"
    pca_color_std: float = 0.1
    mirror: bool = True
    random_crop: bool = True
    crop_group_size: int = 1
    shuffle: bool = True
    epochs: int = 90
    schedule: Literal["plateau", "milestones"] = "plateau"
    patience: int = 6
    max_drops: int = 3
    milestones: tuple[float, ...] = ()
    color_end_epoch: float = NEVER
    early_anneal_epoch: float = NEVER
    early_freeze_epoch: float = NEVER

    def with_batch_size(self, batch_size: int) -> Recipe:
        """Another batch size, with the learning rate in proportion (Krizhevsky's runs kept their errors so to 256)."""
        return replace(self, batch_size=batch_size, learning_rate=self.learning_rate * batch_size / self.batch_size)

    def with_epochs(self, epochs: int) -> Recipe:
        """Another number of epochs, with the epochs of the schedule in proportion."""
        scale = epochs / self.epochs
        return replace(
            self,
            epochs=epochs,
            milestones=tuple(scale * epoch for epoch in self.milestones),
            color_end_epoch=scale * self.color_end_epoch,
            early_anneal_epoch=scale * self.early_anneal_epoch,
            early_freeze_epoch=scale * self.early_freeze_epoch,
        )


RECIPES = {
    "paper": Recipe("paper"),
    "source": Recipe(
        "source",
        network=NetworkConfig(normalization="source", mean="center"),
        initialization="source",
        decay_biases=False,
        bias_lr_multiplier=2.0,
        bias_lr_drops=False,
        pca_color_scale="standard_deviation",
        crop_group_size=32,
        shuffle=False,
        epochs=91,
        schedule="milestones",
        milestones=(25, 51, 79),
        color_end_epoch=67,
        early_anneal_epoch=67,
        early_freeze_epoch=72,
    ),
    "small": Recipe(
        "small",
        # pixels to about unit variance; a power of two, so that folding it into conv1 is exact
        network=NetworkConfig(input_scale=1 / 64),
        initialization="he",
        batch_size=32,
        learning_rate=0.005,
        decay_biases=False,
        epochs=60,
        patience=8,
        max_drops=2,
    ),
}


def get_recipe(name: str) -> Recipe:
    """The recipe of this name. Raises TrainingError."""
    if name not in RECIPES:
        raise TrainingError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True, config=STRICT)
class RecipeOptions:
    """A recipe by name, and changes to it; None: as the recipe has it. See `Recipe`."""

    name: str = "small"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    pca_color_std: float | None = None
    mirror: bool | None = None
    random_crop: bool | None = None
    initialization: Scheme | None = None

    def resolve(self) -> Recipe:
        """The recipe with these changes. Raises TrainingError."""
        recipe = get_recipe(self.name)
        if self.batch_size is not None:
            recipe = recipe.with_batch_size(self.batch_size)
        if self.epochs is not None:
            recipe = recipe.with_epochs(self.epochs)
        return replace(recipe, **_changes(self))


@dataclass(frozen=True, config=STRICT)
class NetworkOptions:
    """Changes to the recipe's network, or to that of the artifact to start from; None: as it is there.

    Each field is one of `model.network.spec.NetworkConfig`.
    """

    name: str | None = None
    hidden: int | None = None
    dropout: float | None = None
    activation: Literal["relu", "tanh"] | None = None
    pool_size: Literal[2, 3] | None = None
    normalization: Literal["paper", "source", "none"] | None = None
    conv3_cross_tower: bool | None = None
    omit_layer: str | None = None
    channels: tuple[int, ...] | None = None

    def apply(self, network: NetworkConfig) -> NetworkConfig:
        """`network` with these changes. Raises NetworkConfigError."""
        return replace(network, **_changes(self))


@dataclass(frozen=True, config=STRICT)
class RunOptions:
    """What a run is called, where its weights start, and how fast each layer learns.

    `name`: of the artifact ("": that of the data). `seed`: of initialization, split, order, crops and dropout.
    `init_from`: an artifact whose layers are copied where they fit. `lr_multipliers`: learning rate multipliers by
    layer. `frozen`: layers that are not trained. `cache_format`: JPEG is lossy, so it belongs to what a run computes.
    """

    name: str = ""
    seed: int = 0
    init_from: Path | None = None
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    cache_format: Literal["raw", "jpeg"] = "raw"


@dataclass(frozen=True, config=STRICT)
class Environment:
    """Where and how a run computes. All of it may change when a run is resumed.

    `data`, `archive`: see `training.data.loading`. `processes_per_network`: 1, or 2 with a tower in each.
    `micro_batch`: maximum number of images per forward pass in a process; their gradients add up to the whole batch's
    (0: no maximum). `precision`: `float32`, `bfloat16` (autocast), `float64`, or `auto`: bfloat16 where the hardware
    computes with it. `compile`: torch.compile, on a GPU. `save_steps`: steps between checkpoints within an epoch, in
    addition to one every ten minutes (0: none). `crops`: measure the center crop only, or ten crops, too. `artifacts`,
    `runs` and `cache` are below `home` unless given.
    """

    data: str = "elpv"
    archive: Path | None = None
    processes_per_network: int = 1
    micro_batch: int = 0
    precision: str = "auto"
    device: str = "auto"
    compile: bool = False
    save_steps: int = 0
    crops: Literal["1", "10"] = "10"
    home: Path = Path()
    artifacts: Path | None = None
    runs: Path | None = None
    cache: Path | None = None

    @property
    def artifacts_folder(self) -> Path:
        return self.artifacts or self.home / "artifacts"

    @property
    def runs_folder(self) -> Path:
        return self.runs or self.home / "runs"

    @property
    def cache_folder(self) -> Path:
        return self.cache or self.home / "cache"


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """Everything that a training run is told."""

    network: NetworkOptions
    recipe: Recipe
    run: RunOptions
    environment: Environment = field(default_factory=Environment)

    @classmethod
    def create(
        cls,
        recipe: RecipeOptions | None = None,
        network: NetworkOptions | None = None,
        run: RunOptions | None = None,
        environment: Environment | None = None,
    ) -> TrainConfig:
        """The configuration of a new run from options. Raises TrainingError, NetworkConfigError."""
        environment, network = environment or Environment(), network or NetworkOptions()
        resolved, run = (recipe or RecipeOptions()).resolve(), run or RunOptions()
        run = replace(run, name=run.name or Path(environment.data).resolve().stem.lstrip("."))
        if not run.name or run.name.startswith(".") or any(character in run.name for character in "/\\\0"):
            raise TrainingError(f"invalid --name {run.name!r}: it must be one path component, not starting with '.'")
        if run.init_from is None:
            build_spec(network.apply(resolved.network))  # for its checks
        return cls(network, resolved, run, environment)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """Raises pydantic's ValidationError, NetworkConfigError."""
        return TypeAdapter(cls).validate_json(text)

    def resume_fingerprint(self) -> dict[str, Any]:
        """Everything that may not change when a run is resumed, as plain JSON values, by section."""
        plain: dict[str, Any] = json.loads(self.to_json())
        del plain["environment"]
        return plain


def parse_lr_multipliers(text: str) -> dict[str, float]:
    """Multipliers by layer from "conv1=0.01,fc8=1". Raises TrainingError."""
    try:
        return {layer: float(factor) for layer, factor in (item.split("=") for item in text.split(","))}
    except ValueError:
        raise TrainingError(f"invalid --lr-multipliers {text!r}: write them like conv1=0.01,fc8=1") from None


def _changes(options: RecipeOptions | NetworkOptions) -> dict[str, Any]:
    """The fields that are not None, without those that `resolve` treats apart."""
    values = {known.name: getattr(options, known.name) for known in fields(options)}
    special = ("name", "epochs", "batch_size") if isinstance(options, RecipeOptions) else ()
    return {name: value for name, value in values.items() if value is not None and name not in special}
