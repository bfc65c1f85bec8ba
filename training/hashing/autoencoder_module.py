"""Features to a binary code and back (paper, section 6.1: an autoencoder compresses them to short codes)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Autoencoder(nn.Module):
    """(N, dim) features -> (N, bits) numbers whose signs are the code -> (N, dim) features.

    The encoder is a linear projection, which can begin as a known coder's, and a correction of it by one hidden layer,
    which begins as zero. `unit`: the features' standard deviation, by which the hidden layer and the decoder count.
    """

    def __init__(self, dim: int, bits: int, hidden: int, unit: float) -> None:
        super().__init__()
        self.unit = unit
        self.straight = nn.Linear(dim, bits)
        self.hidden, self.correction = nn.Linear(dim, hidden), nn.Linear(hidden, bits)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        self.decoder = nn.Sequential(nn.Linear(bits, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def encode(self, features: Tensor) -> Tensor:
        """(N, dim) -> (N, bits), the bits' values before their threshold at zero."""
        straight: Tensor = self.straight(features)
        correction: Tensor = self.correction(F.relu(self.hidden(features / self.unit)))
        return straight + correction

    def decode(self, code: Tensor) -> Tensor:
        """(N, bits) of -1..1 -> (N, dim) features in units of `unit`."""
        features: Tensor = self.decoder(code)
        return features


def binary(values: Tensor, steepness: float, noise: float) -> Tensor:
    """Values before the threshold -> -1..1, by a tanh that is made ever steeper.

    `noise`, as a standard deviation, drives values away from the threshold (Salakhutdinov and Hinton's deep codes).
    """
    return torch.tanh(steepness * (values + noise * torch.randn_like(values)))
