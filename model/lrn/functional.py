"""Local response normalization in torch, forward and backward (formula: `model.lrn.formula`).

Only the input is kept for the backward pass. On the CPU the kernels of `model.lrn.cpu_kernels` do the work, on a GPU
those of `model.lrn.gpu_kernels`. If neither can, and in float64, the window sum is a product with a banded matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.lrn.formula import BETA, CONSTANTS, SIZE, SPATIAL_SCALE
from model.lrn.matrix import MatrixFunction, as_rows

GPU = "cuda"
GPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MAX_GPU_ELEMENTS = 2**31 - 1
"""Of a tensor: the GPU kernels use 32-bit indices."""


def _arrays(*tensors: Tensor) -> list[Any]:
    """The rows of CPU tensors as numpy arrays, bfloat16 as uint16."""
    return [as_rows(t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


class _KernelFunction(torch.autograd.Function):
    """The CPU kernels, for float32 or bfloat16."""

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


def local_response_norm(
    x: Tensor,
    groups: int,
    alpha: float = CONSTANTS["paper"].alpha,
    k: float = CONSTANTS["paper"].k,
    relu: bool = False,
) -> Tensor:
    """Normalize (N, C, H, W) across the channels of each of `groups` equal groups; the result is channels-last.

    `relu`: apply ReLU to `x` first. Computed at least in float32: bfloat16 has steps of 0.016 at 2, which would lose
    the sum.
    """
    with torch.autocast(x.device.type, enabled=False):
        if _runs_gpu_kernels(x):
            from model.lrn.gpu_kernels import response_norm

            normalized: Tensor = response_norm(x, groups, alpha, k, relu)
            return normalized
        on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
        function = _KernelFunction if on_cpu else MatrixFunction
        result: Tensor = function.apply(F.relu(x) if relu else x, groups, alpha, k)  # type: ignore[no-untyped-call]
    return result


def _runs_gpu_kernels(x: Tensor) -> bool:
    if x.device.type != GPU or x.dtype not in GPU_DTYPES or x.numel() > MAX_GPU_ELEMENTS:
        return False
    from model.lrn.gpu_check import gpu_kernel_problem  # imports torch's compiler, which takes two seconds

    return not gpu_kernel_problem(x.device)


def spatial_norm(x: Tensor) -> Tensor:
    """The authors' second normalization after conv2, which isn't in the paper: over 5x5 pixels of the same map.

    a / (1 + 1e-3 / 25 * sum a^2)^0.75, (N, C, H, W), with zeros beyond the border.
    """
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = F.avg_pool2d(wide * wide, SIZE, 1, SIZE // 2, count_include_pad=True)
        return (wide * (1 + SPATIAL_SCALE * mean) ** -BETA).to(x.dtype)
