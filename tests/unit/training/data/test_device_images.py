"""Images on the device: for the same draws, their crops equal those that the CPU cuts from the cache bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import Augmentation
from training.data.cache import ImageCache, build_cache
from training.data.device_images import PIECE, DeviceImages
from training.data.folders import load_folder
from training.data.loader import CropLoader, micro_batches
from training.data.mixing import draw_mix
from training.recipes import RECIPES, Boxes, Mixing, Recipe

CPU = torch.device("cpu")
ORDER = np.random.default_rng(0).permutation(33)


@pytest.fixture(scope="module")
def cache(few: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    return build_cache(load_folder(few), tmp_path_factory.mktemp("cache"))


def loaders(cache: ImageCache, rows: NDArray[np.int64] = ORDER) -> tuple[CropLoader, CropLoader]:
    """A loader that reads the cache, and one that holds the images in `rows` on the device."""
    reading, holding = CropLoader(cache, CPU, torch.float32), CropLoader(cache, CPU, torch.float32)
    holding.device_images = DeviceImages.upload(cache.images, np.sort(rows), CPU)
    return reading, holding


def epoch_crops(loader: CropLoader, recipe: Recipe, mixing: Mixing | None = None) -> Iterator[Tensor]:
    """Crops of epoch 1, in passes of up to 10: two steps of 16 images and one of 1; also rotated."""
    augmentation = Augmentation.create(recipe, loader.cache.covariance, 3, rotate=True)
    work = list(
        micro_batches(
            ORDER, 16, 10, 0, 1, 0, lambda step, rows: None if mixing is None else draw_mix(mixing, 3, step, rows)
        )
    )
    for _, crops in loader.train_crops(work, augmentation, 1, 16):
        yield crops


@pytest.mark.parametrize(
    ("recipe", "mixing"),
    [
        (RECIPES["paper"], None),
        (RECIPES["paper"], Mixing(mixup=1.0)),
        (RECIPES["source"], None),
        (RECIPES["photos"], None),
        (RECIPES["photos"], Mixing(cutmix=1.0)),
        (replace(RECIPES["paper"], boxes=Boxes()), None),
    ],
    ids=["paper", "paper-mixup", "source", "photos", "photos-cutmix", "boxes"],
)
def test_crops_are_those_of_the_cpu(cache: ImageCache, recipe: Recipe, mixing: Mixing | None) -> None:
    reading, holding = loaders(cache)
    count = 0
    pairs = zip(epoch_crops(reading, recipe, mixing), epoch_crops(holding, recipe, mixing), strict=True)
    for expected, crops in pairs:
        assert crops.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(crops, expected)
        count += len(crops)
    assert count == 33


def test_the_images_on_the_device_are_what_is_seen(cache: ImageCache) -> None:
    """Crops don't come from the cache; otherwise the comparison above would prove nothing."""
    reading, holding = loaders(cache)
    assert holding.device_images is not None
    holding.device_images.pixels.fill_(7)
    for recipe in (RECIPES["paper"], RECIPES["photos"]):
        pairs = zip(epoch_crops(reading, recipe), epoch_crops(holding, recipe), strict=True)
        assert not any(torch.equal(expected, crops) for expected, crops in pairs)


def test_images_that_are_not_on_the_device_come_from_the_cache(cache: ImageCache) -> None:
    for recipe in (RECIPES["paper"], RECIPES["photos"]):
        reading, holding = loaders(cache, ORDER[:17])
        pairs = zip(epoch_crops(reading, recipe), epoch_crops(holding, recipe), strict=True)
        assert all(torch.equal(expected, crops) for expected, crops in pairs)


def test_the_ten_crops(cache: ImageCache) -> None:
    reading, holding = loaders(cache)
    augmentation = Augmentation.create(RECIPES["paper"], cache.covariance, 0)
    slices = [(np.repeat(ORDER[:3], 10), np.tile(np.arange(10), 3)), (ORDER[:1], np.array([4]))]
    for expected, crops in zip(reading.crops(slices, augmentation), holding.crops(slices, augmentation), strict=True):
        assert torch.equal(crops, expected)
    centers = [ORDER[:20], ORDER[20:]]
    for expected, crops in zip(
        reading.center_crops(centers, augmentation), holding.center_crops(centers, augmentation), strict=True
    ):
        assert torch.equal(crops, expected)


def test_from_jpeg_in_the_cache(few: Path, tmp_path: Path) -> None:
    images = build_cache(load_folder(few), tmp_path, "jpeg").images
    uploaded = DeviceImages.upload(images, np.arange(33), CPU)
    np.testing.assert_array_equal(uploaded.read(ORDER).numpy(), images.read(ORDER))


def test_a_stopped_upload_has_what_was_copied(
    cache: ImageCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PIECE > 33
    monkeypatch.setattr("training.data.device_images.PIECE", 10)
    whole = DeviceImages.upload(cache.images, np.arange(33), CPU)
    assert whole.has(ORDER)
    np.testing.assert_array_equal(whole.read(ORDER).numpy(), cache.images.read(ORDER))
    answers = iter([False, True])
    part = DeviceImages.upload(cache.images, np.arange(33), CPU, stopped=lambda: next(answers))
    assert part.has(np.arange(20))
    assert not part.has(np.arange(21))
    np.testing.assert_array_equal(part.read(np.array([19, 3])).numpy(), cache.images.read(np.array([19, 3])))
    assert capsys.readouterr().out == ""
