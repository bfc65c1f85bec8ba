"""Read the photographs of the demo's gallery, which is in the repository, for benchmarks that need real images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alexnet.demo import GALLERY
from model.images.contract import ImageContract
from model.images.preprocess import decode_image


def read_gallery_files(count: int) -> list[bytes]:
    """The first `count` image files of the gallery, in the order of their names."""
    return [path.read_bytes() for path in sorted((GALLERY / "images").iterdir())[:count]]


def decode_gallery(count: int, contract: ImageContract) -> NDArray[np.uint8]:
    """The same images, decoded for a network: (count, 256, 256, 3)."""
    return np.stack([decode_image(file, contract=contract).pixels for file in read_gallery_files(count)])
