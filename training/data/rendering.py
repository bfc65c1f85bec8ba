"""`render`: cached images -> the network's input, transformed as `training.data.transforms` drew it, on any device.

A degraded image is first stored small, as the worst source stored its images, then reduced to a few tens of pixels,
from which a box is cut, compressed again, and enlarged. After that, images of all sources look alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.images.contract import IMAGE_SIZE
from model.images.crops import CROP_SIZE
from training.data.jpeg import BLOCK, compress
from training.data.resampling import blur, resample, resample_bytes, resampling_matrix, warp
from training.data.transforms import Degraded, Flags, Jittered, Numbers, Transforms

GRAY = (0.299, 0.587, 0.114)


def render(images: Tensor, transforms: Transforms, mean: Tensor) -> Tensor:
    """(N, 256, 256, 3) uint8 -> (N, 3, 224, 224) float32: transformed, with the mean subtracted.

    `mean` (224, 224, 3): of the center crop.
    """
    boxes = _tensor(transforms.boxes, mean)
    if transforms.degraded is None:
        pixels, width, height = _cut(images, boxes, CROP_SIZE)
    else:
        pixels, width, height = _degrade(images, boxes, transforms.degraded)
    pixels = _enlarge(pixels, width, height, transforms)
    pixels = _rotate(pixels, transforms.rotations)
    white_balance = None if transforms.degraded is None else transforms.degraded.white_balance
    pixels = recolor(pixels, white_balance, transforms.jittered, transforms.color_shifts)
    pixels = pixels.clamp_(0, 255).sub_(mean.permute(2, 0, 1))
    return pixels if transforms.scale == 1 else pixels.mul_(transforms.scale)


def _cut(images: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes (N, 4) of whole images as `size` x `size` pixels; and their width and height (N,)."""
    left, top, width, height = boxes.unbind(1)
    sides, whole = torch.full_like(left, size), torch.full_like(left, IMAGE_SIZE)
    vertical = resampling_matrix(top, height, sides, whole, size, IMAGE_SIZE)
    horizontal = resampling_matrix(left, width, sides, whole, size, IMAGE_SIZE)
    return resample_bytes(images, vertical, horizontal), sides, sides


def _degrade(images: Tensor, boxes: Tensor, degraded: Degraded) -> tuple[Tensor, Tensor, Tensor]:
    """Degraded boxes in the upper left corners of canvases; and their width and height (N,)."""
    stored_size, size = _tensor(degraded.stored_size, boxes), _tensor(degraded.size, boxes)
    size = torch.minimum(size, stored_size)
    canvas, whole = _canvas(degraded.stored_size.max()), torch.full_like(size, IMAGE_SIZE)
    matrix = resampling_matrix(torch.zeros_like(size), whole, stored_size, whole, canvas, IMAGE_SIZE)
    pixels = resample_bytes(images, matrix, matrix)
    for quality in (degraded.first, degraded.second):
        pixels = _compress_some(pixels, _tensor(quality, pixels), degraded.stored)
    left, top, width, height = (boxes * (stored_size / IMAGE_SIZE)[:, None]).unbind(1)
    num_across, num_down = ((side * size / stored_size).round().clamp(min=1) for side in (width, height))
    box_canvas = _canvas(degraded.size.max())
    vertical = resampling_matrix(top, height, num_down, stored_size, box_canvas, canvas)
    horizontal = resampling_matrix(left, width, num_across, stored_size, box_canvas, canvas)
    pixels = blur(resample(pixels, vertical, horizontal), _tensor(degraded.sigma, pixels))
    return _compress_some(pixels, _tensor(degraded.third, pixels), degraded.compressed), num_across, num_down


def _canvas(size: float) -> int:
    """The side of a canvas for images of up to `size` pixels."""
    return -(-int(size) // BLOCK) * BLOCK


def _compress_some(pixels: Tensor, quality: Tensor, which: Flags) -> Tensor:
    """Images, compressed where `which` (N,) is true; the others unchanged."""
    places = _tensor(which, pixels).bool()[:, None, None, None]
    return torch.where(places, compress(pixels, quality), pixels)


def _enlarge(pixels: Tensor, width: Tensor, height: Tensor, transforms: Transforms) -> Tensor:
    """Boxes of `width` x `height` (N,) pixels as (N, 3, 224, 224), warped where `transforms` says so, and mirrored."""
    size, canvas = torch.full_like(width, CROP_SIZE), pixels.shape[-1]
    start = torch.zeros_like(width)
    vertical = resampling_matrix(start, height, size, height, CROP_SIZE, canvas)
    horizontal = resampling_matrix(start, width, size, width, CROP_SIZE, canvas)
    mirrored = _tensor(transforms.mirrored, pixels).bool()[:, None, None]
    result = resample(pixels, vertical, torch.where(mirrored, horizontal.flip(1), horizontal))
    places = torch.from_numpy(transforms.warped.nonzero()[0]).to(pixels.device)
    if len(places):
        matrices = _tensor(transforms.warps, pixels)
        matrices = torch.where(mirrored, matrices * matrices.new_tensor([[-1.0], [1.0]]), matrices)
        result[places] = warp(pixels[places], width[places], height[places], matrices[places], CROP_SIZE)
    return result


def _rotate(pixels: Tensor, rotations: NDArray[Any]) -> Tensor:
    """Quarter turns to the left."""
    for turns in (1, 2, 3):
        places = torch.from_numpy((rotations == turns).nonzero()[0]).to(pixels.device)
        if len(places):
            pixels[places] = torch.rot90(pixels[places], turns, (2, 3))
    return pixels


def recolor(
    pixels: Tensor, white_balance: Numbers | None, jittered: Jittered | None, shifts: NDArray[np.float32]
) -> Tensor:
    """(N, 3, H, W) after white balance (N, 3), then jitter, then color shifts (N, 3).

    Jitter changes brightness, then contrast about the mean gray, then saturation about each pixel's gray. Together,
    this is one 3 x 3 matrix and one color to add per image, so that its pixels are written only once.
    """
    matrix = torch.eye(3, device=pixels.device).repeat(len(pixels), 1, 1)
    offset = torch.zeros_like(matrix[:, :, 0])
    if white_balance is not None:
        matrix = matrix * _tensor(white_balance, pixels)[:, :, None]
    if jittered is not None:
        brightness, contrast, saturation = (_tensor(values, pixels)[:, None, None] for values in jittered)
        gray = pixels.new_tensor(GRAY)
        matrix = matrix * (1 + brightness)
        mean = (gray @ matrix * pixels.mean((2, 3))).sum(1, keepdim=True)
        matrix, offset = matrix * (1 + contrast), offset - mean * contrast[:, :, 0]
        matrix = matrix * (1 + saturation) - saturation * (gray @ matrix)[:, None, :]
    offset = offset + _tensor(shifts, pixels)
    return torch.baddbmm(offset[:, :, None], matrix, pixels.flatten(2)).view_as(pixels)


def _tensor(values: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, like.dtype, non_blocking=True)
