"""Local response normalization as products with a banded matrix, on any device, also in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.lrn.formula import BETA, window_matrix


def as_rows(x: Tensor) -> Tensor:
    """Channels-last (N, C, H, W) -> a view (N * H * W, C)."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _scale_and_power(rows: Tensor, weights: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """scale = k + alpha * window sum of squares, and scale^-beta; both (R, C)."""
    scale = torch.mm(rows * rows, weights).add_(k)
    root = scale.rsqrt()
    return scale, root.sqrt().mul_(root)


class MatrixFunction(torch.autograd.Function):
    """Any device; computed in float32 or wider."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, alpha: float, k: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.promote_types(x.dtype, torch.float32)
        weights = torch.from_numpy(alpha * window_matrix(x.shape[1], groups)).to(x.device, wide)
        ctx.k = k
        ctx.save_for_backward(x, weights)
        rows = as_rows(x).to(wide)
        _, power = _scale_and_power(rows, weights, k)
        y = torch.empty_like(x)
        as_rows(y).copy_(power.mul_(rows))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, weights = ctx.saved_tensors
        grad_output = gradients[0].contiguous(memory_format=torch.channels_last)
        rows = as_rows(x).to(weights.dtype)
        scale, power = _scale_and_power(rows, weights, ctx.k)
        scaled = power.mul_(as_rows(grad_output))
        spread = torch.mm((scaled * rows).div_(scale), weights)
        grad_input = torch.empty_like(x)
        as_rows(grad_input).copy_(scaled.sub_(spread.mul_(rows).mul_(2 * BETA)))
        return grad_input, None, None, None
