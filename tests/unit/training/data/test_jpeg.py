"""JPEG in tensors, against Pillow: the same pixels but for rounding."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from training.data.jpeg import compress


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """4 images of 96 x 96: edges, ramps and noise in all colors."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(image).resize((96, 96), Image.Resampling.BICUBIC)) for image in small]
    noise = generator.normal(0, 6, (4, 96, 96, 3))
    return (np.stack(smooth) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [20, 50, 75, 92])
def test_as_pillow_compresses(images: NDArray[np.uint8], quality: int) -> None:
    expected = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=2)
        expected.append(np.asarray(Image.open(buffer)))
    reference = np.stack(expected).astype(np.float32)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    got = compress(pixels, torch.full((4,), float(quality))).permute(0, 2, 3, 1).numpy()
    difference, loss = np.abs(got - reference), np.abs(images - reference).mean()
    assert difference.mean() < 0.2 * loss
    assert difference.mean() < 1


def test_an_image_in_the_corner_of_a_canvas(images: NDArray[np.uint8]) -> None:
    """Its last row and column are repeated, as a JPEG library does."""
    image = images[0, :61, :75]
    canvas = np.pad(image, ((0, 3), (0, 5), (0, 0)), mode="edge")
    got = compress(torch.from_numpy(canvas).permute(2, 0, 1)[None].float(), torch.tensor([60.0]))[0, :, :61, :75]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60, subsampling=2)
    difference = np.abs(got.permute(1, 2, 0).numpy() - np.asarray(Image.open(buffer), np.float32))
    assert difference.mean() < 1


def test_each_image_has_its_quality(images: NDArray[np.uint8]) -> None:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    qualities = torch.tensor([10.0, 40.0, 70.0, 100.0])
    together = compress(pixels, qualities)
    for number, quality in enumerate(qualities):
        torch.testing.assert_close(together[number : number + 1], compress(pixels[number : number + 1], quality[None]))
    losses = (together - pixels).abs().mean((1, 2, 3))
    assert (losses.diff() < 0).all()
