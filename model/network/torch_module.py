"""The network of the paper (section 3): two towers that meet at conv3 and in the fully connected layers.

    layer   kernels            sees           output              after
    input                                     3 x 224 x 224       mean subtracted
    conv1   96  of 11x11x3 /4  the image    96 x 55 x 55        ReLU, LRN, pool -> 96 x 27 x 27
    conv2   256 of 5x5x48      its own tower  256 x 27 x 27       ReLU, LRN, pool -> 256 x 13 x 13
    conv3   384 of 3x3x256     both towers    384 x 13 x 13       ReLU
    conv4   384 of 3x3x192     its own tower  384 x 13 x 13       ReLU
    conv5   256 of 3x3x192     its own tower  256 x 13 x 13       ReLU, pool -> 256 x 6 x 6
    fc6     4096               all 9216       4096                ReLU, dropout
    fc7     4096               all 4096       4096 = `features`   ReLU, dropout
    fc8     one a class        all 4096       logits

60,965,224 parameters with 1000 classes. On one device the towers are the two groups of grouped convolutions; with one
tower a process, each process has one group and `model.network.tower_parallel` carries what the other sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.exceptions import TrainingError
from model.lrn.formula import NORMS
from model.lrn.functional import local_response_norm, spatial_norm
from model.network.spec import BORDERS, NORMALIZED, POOLED, WIDTHS, Architecture, convolutions, linears
from model.network.tower_parallel import Exchange


class Answer(NamedTuple):
    """`logits` (N, classes) and `features` (N, hidden): the last hidden layer after its ReLU, before dropout."""

    logits: Tensor
    features: Tensor


class AlexNet(nn.Module):
    """(N, 3, 224, 224) RGB pixels 0..255 with the mean subtracted -> `Answer`.

    With an exchange between processes this is one tower: half of every layer, and `features` are its half.
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d
    conv5: nn.Conv2d
    conv6: nn.Conv2d
    fc6: nn.Linear
    fc7: nn.Linear
    fc8: nn.Linear

    def __init__(self, architecture: Architecture, exchange: Exchange | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.exchange = exchange or Exchange()
        parts = self.exchange.parts
        if architecture.towers % parts:
            raise TrainingError(f"expected a network of {parts} towers for {parts} processes, found one tower")
        if parts > 1 and architecture.normalization == "caffe":
            raise TrainingError("expected one process a network whose normalization reaches across towers, found two")
        self.groups = architecture.towers // parts
        self.convolutions = convolutions(architecture)
        for c in self.convolutions:
            groups = 1 if c.joined else self.groups
            inputs = c.inputs if c.joined else c.inputs // parts
            setattr(self, c.name, nn.Conv2d(inputs, c.outputs // parts, c.kernel, c.stride, c.padding, groups=groups))
        for name, (inputs, outputs) in linears(architecture).items():
            cut = (inputs // parts, outputs) if name == "fc8" else (inputs, outputs // parts)
            setattr(self, name, nn.Linear(*cut))

    def forward(self, x: Tensor, kept: tuple[Tensor, ...] | None = None) -> Answer:
        """`kept`: in training, 0 or 1 for each output of fc6 and fc7 (section 4.2). At test, outputs are multiplied by
        the probability of being kept instead; there is no rescaling in training."""
        architecture = self.architecture
        act = torch.tanh if architecture.activation == "tanh" else F.relu
        x = x * architecture.input_scale
        # 224 pixels, an 11-pixel window and stride 4 give 55 only by the ceil rule: the last window reaches pixel 227.
        top, left, bottom, right = BORDERS[architecture.border]
        x = F.pad(x, (left, right, top, bottom))
        for name in WIDTHS:  # (N, 96, 55, 55), (N, 256, 27, 27), (N, 384, 13, 13) twice, (N, 256, 13, 13)
            if name != architecture.without:
                x = self._convolve(name, x, act)
            if name in POOLED and not architecture.pool_first:
                x = self._pool(name, x)  # to 27 x 27, 13 x 13, 6 x 6
        if architecture.sixth:
            x = act(self.conv6(self.exchange.gather(x)))  # (N, 256, 6, 6)
        x = x.flatten(1)  # (N, 9216)
        features, masks = x, list(kept or ())
        for name in ("fc6", "fc7"):
            if name != architecture.without:
                features = act(getattr(self, name)(self.exchange.gather(x)))  # (N, hidden)
                x = features * (masks.pop(0) if kept is not None else 1 - architecture.dropout)
        logits = self.exchange.total(F.linear(x, self.fc8.weight)) + self.fc8.bias
        return Answer(logits, features)

    def _convolve(self, name: str, x: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
        """A convolution with what belongs to it up to the pooling."""
        architecture = self.architecture
        layer = next(c for c in self.convolutions if c.name == name)
        x = self.get_submodule(name)(self.exchange.gather(x) if layer.joined and name != "conv1" else x)
        norm = NORMS.get(architecture.normalization)
        if norm is not None and architecture.normalization == "source" and name == "conv1":
            return act(local_response_norm(x, self.groups, norm))
        x = act(x)
        if architecture.pool_first and name in POOLED:
            x = self._pool(name, x)
        if name not in NORMALIZED or norm is None:
            return x
        x = local_response_norm(x, 1 if norm.across else self.groups, norm)
        return spatial_norm(x) if architecture.normalization == "source" else x

    def _pool(self, name: str, x: Tensor) -> Tensor:
        """Over the edge by the ceil rule, where the maps are those of an image without a border."""
        return F.max_pool2d(x, self.architecture.pool, 2, ceil_mode=any(self.architecture.last_pads(name)))
