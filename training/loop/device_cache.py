"""Which images a run keeps in its device's memory: all, those of training, or none, as fits beside its steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.exceptions import TrainingError
from model.images.contract import IMAGE_SIZE
from training.config import DeviceCache
from training.data.device_images import DeviceImages
from training.data.storage import JpegImages, RawImages
from training.loop.distributed import DistributedContext

IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3
RESERVED_BYTES, RESERVED_BYTES_PER_IMAGE = 4 * 2**30, 16 * 10**6
"""Bytes that must stay free for a step: a fixed amount, and more for each image of a pass. In float32 a pass's tensors
take 7.4 MB per image; as much again is for libraries' working memory and gaps between tensors."""


def keep_on_device(
    device_cache: DeviceCache,
    images: RawImages | JpegImages,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    images_per_pass: int,
    context: DistributedContext,
    stopped: Callable[[], bool],
) -> DeviceImages | None:
    """Copy images to the device: those of the training and validation `rows` of the cache that `choose_rows` selects.

    `stopped`: whether to skip the remaining images. Logs what was chosen. Raises TrainingError.
    """
    kept, text = choose_rows(device_cache, *rows, context.device, images_per_pass)
    if text:
        context.log(text)
    if not len(kept):
        return None
    try:
        return DeviceImages.upload(images, kept, context.device, context.is_main, stopped)
    except torch.OutOfMemoryError:  # another process has taken memory since
        if device_cache == "yes":
            raise TrainingError("the images don't fit in device memory after all: choose --device-cache auto") from None
        context.log("they don't fit in device memory after all: images are copied batch by batch")
        return None


def choose_rows(
    device_cache: DeviceCache,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    device: torch.device,
    images_per_pass: int,
) -> tuple[NDArray[np.int64], str]:
    """The rows to keep on the device: all, the training rows, or none; and a sentence about the choice, or "".

    `auto` keeps images on a GPU if they fit beside training passes of `images_per_pass` images each. On the CPU it
    keeps none: the cache is in CPU memory anyway. Raises TrainingError if `yes` is impossible.
    """
    if device.type == "cpu" and device_cache != "yes":
        return train[:0], ""
    if device_cache == "no":
        return train[:0], f"images are copied to {device} batch by batch (--device-cache no)"
    free, reserved = free_memory(device), RESERVED_BYTES + images_per_pass * RESERVED_BYTES_PER_IMAGE
    for rows, names in ((np.concatenate([train, validation]), "training and validation"), (train, "training")):
        if len(rows) * IMAGE_BYTES + reserved <= free:
            return rows, (
                f"{len(rows):,} {names} images are kept in the memory of {device}: "
                f"{_gigabytes(len(rows) * IMAGE_BYTES)} of {_gigabytes(free)} free"
            )
    problem = (
        f"the {len(train):,} training images take {_gigabytes(len(train) * IMAGE_BYTES)} in the memory of {device}, "
        f"where {_gigabytes(free)} is free and training itself needs {_gigabytes(reserved)}"
    )
    if device_cache == "yes":
        raise TrainingError(f"{problem}: choose --device-cache auto, or a smaller --micro-batch")
    return train[:0], f"{problem}: images are copied batch by batch"


def free_memory(device: torch.device) -> int:
    """Free bytes on a device; on the CPU, those that the system can make available. Raises TrainingError."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        raise TrainingError("this system doesn't report how much memory is free: choose --device-cache no") from None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
