"""Check whether the GPU kernels of local response normalization work on a GPU, by trying them on a few numbers.

Importing this module imports torch's compiler, which takes two seconds: import it only for a GPU.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch.nn import functional as F

from model.lrn.formula import CONSTANTS
from model.lrn.matrix import MatrixFunction


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def gpu_kernel_problem(device: torch.device) -> str:
    """Why the kernels of `model.lrn.gpu_kernels` can't be used on `device`, "" if they can.

    They are tried on a few numbers, because triton compiles them on the spot: it needs a C compiler, and doesn't
    support every GPU.
    """
    return find_gpu_kernel_problem(device)


@cache
def find_gpu_kernel_problem(device: torch.device) -> str:
    """`gpu_kernel_problem`; a separate function, because torch.compile would trace into a cached one."""
    if find_spec("triton") is None:
        return "triton is not installed"
    try:
        return _compare_gpu_kernels(device)
    except Exception as error:  # compilers and drivers may raise anything
        return f"triton failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"


@torch.inference_mode(False)
@torch.enable_grad()
def _compare_gpu_kernels(device: torch.device) -> str:
    """Why the kernels can't be used, "" if they return what the formula does in float64."""
    from model.lrn.gpu_kernels import response_norm

    random = torch.randn(2, 2, 12, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, gradient = (100 * random).to(device).unbind()
    x, exact_x = (values.to(dtype, copy=True).requires_grad_() for dtype in (torch.float32, torch.float64))
    y = response_norm(x, 2, *CONSTANTS["paper"], True)
    with torch.autocast(device.type, enabled=False):
        exact_y = MatrixFunction.apply(F.relu(exact_x), 2, *CONSTANTS["paper"])  # type: ignore[no-untyped-call]
    (grad,), (exact_grad,) = (
        torch.autograd.grad(y, x, gradient.float()),
        torch.autograd.grad(exact_y, exact_x, gradient),
    )
    for computed, exact in ((y, exact_y), (grad, exact_grad)):
        if not torch.allclose(computed.double(), exact, rtol=1e-4, atol=1e-3):
            return "its kernels give wrong results on this GPU"
    return ""
