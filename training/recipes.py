"""`Recipe`: how a network is trained, as plain values; and the recipes that have a name, `RECIPES`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from model.exceptions import TrainingError
from model.network.spec import InitScheme, NetworkConfig

STRICT = ConfigDict(extra="forbid")
NEVER = 1e9
"""An epoch that is never reached; JSON has no infinity."""
Range = tuple[float, float]


@dataclass(frozen=True, config=STRICT)
class Boxes:
    """Random boxes instead of the paper's crops: a part of the image of any size, enlarged or reduced to 224 x 224.

    `area`: share of the image's area, drawn uniformly. `max_aspect`: largest ratio of the sides. `warped`: share of the
    boxes that are also rotated, by an angle drawn from N(0, `rotation_std`) in radians, and sheared by up to `shear`.
    """

    area: Range = (0.2, 1.0)
    max_aspect: float = 1.4
    warped: float = 0.5
    rotation_std: float = 0.17
    shear: float = 0.15


@dataclass(frozen=True, config=STRICT)
class Degradation:
    """What takes the traces of its source out of an image: reduced, compressed, reduced further, compressed again.

    `stored_size`: pixels of the image's side after the first reduction, of every image. `stored`: share of the images
    that are then compressed twice as JPEG, with qualities in `stored_quality`. `size`: pixels that the side of the
    whole image would have after the second reduction, in which the crop is cut. `blurred`: share of the crops that are
    blurred by up to `max_blur` pixels. `compressed`: share that is then compressed, with a quality in
    `compressed_quality`. `white_balance_std`: of the logarithm of a factor for each channel.
    """

    stored: float = 0.9
    stored_size: Range = (56.0, 84.0)
    stored_quality: Range = (50.0, 92.0)
    size: Range = (22.0, 60.0)
    compressed: float = 0.5
    compressed_quality: Range = (30.0, 90.0)
    blurred: float = 0.6
    max_blur: float = 0.7
    white_balance_std: float = 0.06


@dataclass(frozen=True, config=STRICT)
class ColorJitter:
    """Brightness, contrast and saturation, each changed by up to `strength` in `share` of the crops; `gray`: share of
    the crops that lose their colors."""

    strength: float = 0.4
    share: float = 0.8
    gray: float = 0.05


@dataclass(frozen=True, config=STRICT)
class Mixing:
    """Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): each image of a batch is mixed with another one of it.

    `mixup`, `cutmix`: shares of the batches. `beta`: both parameters of mixup's beta distribution. `max_area`: largest
    share of the crop that cutmix's square covers. `until`: the share of the run after which nothing is mixed; the last
    epochs see images as they are.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    beta: float = 0.3
    max_area: float = 0.6
    until: float = 0.93


