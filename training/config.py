"""Configuration of a training run: network, recipe, run and environment. Saved as config.json in the run's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from model.artifacts.bundled import DEFAULT_NETWORK
from model.artifacts.names import check_path_name
from model.datasets.names import is_utf8, name_of_data, show_path
from model.exceptions import TrainingError
from model.images.contract import ImageContract
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.network.registry import build_spec
from model.network.spec import ActivationFunction, InitScheme, NetworkConfig
from model.shell_command import option_name
from training.data.folders import read_info
from training.data.splits import SplitMethod
from training.recipes import STRICT, Recipe, get_recipe, with_augmentations

AUTO, FINE_TUNE = "auto", "fine-tune"
InitFrom = Literal["auto", "none"] | Path
"""Where a run's weights start; see `RunOptions`."""
TrainingDevice = Literal["auto", "cpu", "cuda"]
TrainingPrecision = Literal["auto", "float32", "bfloat16", "float64"]
DeviceCache = Literal["auto", "yes", "no"]
LENGTH_FIELDS = (
    "epochs",
    "minutes",
    "drop_by",
    "milestones",
    "color_end_epoch",
    "early_anneal_epoch",
    "early_freeze_epoch",
)
"""Fields of a recipe that change with the length of its run (`Recipe.with_epochs`, `Recipe.with_minutes`)."""
AUGMENTATION_FIELDS = ("boxes", "degradation", "jitter", "mixing")
EPOCH_FIELDS = (
    "schedule",
    "warmup",
    "learning_rate",
    "weight_decay",
    "patience",
    "pca_color_std",
    "mirror",
    "random_crop",
    "label_smoothing",
    *AUGMENTATION_FIELDS,
)
"""Fields of a recipe that an option can set and that matter only in a run with epochs."""


