"""Pixel loops compiled by numba: crops of the cache (uint8 for a GPU, mean-subtracted float32 for the CPU), and sums.

All release the GIL, so that they run in parallel with a training step. The functions named `..._on_device` do the same
with tensors, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.compiled_loops import compile_loop
from model.images.contract import IMAGE_SIZE
from model.images.crops import CROP_SIZE
from training.data.augment import Crops

ROW = 3 * CROP_SIZE


@compile_loop()
def _cut_crops_kernel(images: Any, rows: Any, strides: Any, out: Any) -> None:
    for n in range(len(rows)):
        image = images[rows[n]]
        start, down, right = strides[n]
        for r in range(CROP_SIZE):
            begin = 3 * (start + r * down)
            target = out[n, r]
            if right == 1:
                target[:] = image[begin : begin + ROW]
            elif right == -1:
                source = image[begin + 3 - ROW : begin + 3]
                for c in range(CROP_SIZE):
                    target[3 * c] = source[ROW - 3 - 3 * c]
                    target[3 * c + 1] = source[ROW - 2 - 3 * c]
                    target[3 * c + 2] = source[ROW - 1 - 3 * c]
            else:
                for c in range(CROP_SIZE):
                    pixel = begin + 3 * c * right
                    target[3 * c] = image[pixel]
                    target[3 * c + 1] = image[pixel + 1]
                    target[3 * c + 2] = image[pixel + 2]


@compile_loop(error_model="numpy")
def _subtract_mean_kernel(
    images: Any, rows: Any, strides: Any, mean: Any, mean_strides: Any, color_shifts: Any, scale: Any, out: Any
) -> None:
    for n in range(len(rows)):
        image = images[rows[n]]
        start, down, right = strides[n]
        mean_start, mean_down, mean_right = mean_strides[n]
        red, green, blue = color_shifts[n]
        for r in range(CROP_SIZE):
            target = out[n, r]
            pixel, mean_pixel = 3 * (start + r * down), 3 * (mean_start + r * mean_down)
            for c in range(0, ROW, 3):
                target[c] = (np.float32(image[pixel]) - mean[mean_pixel] + red) * scale
                target[c + 1] = (np.float32(image[pixel + 1]) - mean[mean_pixel + 1] + green) * scale
                target[c + 2] = (np.float32(image[pixel + 2]) - mean[mean_pixel + 2] + blue) * scale
                pixel += 3 * right
                mean_pixel += 3 * mean_right


@compile_loop()
def _add_to_sums_kernel(image: Any, image_sum: Any, outer_sum: Any) -> None:
    rr = rg = rb = gg = gb = bb = np.uint64(0)
    for i in range(0, len(image), 3):
        r, g, b = np.uint64(image[i]), np.uint64(image[i + 1]), np.uint64(image[i + 2])
        rr += r * r
        rg += r * g
        rb += r * b
        gg += g * g
        gb += g * b
        bb += b * b
    outer_sum += np.array([[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]], np.uint64).astype(np.int64)
    for i in range(len(image)):
        image_sum[i] += image[i]


def add_to_sums(image: NDArray[np.uint8], image_sum: NDArray[np.int64], outer_sum: NDArray[np.int64]) -> None:
    """Add a (256, 256, 3) image to the sum of images, and the products of its channels to the (3, 3) sum."""
    _add_to_sums_kernel(np.ascontiguousarray(image).ravel(), image_sum.reshape(-1), outer_sum)


def cut_crops(images: NDArray[np.uint8], crops: Crops, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Cut crops out of the cache's (M, 256, 256, 3) uint8: (N, 224, 224, 3) uint8, into `out` if given."""
    if out is None:
        out = np.empty((len(crops.rows), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    _cut_crops_kernel(_flat(images), crops.rows, crops.strides, out.reshape(len(out), CROP_SIZE, ROW))
    return out


def subtract_mean(images: NDArray[np.uint8], crops: Crops, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut crops, subtract the mean, add the color shift and scale: (N, 224, 224, 3) float32. `mean` (256, 256, 3)."""
    out = np.empty((len(crops.rows), CROP_SIZE, CROP_SIZE, 3), np.float32)
    target, scale = out.reshape(len(out), CROP_SIZE, ROW), np.float32(crops.scale)
    _subtract_mean_kernel(
        _flat(images), crops.rows, crops.strides, mean.ravel(), crops.mean_strides, crops.color_shifts, scale, target
    )
    return out


def cut_crops_on_device(images: Tensor, crops: Crops) -> Tensor:
    """`cut_crops` on a device, for (M, 256, 256, 3) uint8."""
    strides = crops.strides.copy()
    strides[:, 0] += crops.rows * IMAGE_SIZE**2
    return images.view(-1, 3)[_pixels(strides, images.device)]


def subtract_mean_on_device(pixels: Tensor, crops: Crops, mean: Tensor) -> Tensor:
    """`subtract_mean` on a device, for the output of `cut_crops`: (N, 224, 224, 3) uint8 -> float32.

    `mean` (65536, 3) on the same device.
    """
    color_shifts = torch.from_numpy(crops.color_shifts).to(pixels.device, non_blocking=True)
    result = pixels.float().sub_(mean[_pixels(crops.mean_strides, pixels.device)])
    result = result.add_(color_shifts[:, None, None, :])
    return result if crops.scale == 1 else result.mul_(crops.scale)


def _pixels(strides: NDArray[np.int64], device: torch.device) -> Tensor:
    """(N, 224, 224) int64: the index of each crop pixel among its image's pixels."""
    span = torch.arange(CROP_SIZE, device=device)
    start, down, right = torch.from_numpy(strides).to(device, non_blocking=True)[:, :, None, None].unbind(1)
    return (start + span[:, None] * down) + span * right


def _flat(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(M, 196608) as a plain array: numba doesn't accept memory maps."""
    return np.asarray(images).reshape(len(images), -1)
