"""The networks: a builder of a `NetworkSpec` for each name. A new network takes one more function and entry.

The network of the paper (section 3), two towers that meet at conv3 and in the fully connected layers:

    layer   kernels            input            output              followed by
    input                                       3 x 224 x 224       mean subtraction
    conv1   96  of 11x11x3 /4  the image        96 x 55 x 55        ReLU, LRN, pooling -> 96 x 27 x 27
    conv2   256 of 5x5x48      its own tower    256 x 27 x 27       ReLU, LRN, pooling -> 256 x 13 x 13
    conv3   384 of 3x3x256     both towers      384 x 13 x 13       ReLU
    conv4   384 of 3x3x192     its own tower    384 x 13 x 13       ReLU
    conv5   256 of 3x3x192     its own tower    256 x 13 x 13       ReLU, pooling -> 256 x 6 x 6
    fc6     4096               all 9216         4096                ReLU, dropout
    fc7     4096               all 4096         4096 = features     ReLU, dropout
    fc8     one per class      all 4096         logits

60,965,224 parameters with 1000 classes.

`_Variant` has what differs between these networks. For another geometry, add its kernel sizes and strides to
`_convolutional_layers`, and set `ceil_mode` in `_pool` where its maps need it. Everything else follows the
specification: training, export, crops and published weights. Only the optimization for ten crops needs the geometry
above; `model.network.ten_crop_graph.can_share_crops` turns it off for others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from model.exceptions import NetworkConfigError
from model.lrn.formula import CONSTANTS
from model.network.spec import (
    LRN,
    Activation,
    Conv,
    Dropout,
    Flatten,
    Init,
    InitScheme,
    Layer,
    Linear,
    MaxPool,
    NetworkConfig,
    NetworkSpec,
    Padding,
    SpatialNorm,
)

CHANNELS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
ONE_TOWER_CHANNELS = {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 256}
TORCHVISION_CHANNELS = {"conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256}
OMITTABLE = ("conv2", "conv3", "conv4", "conv5", "fc7")
LAYER_NAMES = (*CHANNELS, "conv6", "fc6", "fc7", "fc8")
"""Every name that a layer with weights can have."""
POOLED, NORMALIZED = ("conv1", "conv2", "conv5"), ("conv1", "conv2")
CONV_GEOMETRY: tuple[int, int, Padding] = (3, 1, (1,) * 4)
"""Kernel size, stride and padding of conv3 to conv6."""
FLAT_PIXELS = 6 * 6
"""Pixels per map before fc6."""


@dataclass(frozen=True)
class _Variant:
    """What distinguishes a network from the paper's and isn't an option of `NetworkConfig`.

    `conv1_padding`: 224 pixels, windows of 11 and stride 4 give 55 positions with 3 zeros at the bottom and right,
    because the last window reaches pixel 227. Without zeros there are 54, and the last pooling needs `ceil_mode`.
    `normalization`: None takes `NetworkConfig.normalization`. `pool_first`: pooling before normalization.
    `extra_conv`: a sixth convolution after the last pooling.
    """

    channels: Mapping[str, int]
    towers: int = 2
    conv1_padding: Padding = (0, 0, 3, 3)
    normalization: Literal["caffe", "none"] | None = None
    pool_first: bool = False
    ceil_mode: bool = False
    extra_conv: bool = False


def alexnet(config: NetworkConfig) -> NetworkSpec:
    """The network of the paper."""
    return _build(config, _Variant(CHANNELS))


def alexnet_one_tower(config: NetworkConfig) -> NetworkSpec:
    """The half-size network of the paper's footnote 2, with the same fully connected layers and last convolution."""
    return _build(config, _Variant(ONE_TOWER_CHANNELS, towers=1))


def alexnet_six_conv(config: NetworkConfig) -> NetworkSpec:
    """A sixth convolution after the last pooling, as in the networks of section 6 trained on more classes."""
    return _build(config, _Variant(CHANNELS, extra_conv=True))


