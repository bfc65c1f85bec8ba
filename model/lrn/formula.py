"""Local response normalization (paper, section 3.3): its constants, and who is near whom.

    b_i = a_i / (k + alpha * sum_j a_j^2)^beta,   j from i - n/2 to i + n/2, n=5, beta=0.75

The sum is not divided by n, as printed in the paper (alpha = 1e-4). PyTorch, ONNX and Caffe divide alpha by n: their
5e-4 is the paper's 1e-4. The authors' program and Caffe's networks divide it too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 5
BETA = 0.75
"""Fixed: the code takes s^-0.75 from square roots."""
SPATIAL_SCALE = 1e-3
"""Of the second normalization in the authors' program, over pixels."""


class Norm(NamedTuple):
    """Constants. `across`: the window reaches over the border between towers."""

    alpha: float
    k: float
    across: bool = False


NORMS = {"paper": Norm(1e-4, 2.0), "source": Norm(1e-4 / SIZE, 2.0), "caffe": Norm(1e-4 / SIZE, 1.0, across=True)}


def band(channels: int, groups: int) -> NDArray[np.float64]:
    """(channels, channels): 1 where two channels are of one group and at most n/2 apart."""
    position = np.arange(channels)
    near = np.abs(position[:, None] - position) <= SIZE // 2
    group = position // (channels // groups)
    matrix: NDArray[np.float64] = (near & (group[:, None] == group)).astype(np.float64)
    return matrix
