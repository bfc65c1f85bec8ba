"""Transforms: how boxes, degradation and color jitter are drawn, and that Pillow would make the same image."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from training.data.augment import Augmentation
from training.data.rendering import recolor, render
from training.data.transforms import Degraded, Jittered, Transforms, draw_transforms, has_transforms
from training.recipes import RECIPES, Boxes, ColorJitter, Degradation, Recipe

RECIPE = RECIPES["photos"]
ROWS = np.arange(2000)
NO_MEAN = np.zeros((224, 224, 3), np.float32)
NO_SHIFT = np.zeros((1, 3), np.float32)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """256 x 256 pixels of soft colors."""
    small = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC))


def draw(recipe: Recipe = RECIPE, rows: NDArray[np.int64] = ROWS, epoch: int = 0, rotate: bool = False) -> Transforms:
    return draw_transforms(Augmentation.create(recipe, 900 * np.eye(3), 3, rotate), epoch, rows, rows)


def plain(**changes: Any) -> Recipe:
    """`RECIPE` without changes to images, other than `changes`."""
    return replace(
        RECIPE, **{"mirror": False, "pca_color_std": 0.0, "boxes": None, "degradation": None, "jitter": None} | changes
    )


def rendered(
    transforms: Transforms, image: NDArray[np.uint8], mean: NDArray[np.float32] = NO_MEAN
) -> NDArray[np.float32]:
    """(N, 224, 224, 3)."""
    images = torch.from_numpy(np.tile(image, (len(transforms.rows), 1, 1, 1)))
    result: NDArray[np.float32] = render(images, transforms, torch.from_numpy(mean)).permute(0, 2, 3, 1).numpy()
    return result


def test_reproducible_wherever_an_image_comes_up(image: NDArray[np.uint8]) -> None:
    both = draw(rows=np.array([7, 3]), rotate=True)
    again = draw(rows=np.array([3, 7, 5]), rotate=True)
    np.testing.assert_array_equal(both.boxes, again.boxes[[1, 0]])
    np.testing.assert_array_equal(both.warps, again.warps[[1, 0]])
    pixels = rendered(both, image)
    np.testing.assert_allclose(pixels, rendered(again, image)[[1, 0]], atol=0.01)
    assert not np.allclose(pixels, rendered(draw(rows=np.array([7, 3]), epoch=1, rotate=True), image), atol=5)


def test_boxes_have_their_areas_and_lie_inside() -> None:
    left, top, width, height = draw().boxes.T
    area, aspect = width * height / 256**2, width / height
    assert left.min() >= 0
    assert top.min() >= 0
    assert max((left + width).max(), (top + height).max()) <= 256.001
    assert 0.2 <= area.min() < 0.22
    assert area.max() <= 1
    assert 0.5 < area.mean() < 0.62
    assert 1 / 1.41 < aspect.min() < 0.75
    assert 1.3 < aspect.max() < 1.41


def test_degradation_has_its_ranges() -> None:
    degraded, recipe = draw().degraded, Degradation()
    assert degraded is not None
    for values, (low, high) in (
        (degraded.stored_size, recipe.stored_size), (degraded.size, recipe.size),
        (degraded.first, recipe.stored_quality), (degraded.second, recipe.stored_quality),
        (degraded.third, recipe.compressed_quality),
    ):  # fmt: skip
        assert (values.min(), values.max()) == (low, high)
    assert abs(degraded.stored.mean() - 0.9) < 0.03
    assert abs(degraded.compressed.mean() - 0.5) < 0.04
    assert abs(np.log(degraded.white_balance).std() - 0.06) < 0.005
    sigma = degraded.sigma[degraded.sigma != 0]
    assert abs(len(sigma) / len(ROWS) - 0.6) < 0.03
    assert 0 < sigma.min() < 0.01
    assert 0.69 < sigma.max() < 0.7
    assert abs(sigma.mean() - 0.35) < 0.02


def test_half_of_the_images_are_mirrored() -> None:
    assert abs(draw().mirrored.mean() - 0.5) < 0.03
    assert not draw(plain(boxes=Boxes())).mirrored.any()


def test_jitter_has_its_shares_and_range() -> None:
    jittered = draw().jittered
    assert jittered is not None
    gray = jittered.saturation == -1
    assert abs(gray.mean() - 0.05) < 0.015
    for changes in (jittered.brightness, jittered.contrast, jittered.saturation[~gray]):
        changed = changes[changes != 0]
        assert abs(len(changed) / len(changes) - 0.8) < 0.03
        assert -0.4 <= changed.min() < -0.39
        assert 0.39 < changed.max() <= 0.4
        assert abs(changed.mean()) < 0.02


def test_warps_are_rotations_and_shears() -> None:
    both = draw()
    assert abs(both.warped.mean() - 0.5) < 0.03
    np.testing.assert_array_equal(both.warps[~both.warped], np.tile(np.eye(2), ((~both.warped).sum(), 1, 1)))
    rotations = draw(plain(boxes=Boxes(warped=1.0, shear=0.0))).warps
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(2), (2000, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    angles = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert abs(angles.mean()) < 0.015
    assert abs(angles.std() - 0.17) < 0.01
    shears = draw(plain(boxes=Boxes(warped=1.0, rotation_std=0.0))).warps
    np.testing.assert_array_equal(shears[:, [0, 1], [0, 1]], 1)
    for values in (shears[:, 0, 1], shears[:, 1, 0]):
        assert -0.15 <= values.min() < -0.145
        assert 0.145 < values.max() <= 0.15


def test_a_degraded_image_is_what_pillow_makes_of_it(image: NDArray[np.uint8]) -> None:
    always = Degradation(stored=1.0, compressed=1.0, blurred=0.0, white_balance_std=0.0, size=(40.0, 60.0))
    transforms = draw(plain(degradation=always, boxes=Boxes(warped=0.0)), np.arange(6))
    for (x, y, across, down), got, expected in zip(
        transforms.boxes, rendered(transforms, image), degraded_by_pillow(transforms, image), strict=True
    ):
        undegraded = Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR, (x, y, x + across, y + down))
        loss = np.abs(expected - np.asarray(undegraded, np.float32)).mean()
        assert np.abs(got - expected).mean() < 0.3 * loss  # each of three compressions rounds differently


@pytest.mark.parametrize(("stored", "compressed"), [(0.0, 1.0), (1.0, 0.0)])
def test_no_degradation_is_missing_or_added(image: NDArray[np.uint8], stored: float, compressed: float) -> None:
    """Compression of the stored image or of the box, blur, and no box with more pixels than are stored of it."""
    small = Degradation(
        stored=stored, compressed=compressed, blurred=1.0, max_blur=1.3, white_balance_std=0.0,
        stored_size=(32.0, 44.0), size=(50.0, 60.0), stored_quality=(85.0, 92.0), compressed_quality=(85.0, 92.0),
    )  # fmt: skip
    transforms = draw(plain(degradation=small, boxes=Boxes(warped=0.0)), np.arange(6))
    degraded, got = transforms.degraded, rendered(transforms, image)
    assert degraded is not None

    def distance(degraded: Degraded) -> float:
        return float(np.abs(got - degraded_by_pillow(transforms._replace(degraded=degraded), image)).mean())

    for other in (
        degraded._replace(stored=~degraded.stored), degraded._replace(compressed=~degraded.compressed),
        degraded._replace(sigma=np.zeros(6)), degraded._replace(stored_size=degraded.size),
    ):  # fmt: skip
        assert distance(degraded) < 0.6 * distance(other)  # each compression rounds differently


def degraded_by_pillow(transforms: Transforms, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 224, 224, 3): copies of the image, degraded; their colors aren't changed."""
    degraded, results = transforms.degraded, []
    assert degraded is not None
    for number, edges in enumerate(transforms.boxes):
        stored = int(degraded.stored_size[number])
        size = min(int(degraded.size[number]), stored)
        first, second, third = (int(quality[number]) for quality in degraded[2:5])
        reduced = Image.fromarray(image).resize((stored, stored), Image.Resampling.BILINEAR)
        if degraded.stored[number]:
            reduced = compressed(compressed(reduced, first), second)
        left, top, width, height = edges * stored / 256
        sides = round(width * size / stored), round(height * size / stored)
        box = reduced.resize(sides, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
        box = Image.fromarray(blurred(np.asarray(box), degraded.sigma[number]))
        if degraded.compressed[number]:
            box = compressed(box, third)
        results.append(np.asarray(box.resize((224, 224), Image.Resampling.BILINEAR), np.float32))
    return np.stack(results)


def blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """(H, W, 3) pixels under a Gaussian; edges are repeated."""
    if not sigma:
        return pixels
    distance = np.arange(-8, 9)
    kernel = np.exp(-0.5 * (distance / sigma) ** 2)
    padded = np.pad(pixels.astype(np.float64), ((8, 8), (8, 8), (0, 0)), mode="edge")
    for axis in (0, 1):
        padded = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
    return padded.round().astype(np.uint8)


def test_white_balance_and_color_shift_are_clipped_before_the_mean_is_subtracted(image: NDArray[np.uint8]) -> None:
    """Where the image keeps all its pixels, the rest is simple arithmetic."""
    none = Degradation(
        stored=0.0, compressed=0.0, blurred=0.0, stored_size=(256.0, 256.0), size=(256.0, 256.0), white_balance_std=0.3
    )
    transforms = draw(plain(degradation=none, pca_color_std=1.0), np.arange(4))
    mean = np.random.default_rng(1).uniform(0, 255, (224, 224, 3)).astype(np.float32)
    assert transforms.degraded is not None
    assert transforms.color_shifts.any()
    factors, shifts = transforms.degraded.white_balance[:, None, None], transforms.color_shifts[:, None, None]
    corners = transforms.boxes[:, :2].astype(int)
    crops = np.stack([image[top : top + 224, left : left + 224] for left, top in corners])
    colors = crops * factors + shifts
    assert colors.min() < -5
    assert colors.max() > 260
    np.testing.assert_allclose(rendered(transforms, image, mean), colors.clip(0, 255) - mean, atol=1e-3)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return Image.open(buffer)


def test_without_boxes_it_is_the_paper_s_crop(image: NDArray[np.uint8]) -> None:
    recipe = replace(plain(), jitter=RECIPE.jitter and replace(RECIPE.jitter, share=0.0, gray=0.0))
    transforms = draw(recipe, np.arange(3))
    for (left, top, width, height), got in zip(transforms.boxes.astype(int), rendered(transforms, image), strict=True):
        assert (width, height) == (224, 224)
        np.testing.assert_allclose(got, image[top : top + 224, left : left + 224], atol=1e-3)


def test_mirrored_and_rotated(image: NDArray[np.uint8]) -> None:
    recipe = replace(plain(), boxes=Boxes(area=(1.0, 1.0), max_aspect=1.0, warped=0.0), mirror=True)
    transforms = draw(recipe, np.arange(12), rotate=True)
    assert set(transforms.rotations) == {0, 1, 2, 3}
    assert set(transforms.mirrored) == {True, False}
    whole = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    for mirrored, turns, got in zip(
        transforms.mirrored, transforms.rotations, rendered(transforms, image), strict=True
    ):
        expected = np.rot90(whole[:, ::-1] if mirrored else whole, turns)
        np.testing.assert_allclose(got, expected, atol=1.01)


def test_a_warped_image_is_its_plain_one_nearby(image: NDArray[np.uint8]) -> None:
    transforms = draw(replace(plain(), boxes=Boxes(warped=1.0), mirror=True), np.arange(8))
    upright = transforms._replace(warped=np.zeros(8, bool))
    got, expected = rendered(transforms, image), rendered(upright, image)
    middle = np.s_[:, 104:120, 104:120]
    assert np.abs(got[middle] - expected[middle]).mean() < 12  # the center stays, even if mirrored
    assert np.abs(got - expected).mean() > np.abs(got[middle] - expected[middle]).mean()


def test_jitter_is_pillow_s(image: NDArray[np.uint8]) -> None:
    soft = (image // 3 + 80).astype(np.uint8)  # so that nothing is clipped
    pixels = torch.from_numpy(soft).permute(2, 0, 1)[None].float()
    zero = np.zeros(1)
    for place, enhance in ((0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)):
        for change in (-0.3, 0.3, -1.0):
            changes = [zero, zero, zero]
            changes[place] = np.array([change])
            got = recolor(pixels, None, Jittered(*changes), NO_SHIFT)[0].permute(1, 2, 0).numpy()
            expected = np.asarray(enhance(Image.fromarray(soft)).enhance(1 + change), np.float32)
            assert np.abs(got - expected).mean() < 1


def test_all_changes_of_color_one_after_the_other(image: NDArray[np.uint8]) -> None:
    """One matrix does what the changes do step by step."""
    generator = np.random.default_rng(4)
    pixels = torch.from_numpy(np.stack([image, image[::-1] // 2])).permute(0, 3, 1, 2).double()
    jittered = Jittered(*generator.uniform(-0.4, 0.4, (3, 2)))
    white_balance, shifts = generator.uniform(0.9, 1.1, (2, 3)), generator.normal(0, 5, (2, 3)).astype(np.float32)
    got = recolor(pixels.float(), white_balance, jittered, shifts)

    def each(values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float64)).view(2, -1, 1, 1)

    def gray(pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)

    brightness, contrast, saturation = (each(values) for values in jittered)
    expected = pixels * each(white_balance) * (1 + brightness)
    mean = gray(expected).mean((2, 3), keepdim=True)
    expected = mean + (expected - mean) * (1 + contrast)
    expected = gray(expected) + (expected - gray(expected)) * (1 + saturation) + each(shifts)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-3)


def test_the_authors_colors_with_jitter(image: NDArray[np.uint8]) -> None:
    """As with crops, color shifts are followed by a factor and end before the run does."""
    recipe = replace(RECIPES["source"], jitter=ColorJitter(share=0, gray=0))
    augmentation = Augmentation.create(recipe, np.eye(3) * 2000, 3)
    rows = ROWS[:8]
    drawn, cut = draw_transforms(augmentation, 66, rows, rows), augmentation.draw(66, rows, rows)
    assert drawn.scale == cut.scale == pytest.approx(1 / 1.1)
    np.testing.assert_array_equal(drawn.color_shifts, cut.color_shifts)
    np.testing.assert_allclose(rendered(drawn, image), rendered(drawn._replace(scale=1.0), image) / 1.1, rtol=1e-5)
    late = draw_transforms(augmentation, 67, rows, rows)
    assert late.scale == 1
    assert not late.color_shifts.any()


@pytest.mark.parametrize("boxes", [None, Boxes()])
def test_the_authors_groups_share_crop_and_mirroring_with_other_augmentations(boxes: Boxes | None) -> None:
    recipe = replace(RECIPES["source"], boxes=boxes, jitter=ColorJitter(share=1))
    rows, positions = ROWS[:96], np.random.default_rng(0).permutation(96)
    drawn = draw_transforms(Augmentation.create(recipe, np.eye(3), 3), 1, rows, positions)
    groups = [positions // 32 == number for number in range(3)]
    for values in (drawn.boxes, drawn.mirrored):
        assert all(len(np.unique(values[group], axis=0)) == 1 for group in groups)
    assert len({tuple(drawn.boxes[group][0]) for group in groups}) == 3
    assert drawn.jittered is not None
    assert len(np.unique(drawn.jittered.brightness)) == 96


def test_the_paper_s_recipes_have_no_transforms() -> None:
    assert [name for name, recipe in RECIPES.items() if has_transforms(recipe)] == ["photos"]
