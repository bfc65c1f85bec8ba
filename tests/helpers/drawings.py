"""Images of three classes, drawn here: circles, checks and stripes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("circles", "checks", "stripes")


def draw(kind: str, generator: np.random.Generator, side: int = 300) -> NDArray[np.uint8]:
    """One (side, side + 40, 3) image of a class, with its own period, phase, color and noise."""
    period = generator.uniform(24, 40)
    phase = generator.uniform(0, period)
    y, x = np.mgrid[:side, : side + 40]
    wave = {
        "stripes": np.sin(2 * np.pi * (x + phase) / period),
        "checks": np.sin(2 * np.pi * (x + phase) / period) * np.sin(2 * np.pi * (y + phase) / period),
        "circles": np.sin(2 * np.pi * (np.hypot(x - side / 2, y - side / 2) + phase) / period),
    }[kind]
    color = generator.uniform(10, 40, 3)
    color[CLASSES.index(kind)] = generator.uniform(60, 110)
    noise = generator.normal(0, 12, (side, side + 40, 3))
    pixels: NDArray[np.uint8] = (128 + wave[..., None] * color + noise).clip(0, 255).astype(np.uint8)
    return pixels


def encode(pixels: NDArray[np.uint8], form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def draw_images(root: Path, count: int, seed: int) -> Path:
    """Draw `count` images of each class, one subfolder per class. Returns `root`."""
    generator = np.random.default_rng(seed)
    for kind in CLASSES:
        (root / kind).mkdir(parents=True)
        for number in range(count):
            (root / kind / f"{number:02d}.jpg").write_bytes(encode(draw(kind, generator)))
    return root