@dataclass(frozen=True, config=STRICT)
class Pruning:
    """Fully connected layers become sparse while they are trained (Zhu and Gupta 2018).

    `density`: the share of a layer's weights that stays, by layer. The smallest are set to zero from the share `start`
    of the run on, ever more until the share `end`.
    """

    density: Mapping[str, float]
    start: float = 0.40
    end: float = 0.75


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

    The run lasts `epochs`, or `minutes` where these aren't 0. `warmup`: share of the run in which the learning rate
    grows from almost nothing. `schedule`: `plateau` divides the learning rate by ten after `patience` epochs without a
    better validation error, at most `max_drops` times; then the run ends. At the shares of the run in `drop_by` it
    does so at the latest, so that a short run has its drops, too. `milestones` divides it at the epochs in
    `milestones`; from `color_end_epoch` on there is no color shift, from `early_anneal_epoch` on the layers with
    `anneals_early` (conv1) learn at a tenth, from `early_freeze_epoch` on not at all. These epochs are for a run of
    `epochs`, and scale with it (`with_epochs`); a run of `minutes` has none. `cosine` follows half a cosine down to a
    thousandth.

    `crop_group_size`: number of consecutive images that share crop (or box) and mirroring. `shuffle`: a new order each
    epoch. `mean`: subtract the mean `image`, or the mean of each `channel`. `detail`: of the image contract
    (`model.images.contract`); training images that are degraded keep theirs.

    `class_weights`: an image counts in inverse proportion to the size of its class. `label_smoothing`: the share of the
    target that all classes have alike. `competition`: the share of the images for which only the classes of the same
    source compete, so that telling sources apart doesn't pay.
    """

    name: str
    network: NetworkConfig = field(default_factory=NetworkConfig)
    initialization: InitScheme = "paper"
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
    mean: Literal["image", "channel"] = "image"
    detail: int | None = None
    epochs: int = 90
    minutes: float = 0.0
    warmup: float = 0.0
    schedule: Literal["plateau", "milestones", "cosine"] = "plateau"
    patience: int = 6
    max_drops: int = 3
    drop_by: tuple[float, ...] = ()
    milestones: tuple[float, ...] = ()
    color_end_epoch: float = NEVER
    early_anneal_epoch: float = NEVER
    early_freeze_epoch: float = NEVER
    class_weights: bool = False
    label_smoothing: float = 0.0
    competition: float = 0.0
    boxes: Boxes | None = None
    degradation: Degradation | None = None
    jitter: ColorJitter | None = None
    mixing: Mixing | None = None
    pruning: Pruning | None = None

    @property
    def has_epochs(self) -> bool:
        """Whether anything but an output layer is trained."""
        return bool(self.epochs or self.minutes)

    @property
    def has_fixed_epochs(self) -> bool:
        """Whether anything but the end of the run happens at a given epoch."""
        others = (self.color_end_epoch, self.early_anneal_epoch, self.early_freeze_epoch)
        return self.schedule == "milestones" or min(others) < self.epochs

    def with_batch_size(self, batch_size: int) -> Recipe:
        """Another batch size, with the learning rate in proportion (kept the error in Krizhevsky's runs, up to 256)."""
        return replace(self, batch_size=batch_size, learning_rate=self.learning_rate * batch_size / self.batch_size)

    def with_epochs(self, epochs: int) -> Recipe:
        """Another number of epochs. The schedule fits itself to it: epochs in proportion, drops not too late.

        At its own number a recipe stays as it is: there its `patience` is long enough.
        """
        if epochs == self.epochs and not self.minutes:
            return self
        whole = self._with_all_epochs()
        scale = epochs / max(whole.epochs, 1)
        return replace(
            self,
            epochs=epochs,
            minutes=0.0,
            drop_by=self._latest_drops(),
            milestones=tuple(scale * epoch for epoch in whole.milestones),
            color_end_epoch=scale * whole.color_end_epoch,
            early_anneal_epoch=scale * whole.early_anneal_epoch,
            early_freeze_epoch=scale * whole.early_freeze_epoch,
        )

    def with_minutes(self, minutes: float) -> Recipe:
        """A run that ends after `minutes` of training, to which the schedule fits itself. Raises TrainingError."""
        if self._with_all_epochs().has_fixed_epochs:
            raise TrainingError(
                f"--minutes can't be combined with the fixed epochs of recipe {self.name}: choose --epochs, or another "
                "--recipe"
            )
        return replace(
            self,
            minutes=minutes,
            drop_by=self._latest_drops(),
            color_end_epoch=NEVER,
            early_anneal_epoch=NEVER,
            early_freeze_epoch=NEVER,
        )

    def _with_all_epochs(self) -> Recipe:
        """The same, or the recipe of its name for a run without an epoch, which has no fixed ones left."""
        return self if self.epochs else RECIPES.get(self.name, self)

    def _latest_drops(self) -> tuple[float, ...]:
        """Shares of a run: two thirds, five sixths, eleven twelfths, ..., rounded down: an epoch may begin there."""
        if self.schedule != "plateau":
            return ()
        return tuple(math.floor(1000 * (1 - 0.5**number / 3)) / 1000 for number in range(self.max_drops))


AUGMENTATIONS = ("boxes", "degradation", "jitter", "mixup", "cutmix")
"""Augmentations that the paper doesn't have."""
MIXED = 0.3
"""Share of the batches for mixup, and for cutmix."""

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
    "fine-tune": Recipe(
        "fine-tune",  # its network is that of the artifact to start from
        initialization="he",
        batch_size=32,
        learning_rate=0.002,  # the bundled network's in proportion to the batch
        decay_biases=False,
        schedule="cosine",
        warmup=0.05,
        epochs=0,
    ),
    "photos": Recipe(
        "photos",
        batch_size=512,
        learning_rate=0.02,
        epochs=80,
        schedule="cosine",
        warmup=0.03,
        mean="channel",
        detail=48,
        competition=0.25,
        boxes=Boxes(),
        degradation=Degradation(),
        jitter=ColorJitter(),
        mixing=Mixing(mixup=MIXED, cutmix=MIXED),
        pruning=Pruning({"fc6": 0.10, "fc7": 0.12, "fc8": 0.5}),
    ),
}


def get_recipe(name: str) -> Recipe:
    """The recipe of this name. Raises TrainingError."""
    if name not in RECIPES:
        raise TrainingError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def with_augmentations(recipe: Recipe, names: str) -> Recipe:
    """`recipe` with the augmentations of "boxes,mixup" and no others of `AUGMENTATIONS`; "none": without any.

    Raises TrainingError.
    """
    augmentations = [] if names == "none" else names.split(",")
    if unknown := [name for name in augmentations if name not in AUGMENTATIONS]:
        known = ", ".join(AUGMENTATIONS)
        raise TrainingError(f"unknown augmentation {unknown[0]!r} in --augment: choose from {known}, or none")
    mixup, cutmix = (MIXED if name in augmentations else 0.0 for name in ("mixup", "cutmix"))
    return replace(
        recipe,
        boxes=Boxes() if "boxes" in augmentations else None,
        degradation=Degradation() if "degradation" in augmentations else None,
        jitter=ColorJitter() if "jitter" in augmentations else None,
        mixing=Mixing(mixup=mixup, cutmix=cutmix) if mixup or cutmix else None,
    )
