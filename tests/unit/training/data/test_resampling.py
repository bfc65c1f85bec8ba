"""Reducing and enlarging in tensors, against Pillow and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from training.data.resampling import blur, resample, resampling_matrix, warp

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float()


def same(*values: float) -> list[Tensor]:
    """Each value, repeated for all three images."""
    return [torch.full((3,), value) for value in values]


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 64, 64), (17, 17)),
        ((10.25, 20.5, 33.5, 40), (9, 30)),
        ((5, 6, 20, 30), (90, 96)),
        ((0, 0, 64, 64), (64, 64)),
    ],
)
def test_as_pillow_resizes(box: tuple[float, float, float, float], size: tuple[int, int]) -> None:
    left, top, width, height = same(*box)
    across, down, whole = same(*size, 64)
    vertical = resampling_matrix(top, height, down, whole, 96, 64)
    horizontal = resampling_matrix(left, width, across, whole, 96, 64)
    got = resample(PIXELS, vertical, horizontal).permute(0, 2, 3, 1).numpy()
    x, y, w, h = box
    for image, result in zip(IMAGES, got, strict=True):
        expected = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=(x, y, x + w, y + h))
        np.testing.assert_allclose(result[: size[1], : size[0]], np.asarray(expected), atol=1.01)  # Pillow rounds twice
        np.testing.assert_array_equal(result[size[1] :], np.broadcast_to(result[size[1] - 1], result[size[1] :].shape))


def test_what_is_beside_a_smaller_image_has_no_influence() -> None:
    start, length, count = same(0, 40, 20)
    matrix = resampling_matrix(start, length, count, length, 32, 64)
    assert not matrix[:, :, 40:].any()
    assert torch.allclose(matrix.sum(2), torch.ones(3, 32))


def test_a_blur_is_a_gaussian() -> None:
    sigma = torch.tensor([0.0, 0.5, 1.2])
    point = torch.zeros(3, 3, 21, 21)
    point[:, :, 10, 10] = 100
    got = blur(point, sigma)
    torch.testing.assert_close(got[0], point[0])
    distance = np.arange(21) - 10
    for image, width in zip(got[1:], sigma[1:], strict=True):
        kernel = np.exp(-0.5 * (distance / float(width)) ** 2)
        expected = 100 * np.outer(kernel, kernel) / kernel.sum() ** 2
        np.testing.assert_allclose(image[1], expected, atol=0.1)
    constant = torch.full((3, 3, 9, 9), 7.0)
    torch.testing.assert_close(blur(constant, sigma), constant)  # up to the edges


def test_a_warp_turns_about_the_center() -> None:
    size = torch.full((3,), 64.0)
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).repeat(3, 1, 1)
    torch.testing.assert_close(warp(PIXELS, size, size, torch.eye(2).repeat(3, 1, 1), 64), PIXELS, atol=0.01, rtol=0)
    torch.testing.assert_close(warp(PIXELS, size, size, quarter, 64), torch.rot90(PIXELS, 1, (2, 3)), atol=0.01, rtol=0)


def test_a_warp_is_pillow_s_rotation() -> None:
    smooth = [Image.fromarray(image).filter(ImageFilter.GaussianBlur(3)) for image in IMAGES]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in smooth])).permute(0, 3, 1, 2).float()
    angle, size = 0.2, torch.full((3,), 64.0)
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).repeat(3, 1, 1)
    got = warp(pixels, size, size, matrix, 64).permute(0, 2, 3, 1).numpy()
    for image, result in zip(smooth, got, strict=True):
        expected = np.asarray(image.rotate(math.degrees(angle), Image.Resampling.BILINEAR), np.float32)
        np.testing.assert_allclose(result[16:48, 16:48], expected[16:48, 16:48], atol=1.5)
