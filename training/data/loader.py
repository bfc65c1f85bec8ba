"""`CropLoader`: crops for the training steps, cut in threads while the previous step runs; stall time is counted."""

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

from model.images.crops import CENTER_CROP, CROP_SIZE, OFFSETS
from model.thread_pool import ordered_map
from training.data.augment import Augmentation, Crops
from training.data.cache import ImageCache
from training.data.crop_kernels import cut_crops, subtract_mean, subtract_mean_on_device
from training.data.device_images import DeviceImages
from training.data.mixing import Mix, mix_pixels
from training.data.rendering import render
from training.data.storage import RawImages
from training.data.transforms import Transforms, draw_transforms, has_transforms

SHAPE = (CROP_SIZE, CROP_SIZE, 3)


class MicroBatch(NamedTuple):
    """Images of one forward and backward pass. `positions`: their places in the step's batch.

    `is_last`: whether it is the last one of its step. `weight` is 0 for an image that only keeps a process busy,
    because its share of an epoch's last batch is empty. `mix`: what is mixed into them.
    """

    step: int
    is_last: bool
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    weight: float
    mix: Mix | None = None


def micro_batches(
    order: NDArray[np.int64],
    batch_size: int,
    micro_batch: int,
    replica: int,
    num_replicas: int,
    first_step: int,
    draw_mix: Callable[[int, NDArray[np.int64]], Mix | None] = lambda step, rows: None,
) -> Iterator[MicroBatch]:
    """One replica's share of an epoch's order from `first_step` on: every `num_replicas`-th image of each batch.

    `micro_batch`: maximum number of images per pass (0: the whole share). `draw_mix`: draws the mix of a step's batch,
    given the step and the rows of the cache that hold its images.
    """
    for step in range(first_step, -(-len(order) // batch_size)):
        rows = order[step * batch_size : (step + 1) * batch_size]
        mix = draw_mix(step, rows)
        positions, weight = np.arange(replica, len(rows), num_replicas), 1.0
        if not len(positions):
            positions, weight = np.zeros(1, np.int64), 0.0
        size = micro_batch or len(positions)
        slices = [positions[start : start + size] for start in range(0, len(positions), size)]
        for number, slice_ in enumerate(slices, 1):
            own_mix = None if mix is None else mix.take(slice_)
            yield MicroBatch(step, number == len(slices), rows[slice_], slice_, weight, own_mix)


class CropLoader:
    """Cuts crops of a cache for a device. `stall_seconds`: how long its caller has waited for crops.

    `device_images`: the cached images that are on the device, where their crops are cut with the same result. For other
    images, threads cut the crops, or read whole images, which are then copied to the device.
    """

    def __init__(self, cache: ImageCache, device: torch.device, dtype: torch.dtype) -> None:
        self.cache, self.device, self.dtype = cache, device, dtype
        self.stall_seconds = 0.0
        self.device_images: DeviceImages | None = None
        on_cpu = device.type == "cpu"
        self.mean = torch.from_numpy(cache.mean).reshape(-1, 3).to(device)
        top, left = OFFSETS[CENTER_CROP[0]]
        self.center_mean = torch.from_numpy(cache.mean)[top : top + CROP_SIZE, left : left + CROP_SIZE].to(device)
        self.threads, self.ahead = (1, 2) if on_cpu else (4, 8)
        self._events: deque[torch.cuda.Event] = deque()

    def train_crops(
        self, work: Sequence[MicroBatch], augmentation: Augmentation, epoch: int, batch_size: int
    ) -> Iterator[tuple[MicroBatch, Tensor]]:
        """Micro-batches and their augmented pixels, (N, 3, 224, 224) channels-last."""
        draws = [partial(_draw, augmentation, epoch, micro_batch, batch_size) for micro_batch in work]
        for micro_batch, pixels in zip(work, self._load(draws), strict=True):
            yield micro_batch, _mix(pixels, micro_batch)

    def center_crops(self, slices: Sequence[NDArray[np.int64]], augmentation: Augmentation) -> Iterator[Tensor]:
        """The center crops of the images in each of `slices`, (N, 3, 224, 224) channels-last."""
        yield from self._load([partial(augmentation.center, rows) for rows in slices])

    def crops(
        self, slices: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], augmentation: Augmentation
    ) -> Iterator[Tensor]:
        """One of the ten crops of each image, (N, 3, 224, 224) channels-last; `slices`: rows, and their crops' ids."""
        yield from self._load([partial(augmentation.crops, rows, ids) for rows, ids in slices])

    @property
    def num_device_images(self) -> int:
        return 0 if self.device_images is None else len(self.device_images.pixels)

    def free_device_images(self) -> None:
        """Give the memory of the images on the device back to the system."""
        self.device_images = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self, draws: Sequence[Callable[[], Crops | Transforms]]) -> Iterator[Tensor]:
        started = time.perf_counter()
        for pixels, crops in ordered_map(self._cut, draws, self.threads, self.ahead):
            self.stall_seconds += time.perf_counter() - started
            yield self._to_device(pixels, crops)
            self._synchronize()
            started = time.perf_counter()

    def _synchronize(self) -> None:
        """Wait until the GPU has finished all but the last two steps: otherwise its backlog would count as waiting for
        images, and images would pile up."""
        if self.device.type == "cuda":
            self._events.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
            self._events[-1].record()
            if len(self._events) > 2:
                self._events.popleft().synchronize()

    def _cut(self, draw: Callable[[], Crops | Transforms]) -> tuple[Tensor | None, Crops | Transforms]:
        """Pixels (float32 if finished, uint8 if the device does the rest, None if it does all), and what was drawn."""
        drawn, on_cpu = draw(), self.device.type == "cpu"
        if self.device_images is not None and self.device_images.has(drawn.rows):
            return None, drawn
        if isinstance(drawn, Transforms):
            whole = torch.from_numpy(self.cache.read(drawn.rows))
            return (render(whole, drawn, self.center_mean), drawn) if on_cpu else (whole.pin_memory(), drawn)
        images, source = self._stored(drawn)
        if on_cpu:
            return torch.from_numpy(subtract_mean(images, source, self.cache.mean)), drawn
        pinned = torch.empty((len(drawn.rows), *SHAPE), dtype=torch.uint8, pin_memory=True)
        cut_crops(images, source, pinned.numpy())
        return pinned, drawn

    def _stored(self, crops: Crops) -> tuple[NDArray[np.uint8], Crops]:
        """Images, and the crops to cut out of them."""
        stored = self.cache.images
        if isinstance(stored, RawImages):
            stored.check(crops.rows)
            return stored.map, crops
        return stored.read(crops.rows), crops._replace(rows=np.arange(len(crops.rows)))

    def _to_device(self, pixels: Tensor | None, drawn: Crops | Transforms) -> Tensor:
        """The crops or transforms, (N, 3, 224, 224), channels-last, on the device."""
        if pixels is None:
            assert self.device_images is not None
            held = self.device_images
            pixels = held.read(drawn.rows) if isinstance(drawn, Transforms) else held.cut(drawn)
        pixels = pixels.to(self.device, non_blocking=True)
        if isinstance(drawn, Transforms):
            if pixels.dtype == torch.uint8:
                pixels = render(pixels, drawn, self.center_mean)
            return pixels.to(self.dtype, memory_format=torch.channels_last)
        if pixels.dtype == torch.uint8:
            pixels = subtract_mean_on_device(pixels, drawn, self.mean)
        return pixels.to(self.dtype).permute(0, 3, 1, 2)  # without a copy


def _draw(augmentation: Augmentation, epoch: int, micro_batch: MicroBatch, batch_size: int) -> Crops | Transforms:
    """Random crops or transforms of a micro-batch's images; with a mix, of them and their partners, each once."""
    rows, positions = micro_batch.rows, micro_batch.positions
    if micro_batch.mix is not None:
        rows, first = np.unique(np.concatenate([rows, micro_batch.mix.rows]), return_index=True)
        positions = np.concatenate([positions, micro_batch.mix.positions])[first]
    draw = draw_transforms if has_transforms(augmentation.recipe) else Augmentation.draw
    return draw(augmentation, epoch, rows, micro_batch.step * batch_size + positions)


def _mix(pixels: Tensor, micro_batch: MicroBatch) -> Tensor:
    """The micro-batch's images, taken from those of `_draw`, with their partners mixed in."""
    if micro_batch.mix is None:
        return pixels
    rows = np.concatenate([micro_batch.rows, micro_batch.mix.rows])
    places = torch.from_numpy(np.unique(rows, return_inverse=True)[1]).to(pixels.device)
    own, partners = places.chunk(2)
    return mix_pixels(pixels[own], pixels[partners], micro_batch.mix)
