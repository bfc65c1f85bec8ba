"""Specification of a network: its layers in order of execution.

A layer also says how its weights are initialized, whether it is quantized, and how it is partitioned between processes.
`model.network.torch_module` and `model.network.onnx_layers` interpret a specification, and the readers in
`model.pretrained` compare files with it. `model.network.registry` builds the specifications.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from pydantic import ConfigDict

from model.exceptions import NetworkConfigError

InitScheme = Literal["paper", "source", "he"]
"""How weights are initialized: as in section 5, as in the authors' program, or by fan-in (He et al. 2015)."""
ActivationFunction = Literal["relu", "tanh", "sigmoid", "abs-tanh"]
Padding = tuple[int, int, int, int]
"""Zeros at the top, left, bottom and right."""
Partitioning = Literal["tower", "column", "row"]
"""How a layer is partitioned between processes that hold one tower each (column and row: the terms of Megatron-LM).

`tower`: the outputs are partitioned, and each sees the inputs of its own tower. `column`: the outputs are partitioned,
and each sees the inputs of all towers, which are gathered first. `row`: the inputs are partitioned, and the partial
sums are added up; every process holds the whole bias.
"""


class Init(NamedTuple):
    """Weights from a normal distribution with mean 0 and this standard deviation, and a constant bias."""

    std: float
    bias: float


@dataclass(frozen=True)
class Conv:
    """A grouped convolution. The channel counts include all towers.

    `anneals_early`: the authors' recipe lowers its learning rate first. `quantize`: whether `alexnet quantize`
    quantizes its weights and inputs to int8.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: Padding
    groups: int
    init: Mapping[InitScheme, Init]
    anneals_early: bool = False
    quantize: bool = True

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.out_channels, self.in_channels // self.groups, self.kernel_size, self.kernel_size

    @property
    def partitioning(self) -> Partitioning:
        return "tower" if self.groups > 1 else "column"


@dataclass(frozen=True)
class Linear:
    """A fully connected layer. `quantize`: whether `alexnet quantize` quantizes its weights and inputs to int8."""

    name: str
    in_features: int
    out_features: int
    partitioning: Partitioning
    init: Mapping[InitScheme, Init]
    quantize: bool = True

    @property
    def weight_shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features


@dataclass(frozen=True)
class Activation:
    """ReLU, tanh, the logistic sigmoid, or the absolute value of tanh (Jarrett et al. 2009).

    `quantize`: also quantize its output; False if another layer stands between it and its convolution.
    """

    name: str
    function: ActivationFunction
    quantize: bool = True


@dataclass(frozen=True)
class LRN:
    """Local response normalization (section 3.3) within each of `groups` groups of channels.

    `alpha` isn't divided by the size of the window; see `model.lrn.formula`.
    """

    name: str
    channels: int
    groups: int
    alpha: float
    k: float


@dataclass(frozen=True)
class SpatialNorm:
    """The authors' second normalization after conv2, over 5 x 5 pixels of the same map (`model.lrn.functional`)."""

    name: str


@dataclass(frozen=True)
class MaxPool:
    """Max pooling (section 3.4). `ceil_mode`: the last window may reach beyond the edge by one pixel."""

    name: str
    kernel_size: int
    stride: int = 2
    ceil_mode: bool = False

    @property
    def padding(self) -> Padding:
        return (0, 0, 1, 1) if self.ceil_mode else (0, 0, 0, 0)


@dataclass(frozen=True)
class Flatten:
    """(N, C, H, W) -> (N, C * H * W)."""

    name: str


@dataclass(frozen=True)
class Dropout:
    """Dropout of the paper (section 4.2).

    In training, it zeroes each output with probability `p`; in evaluation, it multiplies all outputs by 1 - p.
    """

    name: str
    features: int
    p: float


Weighted = Conv | Linear
Layer = Conv | Linear | Activation | LRN | SpatialNorm | MaxPool | Flatten | Dropout


