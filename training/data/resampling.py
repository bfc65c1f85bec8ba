"""Reducing and enlarging parts of images, each with its own size, as products with sparse matrices.

The filter is Pillow's `BILINEAR`: a triangle as wide as two pixels of the source, or of the result if that has fewer,
so that nothing is aliased. Images of different sizes share a tensor: each stands in the upper left corner of a canvas,
and its last row and column are repeated to the canvas's end.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resampling_matrix(
    start: Tensor, length: Tensor, num_out: Tensor, num_in: Tensor, canvas_out: int, canvas_in: int
) -> Tensor:
    """(N, canvas_out, canvas_in): row o has the weights of the source's pixels for pixel o of the result.

    The part of the source that begins at `start` (N,) and has this `length` (N,) becomes `num_out` (N,) pixels; later
    rows repeat the last one. `num_in` (N,): pixels of the source.
    """
    device = start.device
    scale = (length / num_out)[:, None, None]
    out = torch.arange(canvas_out, device=device, dtype=torch.float32)[None, :, None]
    center = start[:, None, None] + (torch.minimum(out, num_out[:, None, None] - 1) + 0.5) * scale
    source = torch.arange(canvas_in, device=device, dtype=torch.float32)[None, None, :]
    weights = (1 - ((source + 0.5 - center) / scale.clamp(min=1)).abs()).clamp(min=0)
    weights = weights * (source < num_in[:, None, None])
    return weights / weights.sum(2, keepdim=True)


def resample(images: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """(N, 3, H, W) times an (N, h, H) and an (N, w, W) matrix: (N, 3, h, w)."""
    return vertical[:, None] @ images @ horizontal[:, None].transpose(2, 3)


def resample_bytes(images: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The same for (N, H, W, 3) uint8: float32 (N, 3, h, w). Rows are reduced first, while channels stay together."""
    count, height, width, channels = images.shape
    rows = vertical @ images.view(count, height, width * channels).float()
    return rows.view(count, -1, width, channels).permute(0, 3, 1, 2) @ horizontal[:, None].transpose(2, 3)


def warp(images: Tensor, width: Tensor, height: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Enlarge images of `width` x `height` (N,) pixels to `size` x `size` through `matrix` (N, 2, 2) about the center.

    Bilinear; outside of an image, its nearest pixel is repeated.
    """
    canvas_height, canvas_width = images.shape[2:]
    place = (torch.arange(size, device=images.device, dtype=torch.float32) + 0.5) / size * 2 - 1
    across, down = place[None, None, :], place[None, :, None]
    entries, width, height = matrix[:, :, :, None, None], width[:, None, None], height[:, None, None]
    # sums of one number per column and one per row: a single pass over the pixels
    x = ((entries[:, 0, 0] * across + 1) * width - 1) / 2 + entries[:, 0, 1] * down * (width / 2)
    y = ((entries[:, 1, 1] * down + 1) * height - 1) / 2 + entries[:, 1, 0] * across * (height / 2)
    x, y = (torch.minimum(x.clamp_(min=0), width - 1), torch.minimum(y.clamp_(min=0), height - 1))
    grid = torch.stack([(2 * x + 1) / canvas_width - 1, (2 * y + 1) / canvas_height - 1], -1)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur (N, 3, H, W) by a Gaussian of `sigma` (N,) pixels, at most 1.3; edges are repeated."""
    radius = 4
    distance = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (distance[None] / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    planes = images.reshape(1, -1, *images.shape[2:])
    padded = F.pad(planes, (radius,) * 4, mode="replicate")
    padded = F.conv2d(padded, kernel[:, None, None, :], groups=len(kernel))
    return F.conv2d(padded, kernel[:, None, :, None], groups=len(kernel)).reshape(images.shape)
