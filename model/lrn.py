"""Local response normalisation (paper, section 3.3), forward and backward, fast on CPU and GPU.

    b_i = a_i / (k + alpha * sum_j a_j^2)^beta,   j from i - n/2 to i + n/2 within the tower, k=2, n=5, beta=0.75

The sum is not divided by n, as printed in the paper (alpha = 1e-4). PyTorch, ONNX and Caffe divide alpha by n: their
5e-4 is the paper's 1e-4. The window stays inside a tower, as in the authors' code.

The window sum is a product with a banded matrix over rows of channels, a few rows at a time, so that the intermediate
results stay in the processor's cache; nothing but the input is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SIZE = 5
K = 2.0
ALPHA = 1e-4
BETA = 0.75  # fixed: the code takes s^-0.75 as rsqrt(s) * sqrt(rsqrt(s))
CHUNK = 1 << 18  # elements at a time on CPU: 1 MiB of float32


def band(channels: int, towers: int) -> Tensor:
    """The (channels, channels) float64 matrix with 1 where two channels are of one tower and at most n/2 apart."""
    position = torch.arange(channels)
    near = (position[:, None] - position[None, :]).abs() <= SIZE // 2
    tower = position // (channels // towers)
    return (near & (tower[:, None] == tower[None, :])).double()


def _chunks(x: Tensor) -> tuple[Tensor, ...]:
    """Channels-last (N, C, H, W) -> views (R, C) of its rows, small enough for the cache on CPU."""
    rows = x.permute(0, 2, 3, 1).view(-1, x.shape[1])
    return torch.split(rows, CHUNK // x.shape[1] if x.device.type == "cpu" else len(rows))


def _scale_and_power(rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """scale = k + alpha * window sum of squares, and scale^-beta; both (R, C)."""
    scale = torch.mm(rows * rows, weights).add_(K)
    root = scale.rsqrt()
    return scale, root.sqrt().mul_(root)


class _LocalResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, towers: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.promote_types(x.dtype, torch.float32)
        weights = (ALPHA * band(x.shape[1], towers)).to(x.device, wide)
        ctx.save_for_backward(x, weights)
        y = torch.empty_like(x)
        for source, target in zip(_chunks(x), _chunks(y), strict=True):
            rows = source.to(wide)
            _, power = _scale_and_power(rows, weights)
            target.copy_(power.mul_(rows))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, weights = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(x)
        for source, above, target in zip(_chunks(x), _chunks(gradient), _chunks(result), strict=True):
            rows = source.to(weights.dtype)
            scale, power = _scale_and_power(rows, weights)
            scaled = power.mul_(above)
            spread = torch.mm((scaled * rows).div_(scale), weights)
            target.copy_(scaled.sub_(spread.mul_(rows).mul_(2 * BETA)))
        return result, None


def local_response_norm(x: Tensor, towers: int) -> Tensor:
    """Normalise (N, C, H, W) across the channels of each of `towers` equal groups; the result is channels-last.

    Computed in float32 at least: bfloat16 has steps of 0.016 at 2, which would lose the sum.
    """
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = _LocalResponseNorm.apply(x, towers)  # type: ignore[no-untyped-call]
    return result
