"""Configuration of a training run: network, recipe, run and environment. Saved as config.json in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from model.artifacts.names import check_path_name
from model.exceptions import TrainingError
from model.images.contract import ImageContract
from model.images.limits import DEFAULT_LIMITS
from model.network.registry import build_spec
from model.network.spec import NetworkConfig, Scheme
from training.recipes import STRICT, Recipe, get_recipe, with_augmentations

AUTO = "auto"
Start = Literal["auto", "none"] | Path
LENGTH = (
    "epochs",
    "minutes",
    "drop_by",
    "milestones",
    "color_end_epoch",
    "early_anneal_epoch",
    "early_freeze_epoch",
)
"""Fields of a recipe that change with the length of its run (`Recipe.with_epochs`, `Recipe.with_minutes`)."""


@dataclass(frozen=True, config=STRICT)
class RecipeOptions:
    """A recipe by name, and changes to it; None: as the recipe has it. See `training.recipes.Recipe`.

    `name`: `auto` is `fine-tune` for a run that starts from a network, else `small`. `augment`: names of augmentations
    (`training.recipes.with_augmentations`).
    """

    name: str = AUTO
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    augment: str | None = None
    schedule: Literal["plateau", "cosine"] | None = None
    warmup: float | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    pca_color_std: float | None = None
    mirror: bool | None = None
    random_crop: bool | None = None
    class_weights: bool | None = None
    label_smoothing: float | None = None
    initialization: Scheme | None = None

    def resolve(self, fine_tuning: bool = False) -> Recipe:
        """The recipe with these changes. `fine_tuning`: whether the run starts from a network. Raises TrainingError."""
        if self.epochs is not None and self.minutes is not None:
            raise TrainingError("--epochs and --minutes exclude each other: choose one")
        default = "fine-tune" if fine_tuning else "small"
        recipe = get_recipe(default if self.name == AUTO else self.name)
        if self.batch_size is not None:
            recipe = recipe.with_batch_size(self.batch_size)
        if self.augment is not None:
            recipe = with_augmentations(recipe, self.augment)
        recipe = replace(recipe, **_changes(self))
        if self.epochs is not None:
            recipe = recipe.with_epochs(self.epochs)
        return recipe if self.minutes is None else recipe.with_minutes(self.minutes)


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
    `init_from`: an artifact whose layers are copied where they fit, or the name of a bundled one; `auto`: the bundled
    network for photographs where that is expected to be better (`training.loop.start_network.choose_start`); `none`:
    initial weights are drawn at random. `lr_multipliers`: learning rate multipliers by
    layer, or group of layers (see `training.optim.layer_rates`). `frozen`: layers that are not trained.
    `fit_output`: fit a new output layer to the features of the copied layers before training
    (`training.optim.linear_probe`). `cache_format`: JPEG is lossy, so it belongs to what a run computes.
    `drop_near_duplicates`: leave out training and validation images that look like held-out ones
    (`training.data.copies`). `detail`, `color_profiles`: see `model.images.contract`; None: as in `init_from`, or all
    of it.
    """

    name: str = ""
    seed: int = 0
    init_from: Start = "auto"
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    fit_output: bool = True
    cache_format: Literal["raw", "jpeg"] = "raw"
    drop_near_duplicates: bool = False
    detail: int | None = None
    color_profiles: bool | None = None

    @property
    def image_contract(self) -> ImageContract:
        """How images are decoded for this run."""
        return ImageContract(self.detail, self.color_profiles is not False)


