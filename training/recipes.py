"""`Recipe`: how a network is trained, as plain values; and the named recipes, `RECIPES`."""

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
    """Random boxes instead of the paper's crops: parts of the image of any size, resized to 224 x 224.

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
    """Hides an image's source: the image is reduced, compressed, reduced further and compressed again.

    `stored_size`: side in pixels after the first reduction, which every image gets. `stored`: share of the images that
    are then compressed twice as JPEG, with qualities in `stored_quality`. `size`: side in pixels that the whole image
    would have after the second reduction, in which the crop is cut. `blurred`: share of the crops that are blurred by
    up to `max_blur` pixels. `compressed`: share that is then compressed, with a quality in `compressed_quality`.
    `white_balance_std`: standard deviation of the logarithm of each channel's factor.
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
    """Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): each image is mixed with another one of its batch.

    `mixup`, `cutmix`: shares of the batches. `beta`: both parameters of mixup's beta distribution. `max_area`: largest
    share of the crop that cutmix's square covers. `until`: the share of the run after which nothing is mixed; the last
    epochs see unmixed images.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    beta: float = 0.3
    max_area: float = 0.6
    until: float = 0.93


@dataclass(frozen=True, config=STRICT)
class Pruning:
    """Fully connected layers become sparse during training (Zhu and Gupta 2018).

    `density`: layer -> the share of its weights that is kept. From the share `start` of the run to the share `end`,
    more and more of the smallest weights are set to zero.
    """

    density: Mapping[str, float]
    start: float = 0.40
    end: float = 0.75


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """How a network is trained. The defaults are those of sections 4 and 5 of the paper.

    `batch_size`: images per step, over all processes. `bias_lr_multiplier`: the biases' learning rate relative to the
    weights'; `bias_lr_drops`: whether it drops with theirs. `decay_biases`: weight decay for biases, too; the paper's
    rule makes no exception for them.

    `pca_color_std`: standard deviation of the PCA color shift (0: none). `pca_color_scale`: what the random shift is
    multiplied by: `eigenvalue`, that of the covariance of pixels in 0..1 (read this way, the paper's formula shifts by
    a few gray levels), or `standard_deviation`, its square root, with the whole image then divided by 1 +
    `pca_color_std` (as in the authors' program).

    The run lasts `epochs`, or `minutes` if these aren't 0. `warmup`: share of the run in which the learning rate rises
    from almost 0. `schedule`: `plateau` divides the learning rate by ten after `patience` epochs without a better
    validation error, at most `max_drops` times; then the run ends. Each drop comes at its share of the run in `drop_by`
    at the latest, so that a short run has its drops, too. `milestones` divides it by ten at the epochs in `milestones`;
    `cosine` follows half a cosine down to a thousandth. From `color_end_epoch` on there is no color shift; the layers
    with `anneals_early` (conv1) learn at a tenth of the rate from `early_anneal_epoch` on, and not at all from
    `early_freeze_epoch` on. These fixed epochs scale with `epochs` (`with_epochs`); a run of `minutes` has none.

    `crop_group_size`: number of consecutive images that share crop (or box) and mirroring. `shuffle`: a new order each
    epoch. `mean`: subtract the mean `image`, or the mean of each `channel`. `detail`: that of the image contract
    (`model.images.contract`); training images that are degraded keep full detail.

    `class_weights`: an image counts in inverse proportion to the size of its class. `label_smoothing`: the share of the
    target that is spread evenly over the classes. `competition`: the share of the images for which only the classes of
    the same source compete, so that telling sources apart doesn't pay.
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
        """The same with another batch size and a learning rate in proportion (held up to 256 in Krizhevsky's runs)."""
        return replace(self, batch_size=batch_size, learning_rate=self.learning_rate * batch_size / self.batch_size)

    def with_epochs(self, epochs: int) -> Recipe:
        """The same for another number of epochs: fixed epochs scale with it, and drops don't come too late.

        With its own number of epochs a recipe is unchanged: its `patience` fits that length.
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
        """The same for a run that ends after `minutes` of training, its schedule adapted. Raises TrainingError."""
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
        """This recipe; if it has 0 epochs, which leaves no fixed ones, the original of its name."""
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
        # gives pixels about unit variance; a power of two, so that folding it into conv1 is exact
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
        "fine-tune",  # its network comes from the artifact to start from
        initialization="he",
        batch_size=32,
        learning_rate=0.002,  # of the order of the bundled network's 0.02, scaled to the batch (0.00125)
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
    """`recipe` with exactly the `AUGMENTATIONS` listed in `names`, such as "boxes,mixup"; "none": without any.

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