@dataclass(frozen=True, config=STRICT)
class RecipeOptions:
    """A recipe by name, and changes to it. A field that is None leaves the recipe's value; see `training.recipes`.

    `name`: `auto` is `fine-tune` for a run that starts from a network, else `small`. `augment`: names of augmentations
    (`training.recipes.with_augmentations`). `initialization` has no command-line option: only programs set it.
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
    initialization: InitScheme | None = None

    def resolve(self, is_fine_tuning: bool = False) -> Recipe:
        """The recipe with these changes. Raises TrainingError.

        `is_fine_tuning`: whether the run starts from a trained network.
        """
        numbers = {name: value for name, value in _changes(self).items() if isinstance(value, float)}
        for name, value in (numbers | {"minutes": self.minutes or 0.0}).items():
            if not math.isfinite(value):
                raise TrainingError(f"invalid {option_name(name)} {value}: it must be a finite number")
        if self.epochs is not None and self.minutes is not None:
            raise TrainingError("--epochs and --minutes can't be combined: choose one")
        default = FINE_TUNE if is_fine_tuning else "small"
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
    """Changes to the network of the recipe, or of the artifact to start from. None keeps a field's value.

    The fields are those of `model.network.spec.NetworkConfig`. `channels` has no command-line option: only programs set
    it.
    """

    name: str | None = None
    hidden: int | None = None
    dropout: float | None = None
    activation: ActivationFunction | None = None
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
    """A run's name, where its weights start, and everything else that can't change when it is resumed.

    `name`: name of the artifact; "" takes the name of the data. `seed`: for initialization, split, order, crops and
    dropout. `init_from`: an artifact whose layers are copied where they fit, or the name of a bundled one; `auto`: the
    bundled network for photographs if it is expected to be better
    (`training.loop.start_network.choose_initial_network`); `none`: random initial weights. `lr_multipliers`: learning
    rate multipliers by layer or group of layers (see `training.optim.layer_rates`). `frozen`: layers that are not
    trained. `fit_output`: fit a new output layer to the features of the copied layers before training
    (`training.evaluation.linear_probe`). `cache_format`: one of the RunOptions because JPEG changes the pixels.
    `drop_near_duplicates`: leave out training and validation images that look like held-out ones
    (`training.data.copies`). `split`: how the images are split (`training.data.splits`).
    `split_from`: an earlier run's folder, or its split table; images in it keep their split. `detail`,
    `color_profiles`: see `model.images.contract`; None takes the value of the network in `init_from`, or without one
    the recipe's detail, with color profiles converted.
    """

    name: str = ""
    seed: int = 0
    init_from: InitFrom = "auto"
    lr_multipliers: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    fit_output: bool = True
    cache_format: Literal["raw", "jpeg"] = "raw"
    drop_near_duplicates: bool = False
    split: SplitMethod = "own"
    split_from: Path | None = None
    detail: int | None = None
    color_profiles: bool | None = None

    @property
    def image_contract(self) -> ImageContract:
        """How images are decoded for this run."""
        return ImageContract(self.detail, self.color_profiles is not False)


@dataclass(frozen=True, config=STRICT)
class Environment:
    """Where and how a run computes. All of it but `find_rate` may change when a run is resumed.

    `data`, `archive`, `exclude`: see `training.data.loading`. `list_skipped`: a file that lists the skipped images.
    `max_pixels`: maximum pixels of an image (`model.images.limits`). `processes_per_network`: 1, or 2 with a tower in
    each. `micro_batch`: maximum number of images per forward pass in a process, 0 for no maximum; gradients are
    accumulated over the whole batch. `precision`: `bfloat16` is autocast; `auto` takes bfloat16 if the hardware
    supports it, else float32. `threads`: CPU threads per process; 0 chooses them by a short trial. `compile`: use
    torch.compile on a GPU. `device_cache`: whether the images are kept in the device's memory
    (`training.loop.device_cache.choose_rows`). `save_steps`: steps between checkpoints within an epoch, in addition to
    one every ten minutes; 0 for none. `keep_checkpoint`: keep the checkpoint when the run is finished. `publish`:
    publish the weights of the last epoch, or of the one with the lowest validation error. `find_rate`: choose the
    learning rate by a range test before the first epoch. `crops`: 1 measures the held-out images with the center crop,
    10 also with ten crops. `artifacts`, `runs` and `cache` are below `home` unless given.
    """

    data: str = "elpv"
    archive: Path | None = None
    exclude: tuple[str, ...] = ()
    list_skipped: Path | None = None
    max_pixels: int = DEFAULT_LIMITS.max_pixels
    processes_per_network: int = 1
    micro_batch: int = 0
    precision: TrainingPrecision = "auto"
    device: TrainingDevice = "auto"
    threads: int = 0
    compile: bool = False
    device_cache: DeviceCache = "auto"
    save_steps: int = 0
    keep_checkpoint: bool = False
    publish: Literal["last", "best"] = "last"
    find_rate: bool = False
    crops: Literal[1, 10] = 10
    home: Path = Path()
    artifacts: Path | None = None
    runs: Path | None = None
    cache: Path | None = None

    @property
    def limits(self) -> ImageLimits:
        """The limits of every image that is read."""
        return ImageLimits(max_pixels=self.max_pixels)

    @property
    def artifacts_folder(self) -> Path:
        return self.artifacts or self.home / "artifacts"

    @property
    def runs_folder(self) -> Path:
        return self.runs or self.home / "runs"

    @property
    def cache_folder(self) -> Path:
        return self.cache or self.home / "cache"


def _name_of_data(data: str) -> str:
    """The default name of a network trained on `data`; for a run's split, that run's dataset. Raises DatasetError."""
    info = read_info(Path(data)) if Path(data).is_file() else None
    return (name_of_data(data) if info is None else info.name).lstrip(".")


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """The whole configuration of a training run.

    `recipe_if_fine_tuning`: with `init_from` `auto`, the recipe that replaces `recipe` if the run turns out to start
    from the bundled network. None once the start is decided.
    """

    network: NetworkOptions
    recipe: Recipe
    run: RunOptions
    environment: Environment = field(default_factory=Environment)
    recipe_if_fine_tuning: Recipe | None = None

    @classmethod
    def create(
        cls,
        recipe_options: RecipeOptions | None = None,
        network_options: NetworkOptions | None = None,
        run: RunOptions | None = None,
        environment: Environment | None = None,
    ) -> TrainConfig:
        """The configuration of a new run from options. Raises TrainingError, NetworkConfigError."""
        environment, run = environment or Environment(), run or RunOptions()
        recipe_options, network_options = recipe_options or RecipeOptions(), network_options or NetworkOptions()
        if run.init_from == "auto" and recipe_options.name == FINE_TUNE:
            run = replace(run, init_from=Path(DEFAULT_NETWORK))
        if run.init_from == "auto" and (recipe_options.name != AUTO or network_options != NetworkOptions()):
            run = replace(run, init_from="none")  # a recipe or network other than the bundled one's was chosen
        if run.init_from == "auto" and recipe_options.epochs == 0:
            run = replace(run, init_from=Path(DEFAULT_NETWORK))
        recipe = recipe_options.resolve(is_fine_tuning=run.init_from not in ("auto", "none"))
        recipe_if_fine_tuning = recipe_options.resolve(is_fine_tuning=True) if run.init_from == "auto" else None
        run = replace(run, name=run.name or _name_of_data(environment.data))
        try:
            check_path_name(run.name)
        except ValueError as error:
            raise TrainingError(f"invalid --name {run.name!r}: {error}") from error
        for folder in (environment.runs_folder, environment.artifacts_folder):
            _check_utf8(folder)
        if run.init_from in ("auto", "none"):
            build_spec(network_options.apply(recipe.network))  # for its checks
            if not recipe.has_epochs:
                raise TrainingError("--epochs 0 needs a network to start from: choose one with --init-from")
        return cls(network_options, recipe, run, environment, recipe_if_fine_tuning)

    def check_combinations(self) -> None:
        """Raise TrainingError for an option that has no effect beside another one, in a run with epochs."""
        recipe = self.recipe
        if recipe.schedule != "plateau" and recipe.patience != get_recipe(recipe.name).patience:
            raise TrainingError(
                f"--patience has no effect with the {recipe.schedule} schedule: leave it out, or add --schedule plateau"
            )
        if recipe.boxes is not None and not recipe.random_crop:
            raise TrainingError(
                "--no-random-crop has no effect with boxes, which replace crops: use --augment without boxes"
            )

    def options_without_effect(self) -> list[str]:
        """The options that have no effect because the run has no epochs and only fits an output layer."""
        if self.recipe.has_epochs:
            return []
        named = get_recipe(self.recipe.name)
        plain = named.with_batch_size(self.recipe.batch_size)  # which changes the learning rate, too
        changed = ["batch_size"] if plain.batch_size != named.batch_size else []
        changed += [name for name in EPOCH_FIELDS if getattr(self.recipe, name) != getattr(plain, name)]
        changed = [f"no_{name}" if getattr(self.recipe, name) is False else name for name in changed]
        options = dict.fromkeys("augment" if name in AUGMENTATION_FIELDS else name for name in changed)
        run = [name for name in ("lr_multipliers", "frozen") if getattr(self.run, name)]
        return [*options, *run, *(["find_rate"] if self.environment.find_rate else [])]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainConfig:
        """Raises pydantic's ValidationError, JSON's ValueError, NetworkConfigError."""
        return TypeAdapter(cls).validate_python(json.loads(text))  # pydantic's parser rejects paths that aren't UTF-8

    def resume_fingerprint(self) -> dict[str, Any]:
        """Everything that may not change when a run is resumed, as plain JSON values, by section.

        The environment may change, and so may the length of the run with the fields that depend on it.
        """
        plain: dict[str, Any] = json.loads(self.to_json())
        del plain["environment"], plain["recipe_if_fine_tuning"]
        for name in LENGTH_FIELDS:
            del plain["recipe"][name]
        return plain


def parse_init_from(text: str) -> InitFrom:
    """Parse `--init-from`: "auto", "none", or a path (a folder, or the name of a bundled network)."""
    return "auto" if text == "auto" else "none" if text == "none" else Path(text)


def parse_lr_multipliers(text: str) -> dict[str, float]:
    """Multipliers by layer or group from "conv1=0.01,fc=1". Raises TrainingError."""
    try:
        pairs = [(layer, float(factor)) for layer, factor in (item.split("=") for item in text.split(","))]
    except ValueError:
        raise TrainingError(f"invalid --lr-multipliers {text!r}: write them like conv1=0.01,fc8=1") from None
    layers = [layer for layer, _ in pairs]
    if twice := [layer for layer in layers if layers.count(layer) > 1]:
        raise TrainingError(f"invalid --lr-multipliers {text!r}: {twice[0]} is given twice: remove one")
    return dict(pairs)


def _check_utf8(folder: Path) -> None:
    """Raise TrainingError for a folder that TensorBoard and onnxruntime can't use."""
    if not is_utf8(str(folder)):
        raise TrainingError(
            f"runs and artifacts can't be in {show_path(folder)}, which isn't UTF-8: choose another --home"
        )


def _changes(options: RecipeOptions | NetworkOptions) -> dict[str, Any]:
    """The fields that are not None, without those that `RecipeOptions.resolve` handles itself."""
    values = {known.name: getattr(options, known.name) for known in fields(options)}
    special = ("name", "epochs", "minutes", "batch_size", "augment") if isinstance(options, RecipeOptions) else ()
    return {name: value for name, value in values.items() if value is not None and name not in special}
