"""Training diagnostics: errors and warnings for divergence, a wrong mean, no progress, data stalls, large batches."""

from __future__ import annotations

from torch import Tensor

from model.artifacts.held_out import other_splits
from model.exceptions import TrainingError
from training.data.datasets import Dataset
from training.data.earlier_split import split_advice
from training.optim.initial_weights import InitialState
from training.recipes import RECIPES, Recipe

MAX_LOSS = 30.0
"""The highest loss of a run that hasn't diverged, as a multiple of the loss of guessing."""
MIN_STEPS_FOR_PROGRESS = 100
MAX_STALL_SHARE = 0.2
MAX_MEAN_PIXEL = 30.0
LARGE_BATCH = 1024


def check_loss(loss: float, chance: float, recipe: Recipe, where: str) -> None:
    """Raise TrainingError if the loss isn't finite, or far above that of guessing, `chance`."""
    if loss < MAX_LOSS * max(chance, 1.0):
        return
    usual = RECIPES[recipe.name].with_batch_size(recipe.batch_size).learning_rate
    smaller = usual if usual < recipe.learning_rate else recipe.learning_rate / 5
    raise TrainingError(
        f"training diverged: the loss is {loss:.3g} in {where}, and guessing would give {chance:.3g}: use a "
        f"smaller --learning-rate, such as {smaller:.2g}, or --warmup 0.05; --find-rate searches for a rate"
    )


def check_mean(pixels: Tensor) -> None:
    """Raise TrainingError if the first batch isn't centered: a mean image from other images stalls training."""
    means = pixels.float().mean((1, 2, 3))
    rest = float(means.mean())
    if len(means) >= 8 and abs(rest) > MAX_MEAN_PIXEL + 4 * float(means.std()) / len(means) ** 0.5:
        raise TrainingError(
            f"pixels have a mean of {rest:.0f} gray levels after subtracting the mean image, which isn't that of these "
            "images: delete the cache folder and start again"
        )


def no_progress_warning(loss: float, chance: float, epochs: int, steps: int, recipe: str) -> str | None:
    """A warning if the last of `epochs`, after `steps` in all, still has the loss of guessing, `chance`."""
    if epochs < 2 or steps < MIN_STEPS_FOR_PROGRESS or loss < 0.99 * chance:
        return None
    advice = "try another --seed or --learning-rate"
    if recipe not in ("small", "fine-tune"):
        advice = "with a few thousand images leave out --recipe, otherwise " + advice
    return (
        f"warning: after {steps:,} steps the loss ({loss:.3f}) is still no better than guessing without looking at the "
        f"images ({chance:.3f}): {advice}"
    )


def data_stall_warning(stall_seconds: float, seconds: float) -> str | None:
    """A warning if an epoch's steps waited for images for a large share of its time."""
    if seconds < 5 or stall_seconds < MAX_STALL_SHARE * seconds:
        return None
    return (
        f"warning: {100 * stall_seconds / seconds:.0f} % of the time was spent waiting for images: put --cache on a "
        "faster disk, or use --cache-format jpeg if it doesn't fit in memory"
    )


def large_batch_warning(batch_size: int) -> str | None:
    """A warning for a batch at which scaling the learning rate linearly no longer holds."""
    if batch_size < LARGE_BATCH:
        return None
    return (
        f"warning: the learning rate is scaled with the batch size, which is known to work up to about 256 images; "
        f"this batch has {batch_size:,}"
    )


def competition_warning(recipe: Recipe, num_sources: int) -> str | None:
    """A warning if the recipe lets images compete within their source, but there is only one source."""
    if not recipe.competition or num_sources > 1:
        return None
    return (
        f"warning: recipe {recipe.name} limits competition to the classes of an image's source, which has no effect "
        "unless several classes share a source (the same value in the table's column source, or the same subfolder)"
    )


def split_warning(initial: InitialState, dataset: Dataset) -> str | None:
    """A warning if the start network was trained on a split of the same dataset that this run neither has nor keeps."""
    others = other_splits(initial.splits, dataset.name, dataset.split_sha256(), dataset.kept_splits)
    if not others:
        return None
    return (
        f"warning: the --init-from network was trained on another split of {dataset.name}, so this run's test "
        f"images may be among its training images: {split_advice(initial.splits, dataset.name)}"
    )
