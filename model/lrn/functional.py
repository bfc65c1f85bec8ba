"""Local response normalization in torch, forward and backward (formula: `model.lrn.formula`).

Only the input is kept for the backward pass. On the CPU the kernels of `model.lrn.cpu_kernels` do the work, on a GPU
those of `model.lrn.gpu_kernels`. Where neither can, and in float64, the window sum is a product with a banded matrix.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.lrn.formula import BETA, CONSTANTS, SIZE, SPATIAL_SCALE, window_matrix

GPU = "cuda"
GPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MAX_GPU_ELEMENTS = 2**31 - 1
"""Of a tensor: places in it are 32-bit integers in the GPU kernels."""


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
        ctx.constants = groups, alpha, k
        y = torch.empty_like(x)
        rows, result = _arrays(x.detach(), y)
        cpu_kernels.forward(rows, result, groups, alpha, k, torch.get_num_threads())
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        from model.lrn import cpu_kernels

        (x,) = ctx.saved_tensors
        grad_output = gradients[0].contiguous(memory_format=torch.channels_last)
        grad_input = torch.empty_like(x)
        rows, grad_output_rows, grad_input_rows = _arrays(x, grad_output, grad_input)
        groups, alpha, k = ctx.constants
        cpu_kernels.backward(rows, grad_output_rows, grad_input_rows, groups, alpha, k, torch.get_num_threads())
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
    x: Tensor,
    groups: int,
    alpha: float = CONSTANTS["paper"].alpha,
    k: float = CONSTANTS["paper"].k,
    relu: bool = False,
) -> Tensor:
    """Normalize (N, C, H, W) across the channels of each of `groups` equal groups; the result is channels-last.

    `relu`: of ReLU of `x`. Computed in float32 at least: bfloat16 has steps of 0.016 at 2, which would lose the sum.
    """
    with torch.autocast(x.device.type, enabled=False):
        if _runs_gpu_kernels(x):
            from model.lrn.gpu_kernels import response_norm

            normalized: Tensor = response_norm(x, groups, alpha, k, relu)
            return normalized
        on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
        function = _KernelFunction if on_cpu else _MatrixFunction
        result: Tensor = function.apply(F.relu(x) if relu else x, groups, alpha, k)  # type: ignore[no-untyped-call]
    return result


def _runs_gpu_kernels(x: Tensor) -> bool:
    fits = x.device.type == GPU and x.dtype in GPU_DTYPES and x.numel() <= MAX_GPU_ELEMENTS
    return fits and not gpu_kernel_problem(x.device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def gpu_kernel_problem(device: torch.device) -> str:
    """Why the kernels of `model.lrn.gpu_kernels` can't be used on `device`, "" if they can.

    They are tried on a few numbers, because triton compiles them there: it needs a C compiler, and supports not every
    GPU.
    """
    return find_gpu_kernel_problem(device)


@cache
def find_gpu_kernel_problem(device: torch.device) -> str:
    """`gpu_kernel_problem`, apart from it because torch.compile would look into a cached function."""
    if find_spec("triton") is None:
        return "triton is not installed"
    try:
        return _compare_gpu_kernels(device)
    except Exception as error:  # of the compilers and drivers, in any form
        return f"triton failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"


@torch.inference_mode(False)
@torch.enable_grad()
def _compare_gpu_kernels(device: torch.device) -> str:
    """An empty sentence if the kernels return what the formula does in float64."""
    from model.lrn.gpu_kernels import response_norm

    random = torch.randn(2, 2, 12, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, gradient = (100 * random).to(device).unbind()
    x, exact_x = (values.to(dtype, copy=True).requires_grad_() for dtype in (torch.float32, torch.float64))
    y, exact_y = response_norm(x, 2, *CONSTANTS["paper"], True), local_response_norm(exact_x, 2, relu=True)
    (grad,), (exact_grad,) = (
        torch.autograd.grad(y, x, gradient.float()),
        torch.autograd.grad(exact_y, exact_x, gradient),
    )
    for computed, exact in ((y, exact_y), (grad, exact_grad)):
        if not torch.allclose(computed.double(), exact, rtol=1e-4, atol=1e-3):
            return "its kernels don't return what the formula does on this GPU"
    return ""


def spatial_norm(x: Tensor) -> Tensor:
    """The authors' second normalization after conv2, which isn't in the paper: over 5x5 pixels of the same map.

    a / (1 + 1e-3 / 25 * sum a^2)^0.75, (N, C, H, W), with zeros beyond the border.
    """
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = F.avg_pool2d(wide * wide, SIZE, 1, SIZE // 2, count_include_pad=True)
        return (wide * (1 + SPATIAL_SCALE * mean) ** -BETA).to(x.dtype)
