"""Local response normalization in torch, forward and backward (formula: `model.lrn.formula`).

Only the input is kept for the backward pass. On the CPU the kernels of `model.lrn.cpu_kernels` do the work; elsewhere,
and in float64, the window sum is a product with a banded matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.lrn.formula import BETA, CONSTANTS, SIZE, SPATIAL_SCALE, window_matrix


def _rows(x: Tensor) -> Tensor:
    """Channels-last (N, C, H, W) -> a view (N * H * W, C)."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _arrays(*tensors: Tensor) -> list[Any]:
    """The rows of CPU tensors as numpy arrays, bfloat16 as uint16."""
    return [_rows(t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


def _scale_and_power(rows: Tensor, weights: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """scale = k + alpha * window sum of squares, and scale^-beta; both (R, C)."""
    scale = torch.mm(rows * rows, weights).add_(k)
    root = scale.rsqrt()
    return scale, root.sqrt().mul_(root)


class _KernelFunction(torch.autograd.Function):
    """CPU, float32 or bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, alpha: float, k: float) -> Tensor:
        from model.lrn import cpu_kernels

        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x)
        ctx.constants = groups, k, alpha
        y = torch.empty_like(x)
        rows, result = _arrays(x.detach(), y)
        cpu_kernels.forward(rows, result, groups, k, alpha, torch.get_num_threads())
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        from model.lrn import cpu_kernels

        (x,) = ctx.saved_tensors
        grad_output = gradients[0].contiguous(memory_format=torch.channels_last)
        grad_input = torch.empty_like(x)
        rows, grad_output_rows, grad_input_rows = _arrays(x, grad_output, grad_input)
        groups, k, alpha = ctx.constants
        cpu_kernels.backward(rows, grad_output_rows, grad_input_rows, groups, k, alpha, torch.get_num_threads())
        return grad_input, None, None, None


class _MatrixFunction(torch.autograd.Function):
    """Any device; computed in float32 or wider."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, alpha: float, k: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        wide = torch.promote_types(x.dtype, torch.float32)
        weights = torch.from_numpy(alpha * window_matrix(x.shape[1], groups)).to(x.device, wide)
        ctx.k = k
        ctx.save_for_backward(x, weights)
        rows = _rows(x).to(wide)
        _, power = _scale_and_power(rows, weights, k)
        y = torch.empty_like(x)
        _rows(y).copy_(power.mul_(rows))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        x, weights = ctx.saved_tensors
        grad_output = gradients[0].contiguous(memory_format=torch.channels_last)
        rows = _rows(x).to(weights.dtype)
        scale, power = _scale_and_power(rows, weights, ctx.k)
        scaled = power.mul_(_rows(grad_output))
        spread = torch.mm((scaled * rows).div_(scale), weights)
        grad_input = torch.empty_like(x)
        _rows(grad_input).copy_(scaled.sub_(spread.mul_(rows).mul_(2 * BETA)))
        return grad_input, None, None, None


def local_response_norm(
    x: Tensor, groups: int, alpha: float = CONSTANTS["paper"].alpha, k: float = CONSTANTS["paper"].k
) -> Tensor:
    """Normalize (N, C, H, W) across the channels of each of `groups` equal groups; the result is channels-last.

    Computed in float32 at least: bfloat16 has steps of 0.016 at 2, which would lose the sum.
    """
    on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    with torch.autocast(x.device.type, enabled=False):
        function = _KernelFunction if on_cpu else _MatrixFunction
        result: Tensor = function.apply(x, groups, alpha, k)  # type: ignore[no-untyped-call]
    return result


def spatial_norm(x: Tensor) -> Tensor:
    """The authors' second normalization after conv2, which isn't in the paper: over 5x5 pixels of the same map.

    a / (1 + 1e-3 / 25 * sum a^2)^0.75, (N, C, H, W), with zeros beyond the border.
    """
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = F.avg_pool2d(wide * wide, SIZE, 1, SIZE // 2, count_include_pad=True)
        return (wide * (1 + SPATIAL_SCALE * mean) ** -BETA).to(x.dtype)
