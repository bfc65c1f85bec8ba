"""Measure a device's peaks: matrix products in each precision, and copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from benchmarks.gpu.rows import PartOptions, RowWriter
from benchmarks.timing import measure_matrix_tflops, time_call

QUICK_SIZE = 256
ROUNDS = 10


@contextmanager
def tf32(is_allowed: bool) -> Iterator[None]:
    """Set whether a GPU may compute float32 products and convolutions in TF32, which has a 10-bit mantissa."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def measure_peak_tflops(precision: str, options: PartOptions) -> float:
    """TFLOP/s of square matrix products in float32, TF32, bfloat16 or float16, the best of ten."""
    dtype = torch.float32 if precision == "TF32" else getattr(torch, precision)
    with tf32(precision == "TF32"):
        return measure_matrix_tflops(torch.device(options.device), dtype, QUICK_SIZE if options.is_quick else None)


def measure_int8_tops(options: PartOptions) -> float:
    """10^12 operations per second of int8 matrix products with int32 sums, the best of ten."""
    size = QUICK_SIZE if options.is_quick else 8192
    device = torch.device(options.device)
    a, b = (torch.randint(-128, 128, (size, size), dtype=torch.int8, device=device) for _ in range(2))
    seconds = min(time_call(lambda: torch._int_mm(a, b.t()), device) for _ in range(ROUNDS))
    return float(2 * size**3 / seconds / 1e12)


def measure_copies(options: PartOptions, source: torch.device) -> float:
    """GB/s of copies from the memory of `source` to the device's; within one memory, reads and writes both count."""
    device = torch.device(options.device)
    count = 2**22 if options.is_quick else 2**30
    pinned = source.type == "cpu" and device.type == "cuda"
    data = torch.zeros(count, dtype=torch.uint8, device=source, pin_memory=pinned)
    target = torch.empty(count, dtype=torch.uint8, device=device)
    seconds = min(time_call(lambda: target.copy_(data), device) for _ in range(ROUNDS))
    return (2 if source == device else 1) * count / seconds / 1e9


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Measure matrix products in float32, TF32, bfloat16, float16 and int8, and copies on the device and to it."""
    on_gpu, device = options.device == "cuda", torch.device(options.device)
    for precision in ("float32", "TF32", "bfloat16", "float16"):
        name = f"matrix product, {precision}"
        if precision == "TF32" and not on_gpu:
            rows.leave_out(name, "only GPUs have TF32")
        else:
            rows.measure(name, partial(_name, "tflops", partial(measure_peak_tflops, precision, options)))
    rows.measure("matrix product, int8", partial(_name, "tops", partial(measure_int8_tops, options)))
    rows.measure("copy on the device", partial(_name, "gb_per_second", partial(measure_copies, options, device)))
    name, cpu = "copy from pinned memory", torch.device("cpu")
    if on_gpu:
        rows.measure(name, partial(_name, "gb_per_second", partial(measure_copies, options, cpu)))
    else:
        rows.leave_out(name, "the CPU has no memory of its own to copy to")


def _name(unit: str, measure_value: Callable[[], float]) -> dict[str, float]:
    return {unit: measure_value()}