def bvlc_alexnet(config: NetworkConfig) -> NetworkSpec:
    """Caffe's AlexNet: alpha / n, k = 1, normalization over the channels of both towers."""
    _check_fixed_options(config)
    return _build(config, _Variant(CHANNELS, conv1_padding=(0,) * 4, normalization="caffe", ceil_mode=True))


def caffenet(config: NetworkConfig) -> NetworkSpec:
    """Caffe's CaffeNet: as `bvlc_alexnet`, with pooling before normalization."""
    _check_fixed_options(config)
    variant = _Variant(CHANNELS, conv1_padding=(0,) * 4, normalization="caffe", pool_first=True, ceil_mode=True)
    return _build(config, variant)


def torchvision_alexnet(config: NetworkConfig) -> NetworkSpec:
    """torchvision's: the one-tower network of Krizhevsky 2014, without normalization."""
    _check_fixed_options(config)
    return _build(config, _Variant(TORCHVISION_CHANNELS, towers=1, conv1_padding=(2,) * 4, normalization="none"))


NETWORKS: dict[str, Callable[[NetworkConfig], NetworkSpec]] = {
    "alexnet": alexnet,
    "alexnet-one-tower": alexnet_one_tower,
    "alexnet-six-conv": alexnet_six_conv,
    "bvlc-alexnet": bvlc_alexnet,
    "caffenet": caffenet,
    "torchvision-alexnet": torchvision_alexnet,
}


def build_spec(config: NetworkConfig) -> NetworkSpec:
    """The specification of the network with these options. Raises NetworkConfigError."""
    if config.name not in NETWORKS:
        raise NetworkConfigError(f"unknown network {config.name!r}: choose one of {', '.join(NETWORKS)}")
    return NETWORKS[config.name](config)


def _check_fixed_options(config: NetworkConfig) -> None:
    """Raise NetworkConfigError if an option that published networks fix was changed."""
    variable = ("name", "num_classes", "hidden", "dropout", "input_scale", "input_size", "mean", "channels")
    for field in fields(NetworkConfig):
        if field.name not in variable and getattr(config, field.name) != field.default:
            raise NetworkConfigError(f"the option {field.name} can't be changed in the network {config.name}")


def _build(config: NetworkConfig, variant: _Variant) -> NetworkSpec:
    if config.omit_layer and config.omit_layer not in OMITTABLE:
        raise NetworkConfigError(f"can't omit layer {config.omit_layer!r}: choose one of {', '.join(OMITTABLE)}")
    layers = _convolutional_layers(config, variant, _channels(config, variant))
    last = next(layer for layer in reversed(layers) if isinstance(layer, Conv))
    return NetworkSpec(config, variant.towers, (*layers, *_fully_connected_layers(config, last.out_channels)))


def _channels(config: NetworkConfig, variant: _Variant) -> dict[str, int]:
    if not config.channels:
        return dict(variant.channels)
    divisible = all(count >= 1 and count % variant.towers == 0 for count in config.channels)
    if len(config.channels) != len(CHANNELS) or not divisible:
        raise NetworkConfigError(
            f"invalid channels {config.channels}: give {len(CHANNELS)} positive multiples of {variant.towers}, the "
            "number of towers"
        )
    return dict(zip(CHANNELS, config.channels, strict=True))


