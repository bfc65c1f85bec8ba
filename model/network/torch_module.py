"""The torch module of a network: interprets the layers of a `NetworkSpec`.

On one device the towers are the two groups of grouped convolutions. With one tower per process, each process has one
group, and a `model.network.tower_parallel.DistributedExchange` transfers what the towers see of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.exceptions import NetworkConfigError
from model.lrn.functional import local_response_norm, spatial_norm
from model.network.spec import (
    LRN,
    Activation,
    Conv,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    NetworkSpec,
    SpatialNorm,
    Weighted,
)
from model.network.tower_parallel import Exchange, LocalExchange

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "abs-tanh": lambda x: torch.tanh(x).abs(),
}


class ForwardOutput(NamedTuple):
    """`logits` (N, num_classes) and `features` (N, hidden): the last hidden layer after its activation."""

    logits: Tensor
    features: Tensor


class AlexNet(nn.Module):
    """(N, 3, input_size, input_size) RGB pixels 0..255, mean subtracted -> `ForwardOutput`.

    The layers with weights are submodules with the names that they have in the specification. With a distributed
    exchange the module holds one tower, which is half of every layer, and returns its half of the features.

    Raises NetworkConfigError if the network can't be partitioned between the processes of the exchange.
    """

    def __init__(self, spec: NetworkSpec, exchange: Exchange | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.exchange = exchange or LocalExchange()
        _check_divisible(spec, self.exchange.size)
        for layer in spec.weighted_layers:
            setattr(self, layer.name, _make_module(layer, self.exchange.size))

    def forward(
        self, x: Tensor, dropout_masks: tuple[Tensor, ...] | None = None, start_layer: int = 0
    ) -> ForwardOutput:
        """Compute the logits and features of crops.

        `dropout_masks`: in training, 0 or 1, (N, features) per dropout layer, in order (section 4.2). Without them,
        outputs are multiplied by the probability of being kept; there is no rescaling in training. `start_layer`: the
        number of feature layers that have been run already (`run_first_layers`); `x` is then their output.
        """
        masks = None if dropout_masks is None else iter(dropout_masks)
        if not start_layer:
            x = x * self.spec.config.input_scale
        features = self._run(self.spec.feature_layers[start_layer:], x, masks)
        return ForwardOutput(self._run(self.spec.output_layers, features, masks), features)

    def run_first_layers(self, x: Tensor, count: int) -> Tensor:
        """The output of the first `count` feature layers, none of which may be dropout."""
        return self._run(self.spec.feature_layers[:count], x * self.spec.config.input_scale, None)

    def _run(self, layers: Sequence[Layer], x: Tensor, masks: Iterator[Tensor] | None) -> Tensor:
        for layer, relu in _fuse_relu(layers):
            x = self._run_layer(layer, x, masks, relu)
        return x

    def _run_layer(self, layer: Layer, x: Tensor, masks: Iterator[Tensor] | None, relu: bool) -> Tensor:
        if isinstance(layer, Conv):
            return self._apply_conv(layer, x)
        if isinstance(layer, Linear):
            return self._apply_linear(layer, x)
        if isinstance(layer, Activation):
            return ACTIVATIONS[layer.function](x)
        if isinstance(layer, LRN):
            return local_response_norm(x, max(1, layer.groups // self.exchange.size), layer.alpha, layer.k, relu)
        if isinstance(layer, SpatialNorm):
            return spatial_norm(x)
        if isinstance(layer, MaxPool):
            return F.max_pool2d(x, layer.kernel_size, layer.stride, ceil_mode=layer.ceil_mode)
        if isinstance(layer, Dropout):
            return x * (next(masks) if masks is not None else 1 - layer.p)
        assert isinstance(layer, Flatten)
        return x.flatten(1)

    def _apply_conv(self, layer: Conv, x: Tensor) -> Tensor:
        if layer is not self.spec.layers[0] and layer.partitioning == "column":
            x = self.exchange.gather(x)
        if not _is_symmetric(layer):
            top, left, bottom, right = layer.padding
            x = F.pad(x, (left, right, top, bottom))
        result: Tensor = self.get_submodule(layer.name)(x)
        return result

    def _apply_linear(self, layer: Linear, x: Tensor) -> Tensor:
        if layer.partitioning == "row":
            weight, bias = (self.get_parameter(f"{layer.name}.{kind}") for kind in ("weight", "bias"))
            return self.exchange.all_reduce(F.linear(x, weight)) + bias
        result: Tensor = self.get_submodule(layer.name)(self.exchange.gather(x))
        return result


def _fuse_relu(layers: Sequence[Layer]) -> Iterator[tuple[Layer, bool]]:
    """Yield the layers, and whether each also applies the ReLU before it, as LRN does; that ReLU is left out."""
    relu = False
    for layer, following in zip(layers, (*layers[1:], None), strict=True):
        if isinstance(layer, Activation) and layer.function == "relu" and isinstance(following, LRN):
            relu = True
        else:
            yield layer, relu
            relu = False


def _make_module(layer: Weighted, num_processes: int) -> nn.Conv2d | nn.Linear:
    """The part of a layer that one process holds."""
    if isinstance(layer, Linear):
        if layer.partitioning == "row":
            return nn.Linear(layer.in_features // num_processes, layer.out_features)
        return nn.Linear(layer.in_features, layer.out_features // num_processes)
    divided = layer.partitioning == "tower"
    return nn.Conv2d(
        layer.in_channels // num_processes if divided else layer.in_channels,
        layer.out_channels // num_processes,
        layer.kernel_size,
        layer.stride,
        layer.padding[0] if _is_symmetric(layer) else 0,
        groups=layer.groups // num_processes if divided else 1,
    )


def _is_symmetric(layer: Conv) -> bool:
    return len(set(layer.padding)) == 1


def _check_divisible(spec: NetworkSpec, num_processes: int) -> None:
    """Raise NetworkConfigError unless the processes can hold an equal number of towers each."""
    if spec.towers % num_processes:
        raise NetworkConfigError(
            f"{spec.config.name} has one tower: it can't be divided between {num_processes} processes"
        )
    if num_processes > 1 and any(isinstance(layer, LRN) and layer.groups < spec.towers for layer in spec.layers):
        raise NetworkConfigError(
            f"{spec.config.name} normalizes across both towers: train it with one process per network"
        )
