"""Time calls in turns, summarize latencies, and measure the speed of the machine's matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

GFLOP_PER_CROP = 2 * 0.7244
"""GFLOP of the forward pass: 724.4 million multiply-adds with 1000 classes, of which fc8 is less than 1 %."""
GFLOP_PER_IMAGE = 3 * GFLOP_PER_CROP
"""GFLOP of a training step: the backward pass takes twice as many operations as the forward pass."""


def time_call(
    call: Callable[[], object], device: torch.device | None = None, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of one call, including what it started on a GPU. `clock`: time.thread_time for CPU time."""
    start = clock()
    call()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    pause: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each call in each round; the calls take turns, so that a change in the machine's speed affects all.

    Each call first runs once untimed, so that its data is in the processor's cache. `pause`: seconds before that.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(pause)
            call()
            times[name].append(time_call(call, clock=clock))
    return times


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the ratios of the same round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def summarize_latencies(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Number of latencies and their percentiles; no percentiles for an empty list, and p99.9 only for 1,000 or more."""
    percentiles = [p for p, least in ((50, 1), (95, 1), (99, 1), (99.9, 1000)) if len(milliseconds) >= least]
    summary: dict[str, Any] = {f"p{p:g}": float(np.percentile(milliseconds, p)) for p in percentiles}
    return summary | {"count": len(milliseconds)}


def measure_matrix_tflops(device: torch.device, dtype: torch.dtype = torch.float32, size: int | None = None) -> float:
    """TFLOP/s of square matrix products, the best of ten: no program in this precision can be faster.

    On a CPU also as a 1x1 convolution: oneDNN uses AVX-512 on AMD processors, where BLAS libraries don't. `size`: rows
    of a matrix; without it, 2048 on a CPU and 8192 on a GPU. A multiple of 32.
    """
    size = size or (2048 if device.type == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    products: list[Callable[[], Tensor]] = [lambda: torch.mm(a, b)]
    if device.type == "cpu" and dtype in (torch.float32, torch.bfloat16):
        rows = a.reshape(1, size // 32, 32, size).permute(0, 3, 1, 2)  # (1, size, size / 32, 32), channels last
        kernels = b[:, :, None, None].to(memory_format=torch.channels_last)
        products.append(lambda: F.conv2d(rows, kernels))
    seconds = min(time_call(product, device) for product in products for _ in range(10))
    return float(2 * size**3 / seconds / 1e12)
