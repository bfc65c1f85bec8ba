"""Local response normalization (paper, section 3.3): the constants, and which channels are in a window.

    b_i = a_i / (k + alpha * sum_j a_j^2)^beta,   j from i - n/2 to i + n/2, n=5, beta=0.75

As printed in the paper, the sum is not divided by n (alpha = 1e-4). PyTorch, ONNX and Caffe divide alpha by n: their
5e-4 is the paper's 1e-4. The authors' program and Caffe's networks also divide 1e-4 by n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 5
BETA = 0.75
"""Fixed: s^-0.75 is computed from square roots."""
SPATIAL_SCALE = 1e-3
"""Constant of the authors' second normalization, over pixels."""


class Constants(NamedTuple):
    """`alpha` (not divided by n) and k of the formula."""

    alpha: float
    k: float


CONSTANTS = {"paper": Constants(1e-4, 2.0), "source": Constants(1e-4 / SIZE, 2.0), "caffe": Constants(1e-4 / SIZE, 1.0)}
"""The constants of the paper, of the authors' program, and of Caffe's networks."""


def window_matrix(channels: int, groups: int) -> NDArray[np.float64]:
    """(channels, channels): 1 where two channels are in the same group and at most n/2 apart, else 0."""
    position = np.arange(channels)
    near = np.abs(position[:, None] - position) <= SIZE // 2
    group = position // (channels // groups)
    matrix: NDArray[np.float64] = (near & (group[:, None] == group)).astype(np.float64)
    return matrix