@dataclass(frozen=True, config=STRICT)
class Environment:
    """Where and how a run computes. All of it may change when a run is resumed.

    `data`, `archive`, `exclude`: see `training.data.loading`. `list_skipped`: a file for what is skipped.
    `max_pixels`: of an image (`model.images.limits`).
    `processes_per_network`: 1, or 2 with a tower in each. `micro_batch`: maximum number of images per forward pass in a
    process; their gradients add up to the whole batch's (0: no maximum). `precision`: `float32`, `bfloat16` (autocast),
    `float64`, or `auto`: bfloat16 where the hardware computes with it. `threads`: of a process on the CPU (0: chosen by
    a short trial). `compile`: torch.compile, on a GPU. `save_steps`: steps between checkpoints within an epoch, in
    addition to one every ten minutes (0: none). `keep_checkpoint`: also when the run is finished. `publish`: the
    weights of the last epoch, or of the one with the best validation error. `find_rate`: choose the learning rate by a
    range test before the first epoch. `crops`: measure the center crop only, or ten crops, too. `artifacts`, `runs` and
    `cache` are below `home` unless given.
    """

    data: str = "elpv"
    archive: Path | None = None
    exclude: tuple[str, ...] = ()
    list_skipped: Path | None = None
    max_pixels: int = DEFAULT_LIMITS.max_pixels
    processes_per_network: int = 1
    micro_batch: int = 0
    precision: str = "auto"
    device: str = "auto"
    threads: int = 0
    compile: bool = False
    save_steps: int = 0
    keep_checkpoint: bool = False
    publish: Literal["last", "best"] = "last"
    find_rate: bool = False
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
    """Everything that a training run is told.

    `fine_tuning`: the recipe that takes the place of `recipe` if `init_from` is `auto` and the run is to start from the
    bundled network; None once that is decided.
    """

    network: NetworkOptions
    recipe: Recipe
    run: RunOptions
    environment: Environment = field(default_factory=Environment)
    fine_tuning: Recipe | None = None

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
        recipe, run = recipe or RecipeOptions(), run or RunOptions()
        if run.init_from == "auto" and (recipe.name != AUTO or network != NetworkOptions()):
            run = replace(run, init_from="none")  # another recipe or network than the bundled one's was chosen
        resolved = recipe.resolve(fine_tuning=run.init_from not in ("auto", "none"))
        fine_tuning = recipe.resolve(fine_tuning=True) if run.init_from == "auto" else None
        run = replace(run, name=run.name or Path(environment.data).resolve().stem.lstrip("."))
        try:
            check_path_name(run.name)
        except ValueError as error:
            raise TrainingError(f"invalid --name {run.name!r}: {error}") from error
        if run.init_from in ("auto", "none"):
            build_spec(network.apply(resolved.network))  # for its checks
            if not resolved.epochs and not resolved.minutes:
                raise TrainingError("--epochs 0 needs a network to start from: choose one with --init-from")
        return cls(network, resolved, run, environment, fine_tuning)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """Raises pydantic's ValidationError, NetworkConfigError."""
        return TypeAdapter(cls).validate_json(text)

    def resume_fingerprint(self) -> dict[str, Any]:
        """Everything that may not change when a run is resumed, as plain JSON values, by section.

        The length of the run may, and what follows from it.
        """
        plain: dict[str, Any] = json.loads(self.to_json())
        del plain["environment"], plain["fine_tuning"]
        for name in LENGTH:
            del plain["recipe"][name]
        return plain


def parse_start(text: str) -> Start:
    """What `--init-from` names: "auto", "none", or a folder or the name of a bundled network as a path."""
    return "auto" if text == "auto" else "none" if text == "none" else Path(text)


def parse_lr_multipliers(text: str) -> dict[str, float]:
    """Multipliers by layer or group from "conv1=0.01,fc=1". Raises TrainingError."""
    try:
        return {layer: float(factor) for layer, factor in (item.split("=") for item in text.split(","))}
    except ValueError:
        raise TrainingError(f"invalid --lr-multipliers {text!r}: write them like conv1=0.01,fc8=1") from None


def _changes(options: RecipeOptions | NetworkOptions) -> dict[str, Any]:
    """The fields that are not None, without those that `resolve` treats apart."""
    values = {known.name: getattr(options, known.name) for known in fields(options)}
    special = ("name", "epochs", "minutes", "batch_size", "augment") if isinstance(options, RecipeOptions) else ()
    return {name: value for name, value in values.items() if value is not None and name not in special}
