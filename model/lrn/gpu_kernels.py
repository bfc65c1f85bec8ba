"""GPU kernels of local response normalization in the Triton language, fused with the ReLU before it if there is one.

One pass over memory each way: forward reads x and writes y, backward reads x and the output's gradient and writes the
input's. Nothing else is kept. Elements are float32, bfloat16 or float16; arithmetic is float32.

With channels last, the groups of all pixels are consecutive rows of `WIDTH` channels. A thread computes four channels
of a row at a time, and also loads the four before and after them, which other threads load too: the cache serves them.
If `WIDTH` is a multiple of four, loads are whole vectors, and no thread waits for another. Beyond a row's ends there
are zeros.

ReLU is fused: on its own it would move as much memory as the normalization. Pooling isn't, because that would more than
double the arithmetic (docs/decisions/0022).

Importing this module needs triton, which PyTorch's CUDA builds include.
"""

# ruff: noqa: N803, N806 (Triton's constants are written in capitals)

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256
"""Groups of four channels per program, two for each of its threads."""
NUM_WARPS = 4


@triton.jit
def _places(count: tl.tensor, WIDTH: tl.constexpr, BLOCK: tl.constexpr) -> tl.tensor:
    """(BLOCK, 4) offsets of this program's channels, and masks: whether these, the four before, and those after exist.

    `count`: groups of four channels in the whole tensor; a row's last one may be incomplete.
    """
    PER_ROW: tl.constexpr = (WIDTH + 3) // 4
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, four = number // PER_ROW, number % PER_ROW
    place = tl.arange(0, 4)[None, :]
    channels = 4 * four[:, None] + place
    inside = (number < count)[:, None]
    before = inside & (four[:, None] > 0) & (place >= 0)
    return row[:, None] * WIDTH + channels, inside & (channels < WIDTH), before, inside & (channels + 4 < WIDTH)


