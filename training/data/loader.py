"""Images for the training steps, cut in threads while the step before runs; how long the steps waited is counted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.images.crops import CROP
from training.data import crop_kernels as cutting
from training.data.augment import Augmentation, Crops
from training.data.cache import ImageCache
from training.data.storage import RawImages

SHAPE = (CROP, CROP, 3)


class Piece(NamedTuple):
    """Images that go through the network at once. `places`: where they stand in the step's batch.

    `weight` is 0 for an image that only keeps a process busy whose share of the last batch is empty.
    """

    step: int
    last: bool
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    weight: float


def pieces(
    order: NDArray[np.int64], batch: int, micro_batch: int, replica: int, replicas: int, first_step: int
) -> Iterator[Piece]:
    """One replica's pieces of an epoch's order from `first_step` on: every `replicas`-th image of each batch."""
    for step in range(first_step, -(-len(order) // batch)):
        rows = order[step * batch : (step + 1) * batch]
        places, weight = np.arange(replica, len(rows), replicas), 1.0
        if not len(places):
            places, weight = np.zeros(1, np.int64), 0.0
        size = micro_batch or len(places)
        parts = [places[start : start + size] for start in range(0, len(places), size)]
        for number, part in enumerate(parts, 1):
            yield Piece(step, number == len(parts), rows[part], part, weight)


class Feed:
    """Cuts crops of a cache for a device. `waited`: seconds that `pixels` let its caller wait."""

    def __init__(self, cache: ImageCache, device: torch.device, dtype: torch.dtype) -> None:
        self.cache, self.device, self.dtype = cache, device, dtype
        self.waited = 0.0
        on_cpu = device.type == "cpu"
        self.mean = None if on_cpu else torch.from_numpy(cache.mean).reshape(-1, 3).to(device)
        self.threads, self.ahead = (1, 2) if on_cpu else (4, 8)
        self._steps: deque[torch.cuda.Event] = deque()

    def training(
        self, work: Sequence[Piece], augmentation: Augmentation, epoch: int, batch: int
    ) -> Iterator[tuple[Piece, Tensor]]:
        """Pieces and their augmented pixels, (N, 3, 224, 224) channels-last."""
        draws = [partial(augmentation.draw, epoch, p.rows, p.step * batch + p.places) for p in work]
        yield from zip(work, self._cut_ahead(draws), strict=True)

    def centers(self, slices: Sequence[NDArray[np.int64]], augmentation: Augmentation) -> Iterator[Tensor]:
        """The central crops of the images in each of `slices`."""
        yield from self._cut_ahead([partial(augmentation.center, rows) for rows in slices])

    def _cut_ahead(self, draws: Sequence[Callable[[], Crops]]) -> Iterator[Tensor]:
        waiting: deque[Future[tuple[Tensor, Crops]]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="crops") as pool:
            for position in range(-self.ahead, len(draws)):
                if position + self.ahead < len(draws):
                    waiting.append(pool.submit(self._cut, draws[position + self.ahead]))
                if position >= 0:
                    started = time.perf_counter()
                    pixels, crops = waiting.popleft().result()
                    self.waited += time.perf_counter() - started
                    yield self._ready(pixels, crops)
                    self._let_catch_up()

    def _let_catch_up(self) -> None:
        """Wait until the GPU has done all but the last two steps: else what it still has to do would be taken for
        waiting for images, and images would pile up before it."""
        if self.device.type == "cuda":
            self._steps.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._steps[-1].record()
            if len(self._steps) > 2:
                self._steps.popleft().synchronize()

    def _cut(self, draw: Callable[[], Crops]) -> tuple[Tensor, Crops]:
        crops = draw()
        stored, found = self.cache.images, crops
        images: NDArray[np.uint8]
        if isinstance(stored, RawImages):
            images = stored.map
        else:
            images, found = stored.read(crops.rows), crops._replace(rows=np.arange(len(crops.rows)))
        if self.device.type == "cpu":
            return torch.from_numpy(cutting.centerd(images, found, self.cache.mean)), crops
        pinned = torch.empty((len(crops.rows), *SHAPE), dtype=torch.uint8, pin_memory=True)
        cutting.cut(images, found, pinned.numpy())
        return pinned, crops

    def _ready(self, pixels: Tensor, crops: Crops) -> Tensor:
        """(N, 224, 224, 3) -> (N, 3, 224, 224), channels-last without a copy, on the device."""
        if self.mean is not None:
            pixels = cutting.centerd_on_device(pixels.to(self.device, non_blocking=True), crops, self.mean)
        return pixels.to(self.dtype).permute(0, 3, 1, 2)
