"""The network of the paper (section 3): two towers that meet at conv3 and in the fully connected layers.

    layer   kernels            sees           output              after
    input                                     3 x 224 x 224       mean subtracted
    conv1   96  of 11x11x3 /4  the picture    96 x 55 x 55        ReLU, LRN, pool -> 96 x 27 x 27
    conv2   256 of 5x5x48      its own tower  256 x 27 x 27       ReLU, LRN, pool -> 256 x 13 x 13
    conv3   384 of 3x3x256     both towers    384 x 13 x 13       ReLU
    conv4   384 of 3x3x192     its own tower  384 x 13 x 13       ReLU
    conv5   256 of 3x3x192     its own tower  256 x 13 x 13       ReLU, pool -> 256 x 6 x 6
    fc6     4096               all 9216       4096                ReLU, dropout
    fc7     4096               all 4096       4096 = `features`   ReLU, dropout
    fc8     one a class        all 4096       logits

60,965,224 parameters with 1000 classes. On one device the towers are the two groups of grouped convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.lrn import local_response_norm

TOWERS = 2
BIASED_LAYERS = ("conv2", "conv4", "conv5", "fc6", "fc7")
"""Layers whose biases start at 1 in the paper (section 5)."""


@dataclass(frozen=True)
class Architecture:
    """What is chosen about the network; the rest is the paper's.

    `hidden` is the width of fc6 and fc7: 4096, or a few in tests. `dropout` is the probability of setting an output of
    fc6 or fc7 to zero. `input_scale` multiplies the mean-subtracted pixels: 1 in the paper.
    """

    classes: int = 1000
    hidden: int = 4096
    dropout: float = 0.5
    input_scale: float = 1.0


class Answer(NamedTuple):
    """`logits` (N, classes) and `features` (N, hidden): the last hidden layer after ReLU, before dropout."""

    logits: Tensor
    features: Tensor


class PaperDropout(nn.Module):
    """Section 4.2: zero with probability p in training; multiply by 1 - p at test, with no rescaling in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x * (1 - self.p)
        return x * torch.empty_like(x).bernoulli_(1 - self.p)


class AlexNet(nn.Module):
    """(N, 3, 224, 224) RGB pixels 0..255 with the mean subtracted -> `Answer`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        hidden = architecture.hidden
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=TOWERS)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=TOWERS)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=TOWERS)
        self.fc6 = nn.Linear(256 * 6 * 6, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, architecture.classes)
        self.dropout = PaperDropout(architecture.dropout)

    def forward(self, x: Tensor) -> Answer:
        x = x * self.architecture.input_scale
        # 224 pixels, an 11-pixel window and stride 4 give 55 only by the ceil rule: the last window reaches pixel 227.
        x = F.pad(x, (0, 3, 0, 3))
        x = F.relu(self.conv1(x))  # (N, 96, 55, 55)
        x = F.max_pool2d(local_response_norm(x, TOWERS), 3, 2)  # (N, 96, 27, 27)
        x = F.relu(self.conv2(x))  # (N, 256, 27, 27)
        x = F.max_pool2d(local_response_norm(x, TOWERS), 3, 2)  # (N, 256, 13, 13)
        x = F.relu(self.conv3(x))  # (N, 384, 13, 13)
        x = F.relu(self.conv4(x))  # (N, 384, 13, 13)
        x = F.relu(self.conv5(x))  # (N, 256, 13, 13)
        x = F.max_pool2d(x, 3, 2).flatten(1)  # (N, 9216)
        x = self.dropout(F.relu(self.fc6(x)))  # (N, hidden)
        features = F.relu(self.fc7(x))  # (N, hidden)
        return Answer(self.fc8(self.dropout(features)), features)


def initialise(network: AlexNet, scheme: str, generator: torch.Generator) -> None:
    """Set all weights and biases in place, reproducibly.

    `paper` (section 5): N(0, 0.01) weights, biases 1 in `BIASED_LAYERS`, 0 elsewhere. `he`: N(0, 2 / fan-in) weights,
    corrected for dropout in fc7, 0.01 in fc8, zero biases; for small data sets, where `paper` stays at its flat start.
    """
    for name, layer in network.named_children():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        assert layer.bias is not None
        deviation = 0.01
        if scheme == "he" and name != "fc8":
            kept = 1 - network.architecture.dropout if name == "fc7" else 1.0
            deviation = (2 / (layer.weight[0].numel() * kept)) ** 0.5
        nn.init.normal_(layer.weight, 0.0, deviation, generator=generator)
        nn.init.constant_(layer.bias, 1.0 if scheme == "paper" and name in BIASED_LAYERS else 0.0)
