"""`DeviceImages`: images of the cache in the training device's memory, where their crops are cut, too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from model.images.contract import IMAGE_SIZE
from model.thread_pool import ordered_map
from training.data.augment import Crops
from training.data.cache import batches
from training.data.crop_kernels import cut_crops_on_device
from training.data.storage import JpegImages, RawImages

SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)
PIECE = 256
"""Images that are copied at a time: 50 MB."""
THREADS, AHEAD = 4, 8


class DeviceImages:
    """Images of a cache on a device.

    `pixels` (M, 256, 256, 3) uint8. `places`: for each row of the cache, the index of its image in `pixels`, or -1.
    """

    def __init__(self, pixels: Tensor, places: NDArray[np.int64]) -> None:
        self.pixels, self.places = pixels, places

    @classmethod
    def upload(
        cls,
        images: RawImages | JpegImages,
        rows: NDArray[np.int64],
        device: torch.device,
        show: bool = True,
        stopped: Callable[[], bool] = lambda: False,
    ) -> DeviceImages:
        """Copy the images in `rows`, piece by piece; stop once `stopped` returns true.

        `show`: whether to show the progress. Raises torch.OutOfMemoryError, and the errors of reading an image.
        """
        uploaded = cls(torch.empty((len(rows), *SHAPE), dtype=torch.uint8, device=device), np.full(images.count, -1))
        pieces, done = list(batches(rows, PIECE)), 0
        title = f"copying images to {device}"
        with tqdm(total=len(rows), desc=title, unit="image", leave=False, disable=None if show else True) as bar:
            for piece, pixels in zip(pieces, ordered_map(images.read, pieces, THREADS, AHEAD), strict=True):
                uploaded.pixels[done : done + len(piece)] = torch.from_numpy(pixels)
                uploaded.places[piece] = np.arange(done, done + len(piece))
                done += len(piece)
                bar.update(len(piece))
                if stopped():
                    break
        return uploaded

    def has(self, rows: NDArray[np.int64]) -> bool:
        """Whether all these rows of the cache are here."""
        return bool((self.places[rows] >= 0).all())

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """(len(rows), 256, 256, 3) uint8, as from the cache."""
        return self.pixels[torch.from_numpy(self.places[rows]).to(self.pixels.device, non_blocking=True)]

    def cut(self, crops: Crops) -> Tensor:
        """(N, 224, 224, 3) uint8, as `training.data.crop_kernels.cut_crops`."""
        return cut_crops_on_device(self.pixels, crops._replace(rows=self.places[crops.rows]))
