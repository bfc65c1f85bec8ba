"""Section 4.1: crops at 33 x 33 offsets, mirrors, the color shift, and the mean that belongs to each pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.data.augment import Augmentation, hash_uniform, shuffle_rows
from training.data.crop_kernels import cut_crops, cut_crops_on_device, subtract_mean, subtract_mean_on_device
from training.recipes import RECIPES

PLAIN = replace(RECIPES["paper"], pca_color_std=0.0)
ROWS = np.array([2, 0])


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def mean() -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(100, 140, (256, 256, 3)).astype(np.float32)


def augmentation(recipe: object = PLAIN, rotate: bool = False, seed: int = 3) -> Augmentation:
    return Augmentation.create(recipe, 900 * np.eye(3), seed, rotate)  # type: ignore[arg-type]


def test_reproducible_and_different_each_epoch(images: NDArray[np.uint8], mean: NDArray[np.float32]) -> None:
    draw = augmentation(RECIPES["paper"]).draw
    first = subtract_mean(images, draw(1, ROWS, ROWS), mean)
    np.testing.assert_array_equal(first, subtract_mean(images, draw(1, ROWS, ROWS + 9), mean))
    np.testing.assert_array_equal(first[::-1], subtract_mean(images, draw(1, ROWS[::-1], ROWS), mean))
    assert not np.array_equal(first, subtract_mean(images, draw(2, ROWS, ROWS), mean))


def test_all_offsets_and_both_directions_occur_equally_often() -> None:
    rows = np.arange(33 * 33 * 40)
    start, down, right = augmentation().draw(0, rows, rows).strides.T
    assert set(down) == {256}
    start = np.where(right == 1, start, start - 223)
    counts = np.bincount(start // 256 * 33 + start % 256, minlength=33 * 33)
    assert len(counts) == 33 * 33
    assert counts.min() > 10
    assert 0.49 < (right == -1).mean() < 0.51


@pytest.mark.parametrize("rotate", [False, True])
def test_a_crop_is_what_numpy_cuts(images: NDArray[np.uint8], rotate: bool) -> None:
    seen = set()
    for epoch in range(40):
        upright = augmentation().draw(epoch, ROWS, ROWS)
        crops = augmentation(rotate=rotate).draw(epoch, ROWS, ROWS)
        for got, plain, row in zip(cut_crops(images, crops), upright.strides, ROWS, strict=True):
            top, left = divmod(int(plain[0]) - (223 if plain[2] == -1 else 0), 256)
            expected = images[row][top : top + 224, left : left + 224][:, :: int(plain[2])]
            rotation = next(n for n in range(4) if np.array_equal(np.rot90(expected, n), got))
            seen.add(rotation)
    assert seen == ({0, 1, 2, 3} if rotate else {0})


@pytest.mark.parametrize("rotate", [False, True])
def test_each_pixel_meets_its_own_mean(images: NDArray[np.uint8], mean: NDArray[np.float32], rotate: bool) -> None:
    crops = augmentation(rotate=rotate).draw(0, np.arange(4), np.arange(4))
    own = cut_crops((mean[None].repeat(4, 0)).astype(np.uint8), crops)
    expected = cut_crops(images, crops).astype(np.float32) - own
    np.testing.assert_allclose(subtract_mean(images, crops, np.trunc(mean)), expected)


def test_the_authors_mean_is_the_central_one(images: NDArray[np.uint8], mean: NDArray[np.float32]) -> None:
    recipe = replace(RECIPES["source"], pca_color_std=0.0)
    crops = augmentation(recipe).draw(0, ROWS, ROWS)
    expected = cut_crops(images, crops) - mean[16:240, 16:240]
    np.testing.assert_array_equal(subtract_mean(images, crops, mean), expected)


def test_the_authors_crops_are_shared_by_32() -> None:
    rows = np.random.default_rng(0).permutation(96)
    strides = augmentation(RECIPES["source"]).draw(0, rows, np.arange(96)).strides
    assert [len(np.unique(strides[start : start + 32], axis=0)) for start in (0, 32, 64)] == [1, 1, 1]
    assert len(np.unique(strides, axis=0)) == 3


def test_the_same_on_a_device_as_on_the_cpu(images: NDArray[np.uint8], mean: NDArray[np.float32]) -> None:
    for recipe in (RECIPES["paper"], RECIPES["source"]):
        crops = augmentation(recipe, rotate=True).draw(0, np.arange(4), np.arange(4))
        pixels = torch.from_numpy(cut_crops(images, crops))
        got = subtract_mean_on_device(pixels, crops, torch.from_numpy(mean).view(-1, 3)).numpy()
        np.testing.assert_array_equal(got, subtract_mean(images, crops, mean))
        np.testing.assert_array_equal(cut_crops_on_device(torch.from_numpy(images), crops), pixels)


def test_center_crop(images: NDArray[np.uint8], mean: NDArray[np.float32]) -> None:
    got = subtract_mean(images, augmentation().center(np.array([1])), mean)[0]
    np.testing.assert_array_equal(got, images[1, 16:240, 16:240] - mean[16:240, 16:240])


@pytest.mark.parametrize(("name", "power"), [("paper", 1), ("source", 0.5)])
def test_color_shift_has_its_spread(name: str, power: float) -> None:
    """The paper's eigenvalue of pixels in 0..1, or the authors' square root of it, scaled back to 0..255."""
    eigenvalues = np.array([100, 400, 255**2 * 0.2]) / 255**2
    draw = Augmentation.create(RECIPES[name], np.diag(eigenvalues * 255**2), 0).draw
    rows = np.arange(20_000)
    crops = draw(0, rows, rows)
    np.testing.assert_allclose(crops.color_shifts.std(0), 0.1 * eigenvalues**power * 255, rtol=0.03)
    np.testing.assert_allclose(crops.color_shifts.mean(0), 0, atol=0.2)
    assert crops.scale == pytest.approx(1.0 if name == "paper" else 1 / 1.1)


def test_the_color_shift_is_along_the_principal_components_of_the_pixels() -> None:
    """In nearly gray photographs, all three colors shift nearly alike."""
    covariance = np.full((3, 3), 2000.0) + np.diag([30.0, 20.0, 10.0])
    rows = np.arange(20_000)
    shifts = Augmentation.create(RECIPES["source"], covariance, 0).draw(0, rows, rows).color_shifts
    np.testing.assert_allclose(np.cov(shifts.T), 0.1**2 * covariance, rtol=0.05)


def test_the_authors_color_shift_ends() -> None:
    rows = np.arange(4)
    assert augmentation(RECIPES["source"]).draw(66, rows, rows).color_shifts.any()
    late = augmentation(RECIPES["source"]).draw(67, rows, rows)
    assert not late.color_shifts.any()
    assert late.scale == 1


def test_uniform_numbers_are_uniform_and_unrelated() -> None:
    numbers = hash_uniform((0, 1, 2), np.arange(100_000), 2)
    assert np.histogram(numbers, 20, (0, 1))[0].std() < 5 * 10_000**0.5 * 1.5
    assert abs(float(np.corrcoef(numbers.T).ravel()[1])) < 0.01
    assert abs(float(np.corrcoef(numbers[:-1, 0], numbers[1:, 0]).ravel()[1])) < 0.01
    assert not np.isin(numbers, hash_uniform((0, 2, 2), np.arange(100_000), 2)).any()


def test_the_order_of_an_epoch_is_not_related_to_others_of_the_seed() -> None:
    """Such as that of the split, which is drawn with the seed alone."""
    rows = np.arange(1000)
    orders = [shuffle_rows(rows, seed, epoch) for seed in (0, 5) for epoch in range(3)]
    orders += [np.random.default_rng(seed).permutation(rows) for seed in (0, 5)]
    for place, order in enumerate(orders):
        assert np.array_equal(np.sort(order), rows)
        for other in orders[:place]:
            assert abs(np.corrcoef(order, other)[0, 1]) < 0.15
