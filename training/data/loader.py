"""`CropLoader`: crops for the training steps, cut in threads while the step before runs; stall time is counted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.images.crops import CROP_SIZE
from model.thread_pool import ordered_map
from training.data.augment import Augmentation, Crops
from training.data.cache import ImageCache
from training.data.crop_kernels import cut_crops, subtract_mean, subtract_mean_on_device
from training.data.storage import RawImages

SHAPE = (CROP_SIZE, CROP_SIZE, 3)


class MicroBatch(NamedTuple):
    """Images of one forward and backward pass. `positions`: where they stand in the step's batch.

    `is_last`: of its step. `weight` is 0 for an image that only keeps a process busy whose share of an epoch's last
    batch is empty.
    """

    step: int
    is_last: bool
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    weight: float


def micro_batches(
    order: NDArray[np.int64], batch_size: int, micro_batch: int, replica: int, num_replicas: int, first_step: int
) -> Iterator[MicroBatch]:
    """One replica's share of an epoch's order from `first_step` on: every `num_replicas`-th image of each batch.

    `micro_batch`: maximum number of images per pass (0: the whole share).
    """
    for step in range(first_step, -(-len(order) // batch_size)):
        rows = order[step * batch_size : (step + 1) * batch_size]
        positions, weight = np.arange(replica, len(rows), num_replicas), 1.0
        if not len(positions):
            positions, weight = np.zeros(1, np.int64), 0.0
        size = micro_batch or len(positions)
        slices = [positions[start : start + size] for start in range(0, len(positions), size)]
        for number, slice_ in enumerate(slices, 1):
            yield MicroBatch(step, number == len(slices), rows[slice_], slice_, weight)


class CropLoader:
    """Cuts crops of a cache for a device. `stall_seconds`: how long its caller has waited for crops."""

    def __init__(self, cache: ImageCache, device: torch.device, dtype: torch.dtype) -> None:
        self.cache, self.device, self.dtype = cache, device, dtype
        self.stall_seconds = 0.0
        on_cpu = device.type == "cpu"
        self.mean = None if on_cpu else torch.from_numpy(cache.mean).reshape(-1, 3).to(device)
        self.threads, self.ahead = (1, 2) if on_cpu else (4, 8)
        self._events: deque[torch.cuda.Event] = deque()

    def train_crops(
        self, work: Sequence[MicroBatch], augmentation: Augmentation, epoch: int, batch_size: int
    ) -> Iterator[tuple[MicroBatch, Tensor]]:
        """Micro-batches and their augmented pixels, (N, 3, 224, 224) channels-last."""
        draws = [partial(augmentation.draw, epoch, m.rows, m.step * batch_size + m.positions) for m in work]
        yield from zip(work, self._load(draws), strict=True)

    def center_crops(self, slices: Sequence[NDArray[np.int64]], augmentation: Augmentation) -> Iterator[Tensor]:
        """The center crops of the images in each of `slices`, (N, 3, 224, 224) channels-last."""
        yield from self._load([partial(augmentation.center, rows) for rows in slices])

    def _load(self, draws: Sequence[Callable[[], Crops]]) -> Iterator[Tensor]:
        started = time.perf_counter()
        for pixels, crops in ordered_map(self._cut, draws, self.threads, self.ahead):
            self.stall_seconds += time.perf_counter() - started
            yield self._to_device(pixels, crops)
            self._synchronize()
            started = time.perf_counter()

    def _synchronize(self) -> None:
        """Wait until the GPU has finished all but the last two steps: otherwise its backlog would be counted as waiting
        for images, and images would pile up before it."""
        if self.device.type == "cuda":
            self._events.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._events[-1].record()
            if len(self._events) > 2:
                self._events.popleft().synchronize()

    def _cut(self, draw: Callable[[], Crops]) -> tuple[Tensor, Crops]:
        crops = draw()
        stored, source = self.cache.images, crops
        images: NDArray[np.uint8]
        if isinstance(stored, RawImages):
            images = stored.map
        else:
            images, source = stored.read(crops.rows), crops._replace(rows=np.arange(len(crops.rows)))
        if self.device.type == "cpu":
            return torch.from_numpy(subtract_mean(images, source, self.cache.mean)), crops
        pinned = torch.empty((len(crops.rows), *SHAPE), dtype=torch.uint8, pin_memory=True)
        cut_crops(images, source, pinned.numpy())
        return pinned, crops

    def _to_device(self, pixels: Tensor, crops: Crops) -> Tensor:
        """(N, 224, 224, 3) -> (N, 3, 224, 224), channels-last without a copy, on the device."""
        if self.mean is not None:
            pixels = subtract_mean_on_device(pixels.to(self.device, non_blocking=True), crops, self.mean)
        return pixels.to(self.dtype).permute(0, 3, 1, 2)
