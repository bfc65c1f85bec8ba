"""What JPEG compression does to pixels, with tensors: on any device, many images at once, each with its own quality.

Annex K's quantization tables scaled as libjpeg does, chroma at half the resolution (4:2:0). Nothing is encoded: the
lossless part of JPEG doesn't change pixels. A result differs from a JPEG library's by rounding only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 16
"""Image sides must be multiples of this: 8 pixels of chroma."""
# fmt: off
LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)
# fmt: on
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """(N, 3, H, W) RGB, 0..255, as they are after compression with `quality` (N,) from 1 to 100."""
    matrix = images.new_tensor(TO_YCC)
    ycc = torch.einsum("ij,njhw->nihw", matrix, images.round()).round()
    luma = _quantize(ycc[:, :1] - 128, LUMA, quality) + 128
    chroma = _quantize(F.avg_pool2d(ycc[:, 1:], 2).round(), CHROMA, quality)
    chroma = F.interpolate(chroma.round(), scale_factor=2, mode="bilinear", align_corners=False)
    joined = torch.cat([luma.round().clamp(0, 255), chroma.round().clamp(-128, 127)], 1)
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), joined).round().clamp(0, 255)


def _quantize(planes: Tensor, table: tuple[int, ...], quality: Tensor) -> Tensor:
    """(N, C, H, W) through a DCT of 8 x 8 blocks whose coefficients are rounded to multiples of the scaled table."""
    count, channels, height, width = planes.shape
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality.floor())
    steps = ((planes.new_tensor(table)[None] * percent[:, None] + 50) / 100).floor().clamp(1, 255)
    steps = steps.view(count, 1, 1, 1, 8, 8)
    dct = _dct(planes)
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = dct @ blocks @ dct.T
    blocks = dct.T @ ((coefficients / steps).round() * steps) @ dct
    return blocks.transpose(3, 4).reshape(count, channels, height, width)


def _dct(like: Tensor) -> Tensor:
    """The 8 x 8 matrix of the discrete cosine transform, orthonormal."""
    number = torch.arange(8, device=like.device, dtype=like.dtype)
    cosines = torch.cos((2 * number[None] + 1) * number[:, None] * math.pi / 16) / 2
    return cosines * torch.where(number[:, None] == 0, math.sqrt(0.5), 1.0)
