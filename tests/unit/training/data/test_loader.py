"""Crops for the training steps: the part of a mean image that belongs to them, and groups of images that share one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from training.data.augment import Augmentation
from training.data.cache import ImageCache, build_cache
from training.data.folders import load_folder
from training.data.loader import CropLoader, micro_batches
from training.recipes import RECIPES, Boxes, Recipe

ORDER = np.random.default_rng(0).permutation(33)


@pytest.fixture(scope="module")
def cache(few: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    """33 images, with a mean image in which no two parts are alike."""
    mean = np.random.default_rng(1).uniform(0, 255, (256, 256, 3)).astype(np.float32)
    return build_cache(load_folder(few), tmp_path_factory.mktemp("cache")).with_mean(mean)


def epoch_crops(cache: ImageCache, recipe: Recipe, batch_size: int) -> Iterator[Tensor]:
    """The crops of each step of epoch 1."""
    loader = CropLoader(cache, torch.device("cpu"), torch.float32)
    work = [*micro_batches(ORDER, batch_size, 0, 0, 1, 0)]
    for _, crops in loader.train_crops(work, Augmentation.create(recipe, cache.covariance, 3), 1, batch_size):
        yield crops


def test_boxes_have_the_center_of_the_mean_image_subtracted(cache: ImageCache) -> None:
    """They are resized from parts of any size, so that no part of the mean image is theirs."""
    whole = Boxes(area=(1.0, 1.0), max_aspect=1.0, warped=0.0)
    recipe = replace(RECIPES["paper"], boxes=whole, mirror=False, pca_color_std=0.0)
    (crops,) = epoch_crops(cache, recipe, 33)
    for crop, pixels in zip(crops.permute(0, 2, 3, 1).numpy(), cache.images.read(ORDER), strict=True):
        resized = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(crop, np.asarray(resized) - cache.mean[16:240, 16:240], atol=1.01)


@pytest.mark.parametrize("boxes", [None, Boxes()])
def test_groups_of_an_epoch_are_the_same_whatever_the_size_of_a_step(cache: ImageCache, boxes: Boxes | None) -> None:
    """Each group has a crop of its own, also those in the same places of other steps."""
    recipe = replace(RECIPES["source"], crop_group_size=4, boxes=boxes)
    (at_once,) = epoch_crops(cache, recipe, 33)
    in_steps = [*epoch_crops(cache, recipe, 8)]
    assert len(in_steps) == 5
    torch.testing.assert_close(torch.cat(in_steps), at_once, rtol=0, atol=1e-3)
