"""`make_images.py ROOT CLASS:COUNT ...`: write small noisy images, with another color for each class."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def make_class(root: Path, name: str, count: int) -> None:
    """Write `count` images to ROOT/NAME; the same ROOT/NAME gives the same images."""
    rng = np.random.default_rng(int(hashlib.sha256(f"{root}/{name}".encode()).hexdigest()[:8], 16))
    color = rng.integers(0, 255, 3)
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.clip(color + rng.normal(0, 40, (64, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def main(root: Path, specs: list[str]) -> None:
    for spec in specs:
        name, _, count = spec.rpartition(":")
        make_class(root, name, int(count))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
