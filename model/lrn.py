"""Local response normalisation (paper, section 3.3), forward and backward, fast on CPU and GPU.

    b_i = a_i / (k + alpha * sum_j a_j^2)^beta,   j from i - n/2 to i + n/2 within the tower, k=2, n=5, beta=0.75

The sum is not divided by n, as printed in the paper (alpha = 1e-4). PyTorch, ONNX and Caffe divide alpha by n: their
5e-4 is the paper's 1e-4. The authors' program divided it too (`ALPHAS`). The window stays inside a tower, as in
their code.

Nothing but the input is kept for the backward pass. On CPU the loops of `model.lrn_cpu` do the work; elsewhere, and in
float64, the window sum is a product with a banded matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = 5
K = 2.0
ALPHA = 1e-4
ALPHAS = {"paper": ALPHA, "source": ALPHA / SIZE}
SPATIAL_SCALE = 1e-3
BETA = 0.75  # fixed: the code takes s^-0.75 as rsqrt(s) * sqrt(rsqrt(s))


def band(channels: int, towers: int, device: torch.device | None = None) -> Tensor:
    """The (channels, channels) float64 matrix with 1 where two channels are of one tower and at most n/2 apart."""
    position = torch.arange(channels, device=device)
    near = (position[:, None] - position[None, :]).abs() <= SIZE // 2
    tower = position // (channels // towers)
    return (near & (tower[:, None] == tower[None, :])).double()


def _rows(x: Tensor) -> Tensor:
    """Channels-last (N, C, H, W) -> a view (N * H * W, C)."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _arrays(*tensors: Tensor) -> list[Any]:
    """The rows of CPU tensors as numpy sees them: bfloat16 as uint16."""
    return [_rows(t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


def _scale_and_power(rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """scale = k + alpha * window sum of squares, and scale^-beta; both (R, C)."""
    scale = torch.mm(rows * rows, weights).add_(K)
    root = scale.rsqrt()
    return scale, root.sqrt().mul_(root)


class _InLoops(torch.autograd.Function):
    """On CPU, float32 or bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, towers: int, alpha: float) -> Tensor:
        from model import lrn_cpu

        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x)
        ctx.towers, ctx.alpha = towers, alpha
        y = torch.empty_like(x)
        rows, result = _arrays(x.detach(), y)
        lrn_cpu.forward(rows, result, towers, K, alpha, torch.get_num_threads())
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        from model import lrn_cpu

        (x,) = ctx.saved_tensors
        above = gradients[0].contiguous(memory_format=torch.channels_last)
        below = torch.empty_like(x)
        rows, over, under = _arrays(x, above, below)
        lrn_cpu.backward(rows, over, under, ctx.towers, K, ctx.alpha, torch.get_num_threads())
        return below, None, None


class _InMatrices(torch.autograd.Function):
    """Anywhere, in float32 at least."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, towers: int, alpha: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.promote_types(x.dtype, torch.float32)
        weights = (alpha * band(x.shape[1], towers, x.device)).to(wide)
        ctx.save_for_backward(x, weights)
        rows = _rows(x).to(wide)
        _, power = _scale_and_power(rows, weights)
        y = torch.empty_like(x)
        _rows(y).copy_(power.mul_(rows))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, weights = ctx.saved_tensors
        above = gradients[0].contiguous(memory_format=torch.channels_last)
        rows = _rows(x).to(weights.dtype)
        scale, power = _scale_and_power(rows, weights)
        scaled = power.mul_(_rows(above))
        spread = torch.mm((scaled * rows).div_(scale), weights)
        below = torch.empty_like(x)
        _rows(below).copy_(scaled.sub_(spread.mul_(rows).mul_(2 * BETA)))
        return below, None, None


def local_response_norm(x: Tensor, towers: int, alpha: float = ALPHA) -> Tensor:
    """Normalise (N, C, H, W) across the channels of each of `towers` equal groups; the result is channels-last.

    Computed in float32 at least: bfloat16 has steps of 0.016 at 2, which would lose the sum.
    """
    in_loops = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = (_InLoops if in_loops else _InMatrices).apply(x, towers, alpha)  # type: ignore[no-untyped-call]
    return result


def spatial_norm(x: Tensor) -> Tensor:
    """The authors' second normalisation after conv2, which the paper does not name: over 5x5 pixels of the same map.

    a / (1 + 1e-3 / 25 * sum a^2)^0.75, (N, C, H, W); zeros beyond the border.
    """
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = F.avg_pool2d(wide * wide, SIZE, 1, SIZE // 2, count_include_pad=True)
        return (wide * (1 + SPATIAL_SCALE * mean) ** -BETA).to(x.dtype)