@dataclass(frozen=True)
class NetworkConfig:
    """The options of a network, stored in manifests and checkpoints. The defaults are the paper's.

    `name`: a key of `model.network.registry.NETWORKS`. `hidden`: outputs of fc6 and of fc7. `dropout`: probability
    of setting an output of fc6 or fc7 to zero. `input_scale`: factor of the pixels after the mean is subtracted.
    `input_size`: pixels per side of a crop. `mean`: what is subtracted from a crop: the mean image cropped at the
    same position (`own`), or always its center crop (`center`, as in the authors' program). `pool_size`: window of
    the max pooling with stride 2; windows of 3 overlap, windows of 2 don't; both give maps of the same size.
    `normalization`: `paper` (section 3.3), `source` (the authors' program: alpha / n, before the first ReLU, and a
    second normalization over pixels after conv2) or `none`. `conv3_cross_tower`: whether conv3 sees both towers.
    `omit_layer`: a layer to leave out. `channels`: outputs of conv1 to conv5; empty for the network's own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str = "alexnet"
    num_classes: int = 1000
    hidden: int = 4096
    dropout: float = 0.5
    input_scale: float = 1.0
    input_size: Literal[224, 227] = 224
    mean: Literal["own", "center"] = "own"
    activation: ActivationFunction = "relu"
    pool_size: Literal[2, 3] = 3
    normalization: Literal["paper", "source", "none"] = "paper"
    conv3_cross_tower: bool = True
    omit_layer: str = ""
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.hidden < 2 or self.hidden % 2:
            raise NetworkConfigError(f"invalid hidden width {self.hidden}: it must be even and at least 2")
        if not 0 <= self.dropout < 1:
            raise NetworkConfigError(f"invalid dropout probability {self.dropout}: it must be at least 0 and below 1")


@dataclass(frozen=True)
class NetworkSpec:
    """The layers of a network, from a crop (3, input_size, input_size) to the logits of the classes.

    The mean has been subtracted from the crop, and its pixels are multiplied by `config.input_scale` before the first
    layer.
    """

    config: NetworkConfig
    towers: int
    layers: tuple[Layer, ...]

    @property
    def weighted_layers(self) -> list[Weighted]:
        """The layers with weights and biases."""
        return [layer for layer in self.layers if isinstance(layer, Weighted)]

    @property
    def convolutions(self) -> list[Conv]:
        return [layer for layer in self.layers if isinstance(layer, Conv)]

    @property
    def linears(self) -> list[Linear]:
        return [layer for layer in self.layers if isinstance(layer, Linear)]

    @property
    def dropouts(self) -> list[Dropout]:
        return [layer for layer in self.layers if isinstance(layer, Dropout)]

    @property
    def feature_layers(self) -> tuple[Layer, ...]:
        """The layers up to the features: the last hidden layer after its activation, before dropout."""
        return self.layers[: self._features_end]

    @property
    def output_layers(self) -> tuple[Layer, ...]:
        """The layers from the features to the logits."""
        return self.layers[self._features_end :]

    @property
    def blocks(self) -> list[tuple[Layer, ...]]:
        """Each layer with weights, and the layers after it up to the next one with weights."""
        starts = [place for place, layer in enumerate(self.layers) if isinstance(layer, Weighted)]
        return [self.layers[start:end] for start, end in zip(starts, [*starts[1:], len(self.layers)], strict=True)]

    def constant_factors(self) -> Iterator[tuple[Weighted, float]]:
        """Each layer with weights, and the constant factor of its inputs in evaluation.

        The factors are the input scale and dropout's 1 - p; ONNX networks have them folded into the weights.
        """
        factor = self.config.input_scale
        for layer in self.layers:
            if isinstance(layer, Dropout):
                factor *= 1 - layer.p
            elif isinstance(layer, Weighted):
                yield layer, factor
                factor = 1.0

    @property
    def _features_end(self) -> int:
        return max(place for place, layer in enumerate(self.layers) if isinstance(layer, Activation)) + 1