def _convolutional_layers(config: NetworkConfig, variant: _Variant, channels: Mapping[str, int]) -> list[Layer]:
    geometries: dict[str, tuple[int, int, Padding]] = {
        "conv1": (11, 4, variant.conv1_padding),
        "conv2": (5, 1, (2,) * 4),
    }
    # without conv3, the towers meet at conv4
    meeting = "conv4" if config.omit_layer == "conv3" else "conv3"
    layers: list[Layer] = []
    in_channels = 3
    for name, out_channels in channels.items():
        if name == config.omit_layer:
            if name in POOLED:
                layers.append(_pool(config, variant, name))
            continue
        sees_all = name == "conv1" or (name == meeting and config.conv3_cross_tower)
        groups = 1 if sees_all else variant.towers
        layers += _conv_block(
            config, variant, _conv(name, in_channels, out_channels, *geometries.get(name, CONV_GEOMETRY), groups)
        )
        in_channels = out_channels
    if variant.extra_conv:
        conv6 = _conv("conv6", in_channels, channels["conv5"], *CONV_GEOMETRY, 1)
        layers += [conv6, Activation("conv6_act", config.activation)]
    return [*layers, Flatten("flatten")]


def _conv_block(config: NetworkConfig, variant: _Variant, conv: Conv) -> list[Layer]:
    """A convolution with its activation, normalization and pooling."""
    kind = variant.normalization or config.normalization
    norms: list[Layer] = []
    if conv.name in NORMALIZED and kind != "none":
        constants = CONSTANTS[kind]
        groups = 1 if kind == "caffe" else variant.towers
        norms.append(LRN(conv.name.replace("conv", "lrn"), conv.out_channels, groups, constants.alpha, constants.k))
    if kind == "source" and conv.name == "conv1":  # in the authors' program, before the activation
        return [
            conv,
            *norms,
            Activation("conv1_act", config.activation, quantize=False),
            _pool(config, variant, "conv1"),
        ]
    if kind == "source" and conv.name == "conv2":
        norms.append(SpatialNorm("spatial_norm"))
    pools: list[Layer] = [_pool(config, variant, conv.name)] if conv.name in POOLED else []
    after = [*pools, *norms] if variant.pool_first else [*norms, *pools]
    return [conv, Activation(f"{conv.name}_act", config.activation), *after]


def _pool(config: NetworkConfig, variant: _Variant, conv: str) -> MaxPool:
    ceil_mode = variant.ceil_mode and conv == "conv5"  # 12 x 12 maps -> 6 x 6
    return MaxPool(conv.replace("conv", "pool"), config.pool_size, ceil_mode=ceil_mode)


def _fully_connected_layers(config: NetworkConfig, channels: int) -> list[Layer]:
    layers: list[Layer] = []
    in_features = FLAT_PIXELS * channels
    for name in ("fc6", "fc7"):
        if name == config.omit_layer:
            continue
        keep = 1.0 if name == "fc6" else 1 - config.dropout  # of its inputs
        layers += [
            Linear(name, in_features, config.hidden, "column", _init(in_features * keep, bias=1.0)),
            Activation(f"{name}_act", config.activation),
            Dropout(f"{name}_dropout", config.hidden, config.dropout),
        ]
        in_features = config.hidden
    return [*layers, Linear("fc8", in_features, config.num_classes, "row", _OUTPUT_INIT)]


def _conv(
    name: str, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: Padding, groups: int
) -> Conv:
    init = _init(
        in_channels // groups * kernel_size**2,
        bias=0.0 if name in ("conv1", "conv3") else 1.0,
        source_std=0.01 if name in ("conv1", "conv2") else 0.03,
    )
    early = name == "conv1"
    return Conv(name, in_channels, out_channels, kernel_size, stride, padding, groups, init, anneals_early=early)


def _init(fan_in: float, bias: float, source_std: float = 0.01) -> dict[InitScheme, Init]:
    """`paper`: section 5. `source`: the authors' program. `he`: for small datasets, where `paper` makes no progress at
    first. `fan_in`: inputs per output that dropout doesn't set to zero."""
    return {"paper": Init(0.01, bias), "source": Init(source_std, bias), "he": Init((2 / fan_in) ** 0.5, 0.0)}


_OUTPUT_INIT: dict[InitScheme, Init] = dict.fromkeys(("paper", "source", "he"), Init(0.01, 0.0))