@triton.jit
def _load(pointers: tl.tensor, mask: tl.tensor, RELU: tl.constexpr) -> tl.tensor:
    """Four (BLOCK,) float32 tensors from (BLOCK, 4) pointers, zero where masked out; ReLU if `RELU`. NaN stays NaN."""
    values = tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        values = tl.where(values <= 0, 0.0, values)
    even, odd = tl.split(tl.reshape(values, (values.shape[0], 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def _store(
    pointers: tl.tensor, first: tl.tensor, second: tl.tensor, third: tl.tensor, fourth: tl.tensor, mask: tl.tensor
) -> None:
    """The inverse of `_load`."""
    pairs = tl.join(tl.join(first, third), tl.join(second, fourth))
    values = tl.reshape(pairs, (pairs.shape[0], 4))
    tl.store(pointers, values.to(pointers.dtype.element_ty), mask=mask)


@triton.jit
def _root(
    a: tl.tensor, b: tl.tensor, c: tl.tensor, d: tl.tensor, e: tl.tensor, alpha: tl.tensor, k: tl.tensor
) -> tl.tensor:
    """scale^-0.5 of the window of these five channels."""
    return tl.rsqrt(k + alpha * (a * a + b * b + c * c + d * d + e * e))


@triton.jit
def _normalized(
    a: tl.tensor, b: tl.tensor, c: tl.tensor, d: tl.tensor, e: tl.tensor, alpha: tl.tensor, k: tl.tensor
) -> tl.tensor:
    """The middle one of five channels times scale^-0.75."""
    root = _root(a, b, c, d, e, alpha, k)
    return c * (root * tl.sqrt(root))


@triton.jit
def _scaled(
    gradient: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    c: tl.tensor,
    d: tl.tensor,
    e: tl.tensor,
    alpha: tl.tensor,
    k: tl.tensor,
) -> tl.tensor:
    """The output's gradient times scale^-0.75, and what the middle channel adds to its window's gradients."""
    root = _root(a, b, c, d, e, alpha, k)
    scaled = gradient * (root * tl.sqrt(root))
    return scaled, scaled * c * (root * root)


@triton.jit
def _gradient(x: tl.tensor, scaled: tl.tensor, total: tl.tensor, factor: tl.tensor, RELU: tl.constexpr) -> tl.tensor:
    """The gradient of a channel, given the sum over its window; zero where ReLU gave zero."""
    gradient = scaled - factor * x * total
    if RELU:
        gradient = tl.where(x == 0, 0.0, gradient)
    return gradient


@triton.jit
def forward_kernel(
    x: tl.tensor,
    y: tl.tensor,
    count: tl.tensor,
    alpha: tl.tensor,
    k: tl.tensor,
    WIDTH: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Normalize the rows of `x` into `y`; beta is 0.75. A thread computes channels 4 to 7 of those named here."""
    places, own, before, after = _places(count, WIDTH, BLOCK)
    _, _, x2, x3 = _load(x + places - 4, before, RELU)
    x4, x5, x6, x7 = _load(x + places, own, RELU)
    x8, x9, _, _ = _load(x + places + 4, after, RELU)
    y4 = _normalized(x2, x3, x4, x5, x6, alpha, k)
    y5 = _normalized(x3, x4, x5, x6, x7, alpha, k)
    y6 = _normalized(x4, x5, x6, x7, x8, alpha, k)
    y7 = _normalized(x5, x6, x7, x8, x9, alpha, k)
    _store(y + places, y4, y5, y6, y7, own)


@triton.jit
def backward_kernel(
    x: tl.tensor,
    grad_output: tl.tensor,
    grad_input: tl.tensor,
    count: tl.tensor,
    alpha: tl.tensor,
    k: tl.tensor,
    WIDTH: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the gradient of the input `x` into `grad_input`, given that of the output; channels as in forward."""
    places, own, before, after = _places(count, WIDTH, BLOCK)
    x0, x1, x2, x3 = _load(x + places - 4, before, RELU)
    x4, x5, x6, x7 = _load(x + places, own, RELU)
    x8, x9, x10, x11 = _load(x + places + 4, after, RELU)
    _, _, g2, g3 = _load(grad_output + places - 4, before, False)
    g4, g5, g6, g7 = _load(grad_output + places, own, False)
    g8, g9, _, _ = _load(grad_output + places + 4, after, False)
    _, t2 = _scaled(g2, x0, x1, x2, x3, x4, alpha, k)
    _, t3 = _scaled(g3, x1, x2, x3, x4, x5, alpha, k)
    g4, t4 = _scaled(g4, x2, x3, x4, x5, x6, alpha, k)
    g5, t5 = _scaled(g5, x3, x4, x5, x6, x7, alpha, k)
    g6, t6 = _scaled(g6, x4, x5, x6, x7, x8, alpha, k)
    g7, t7 = _scaled(g7, x5, x6, x7, x8, x9, alpha, k)
    _, t8 = _scaled(g8, x6, x7, x8, x9, x10, alpha, k)
    _, t9 = _scaled(g9, x7, x8, x9, x10, x11, alpha, k)
    factor = 1.5 * alpha
    g4 = _gradient(x4, g4, t2 + t3 + t4 + t5 + t6, factor, RELU)
    g5 = _gradient(x5, g5, t3 + t4 + t5 + t6 + t7, factor, RELU)
    g6 = _gradient(x6, g6, t4 + t5 + t6 + t7 + t8, factor, RELU)
    g7 = _gradient(x7, g7, t5 + t6 + t7 + t8 + t9, factor, RELU)
    _store(grad_input + places, g4, g5, g6, g7, own)


def _run(kernel: Any, tensors: tuple[Tensor, ...], groups: int, alpha: float, k: float, relu: bool) -> None:
    """Run a kernel over channels-last tensors of one shape, the last of which it writes."""
    first = tensors[0]
    width = first.shape[1] // groups
    count = first.numel() // width * triton.cdiv(width, 4)
    if not count:
        return
    grid = (triton.cdiv(count, BLOCK),)
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        kernel[grid](*tensors, count, alpha, k, WIDTH=width, RELU=relu, BLOCK=BLOCK, num_warps=NUM_WARPS)


@torch.library.custom_op("alexnet::response_norm", mutates_args=())
def response_norm(x: Tensor, groups: int, alpha: float, k: float, relu: bool) -> Tensor:
    """Normalize (N, C, H, W), of fewer than 2^31 elements, within each of `groups` groups; the result is channels-last
    and has a gradient.

    `relu`: apply ReLU to `x` first.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    _run(forward_kernel, (x, y), groups, alpha, k, relu)
    return y


@torch.library.custom_op("alexnet::response_norm_backward", mutates_args=())
def response_norm_backward(x: Tensor, grad_output: Tensor, groups: int, alpha: float, k: float, relu: bool) -> Tensor:
    """The gradient of `response_norm`'s `x`, given that of its output."""
    x = x.contiguous(memory_format=torch.channels_last)
    grad_output = grad_output.to(x.dtype).contiguous(memory_format=torch.channels_last)
    grad_input = torch.empty_like(x, memory_format=torch.channels_last)
    _run(backward_kernel, (x, grad_output, grad_input), groups, alpha, k, relu)
    return grad_input


@response_norm.register_fake
def _fake(x: Tensor, groups: int, alpha: float, k: float, relu: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@response_norm_backward.register_fake
def _fake_backward(x: Tensor, grad_output: Tensor, groups: int, alpha: float, k: float, relu: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *ctx.constants = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None, None]:
    (x,) = ctx.saved_tensors
    return response_norm_backward(x, grad_output, *ctx.constants), None, None, None, None


response_norm.register_autograd(_differentiate, setup_context=_save)
