"""CPU kernels of local response normalization, compiled by numba on first use (seconds) and cached on disk.

One pass over memory: a row of channels is normalized while it is in the processor's registers and first-level cache.
Rows are channels-last, float32, or bfloat16 as uint16; arithmetic is float32.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from model.compiled_loops import compile_loop

Rows = NDArray[np.float32] | NDArray[np.uint16]

SIXTEEN, HALF, ONE = np.uint32(16), np.uint32(0x7FFF), np.uint32(1)
UNIT = np.float32(1)
FAST = {"contract", "arcp", "nsz", "reassoc"}  # not nnan and ninf: divergence must stay visible


@njit(inline="always")
def _load(row: Any, values: Any, bits: Any) -> None:
    """Load a row as float32 into `values`, whose memory `bits` shares."""
    if row.itemsize == 2:
        for c in range(len(row)):
            bits[c] = np.uint32(row[c]) << SIXTEEN
    else:
        for c in range(len(row)):
            values[c] = row[c]


@njit(inline="always")
def _store(values: Any, bits: Any, row: Any) -> None:
    """Store `values` into a row; for bfloat16, round to nearest, ties to even."""
    if row.itemsize == 2:
        for c in range(len(row)):
            row[c] = np.uint16((bits[c] + HALF + ((bits[c] >> SIXTEEN) & ONE)) >> SIXTEEN)
    else:
        for c in range(len(row)):
            row[c] = values[c]


@compile_loop(fastmath=FAST, error_model="numpy")
def _forward(x: Any, y: Any, groups: int, alpha: float, k: float) -> None:
    rows, channels = x.shape
    width = channels // groups
    k32, alpha32 = np.float32(k), np.float32(alpha)
    bits = np.empty(channels, np.uint32)
    values = bits.view(np.float32)
    square = np.zeros(width + 4, np.float32)  # two zeros at each end: the window of 5 ends at the group's edge
    for r in range(rows):
        _load(x[r], values, bits)
        for t in range(groups):
            v = values[t * width : (t + 1) * width]
            for c in range(width):
                square[c + 2] = v[c] * v[c]
            for c in range(width):
                total = square[c] + square[c + 1] + square[c + 2] + square[c + 3] + square[c + 4]
                root = UNIT / np.sqrt(k32 + alpha32 * total)
                v[c] = v[c] * (root * np.sqrt(root))
        _store(values, bits, y[r])


@compile_loop(fastmath=FAST, error_model="numpy")
def _backward(x: Any, grad_output: Any, grad_input: Any, groups: int, alpha: float, k: float) -> None:
    rows, channels = x.shape
    width = channels // groups
    k32, alpha32, factor = np.float32(k), np.float32(alpha), np.float32(1.5 * alpha)
    x_bits = np.empty(channels, np.uint32)
    g_bits = np.empty(channels, np.uint32)
    x_values, g_values = x_bits.view(np.float32), g_bits.view(np.float32)
    square = np.zeros(width + 4, np.float32)
    term = np.zeros(width + 4, np.float32)
    for r in range(rows):
        _load(x[r], x_values, x_bits)
        _load(grad_output[r], g_values, g_bits)
        for t in range(groups):
            v = x_values[t * width : (t + 1) * width]
            g = g_values[t * width : (t + 1) * width]
            for c in range(width):
                square[c + 2] = v[c] * v[c]
            for c in range(width):
                total = square[c] + square[c + 1] + square[c + 2] + square[c + 3] + square[c + 4]
                root = UNIT / np.sqrt(k32 + alpha32 * total)
                g[c] = g[c] * (root * np.sqrt(root))
                term[c + 2] = g[c] * v[c] * (root * root)
            for c in range(width):
                g[c] -= factor * v[c] * (term[c] + term[c + 1] + term[c + 2] + term[c + 3] + term[c + 4])
        _store(g_values, g_bits, grad_input[r])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lrn")


def _run_parallel(kernel: Any, threads: int, arrays: tuple[Rows, ...], *constants: Any) -> None:
    """Run `kernel` over equal slices of the arrays' rows in parallel."""
    edges = np.linspace(0, len(arrays[0]), threads + 1).astype(int)
    slices = [slice(a, b) for a, b in pairwise(edges)]
    if threads == 1:
        kernel(*arrays, *constants)
        return
    pool = _pool(threads)
    for future in [pool.submit(kernel, *[array[s] for array in arrays], *constants) for s in slices]:
        future.result()


def forward(x: Rows, y: Rows, groups: int, alpha: float, k: float, threads: int) -> None:
    """Normalize the (R, C) rows of `x` into `y`; beta is 0.75."""
    _run_parallel(_forward, threads, (x, y), groups, alpha, k)


def backward(x: Rows, grad_output: Rows, grad_input: Rows, groups: int, alpha: float, k: float, threads: int) -> None:
    """Write the gradient of the input `x` into `grad_input`, given that of the output; all (R, C)."""
    _run_parallel(_backward, threads, (x, grad_output, grad_input), groups, alpha, k)
