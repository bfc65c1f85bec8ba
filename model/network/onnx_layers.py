"""The ONNX nodes of a network: interprets the layers of a `NetworkSpec`, in float32 or in int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.lrn import formula
from model.network.onnx_builder import GraphBuilder
from model.network.spec import (
    LRN,
    Activation,
    ActivationFunction,
    Conv,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    NetworkSpec,
    Padding,
    SpatialNorm,
    Weighted,
)

Array = NDArray[np.float32]
Range = tuple[float, float]
"""Minimum and maximum of an activation."""

ACTIVATION_OPERATORS: dict[ActivationFunction, tuple[str, ...]] = {
    "relu": ("Relu",),
    "tanh": ("Tanh",),
    "sigmoid": ("Sigmoid",),
    "abs-tanh": ("Tanh", "Abs"),
}
"""ONNX operators of an activation function, in order."""
WEIGHT_LEVELS = 64
"""Seven-bit weights: processors without VNNI add two 8 x 8-bit products in 16 bits, which saturates with eight bits."""
MAX_BIAS = 2**30
"""Largest bias in steps: it leaves room in int32 for the products that are added to it."""


@dataclass(frozen=True)
class LayerWriter:
    """Writes layers as nodes of a graph.

    `weights`: weights and biases by name, constant factors folded in (`fold_constants`). `ranges`: of the activations
    at all `quantization_points`, for int8; None: float32. `pooled`: see `quantized_pooling`; empty for float32.
    """

    weights: Mapping[str, Array]
    ranges: Mapping[str, Range] | None = None
    pooled: Mapping[str, str] = field(default_factory=dict)

    def write(
        self, graph: GraphBuilder, x: str, layers: Sequence[Layer], copy: str = "", padding: Padding | None = None
    ) -> str:
        """Add the nodes of `layers` with the input `x`; returns their output.

        `copy`: distinguishes several copies of a layer in one graph. `padding`: replaces that of convolutions.
        """
        previous = None
        for layer in layers:
            name = f"{copy}_{layer.name}" if copy else layer.name
            if isinstance(layer, LRN):
                x = self._normalize(graph, x, layer, name, previous)
            else:
                x = self._write(graph, x, layer, name, padding)
            previous = layer
        return x

    def _normalize(self, graph: GraphBuilder, x: str, layer: LRN, name: str, previous: Layer | None) -> str:
        is_nonnegative = isinstance(previous, Activation) and previous.function != "tanh"
        if self.ranges is None or not is_nonnegative:
            return _normalize(graph, x, layer, name)
        return _normalize_channels_last(graph, x, layer, name)

    def _write(self, graph: GraphBuilder, x: str, layer: Layer, name: str, padding: Padding | None) -> str:
        if isinstance(layer, Conv):
            operands = self._operands(graph, x, layer, name)
            attributes = {"group": layer.groups, "pads": padding or layer.padding, "strides": [layer.stride] * 2}
            return graph.add("Conv", *operands, name=name, **attributes)
        if isinstance(layer, Linear):
            return graph.add("Gemm", *self._operands(graph, x, layer, name), name=name, transB=1)
        if isinstance(layer, Activation):
            *first, last = ACTIVATION_OPERATORS[layer.function]
            for operator in first:
                x = graph.add(operator, x, name=f"{name}_{operator.lower()}")
            x = graph.add(last, x, name=name)
            return self._fake_quantize(graph, x, layer.name, name) if layer.quantize else x
        if isinstance(layer, SpatialNorm):
            return _normalize_over_pixels(graph, x, name)
        if isinstance(layer, MaxPool):
            pads = {"pads": layer.padding} if layer.ceil_mode else {}
            window = {"kernel_shape": [layer.kernel_size] * 2, "strides": [layer.stride] * 2}
            if layer.name in self.pooled:
                x = graph.add(
                    "QuantizeLinear", x, *self._grid(graph, self.pooled[layer.name]), name=f"{name}_quantized"
                )
            return graph.add("MaxPool", x, name=name, **window, **pads)
        if isinstance(layer, Flatten):
            return graph.add("Flatten", x, name=name)
        assert isinstance(layer, Dropout)
        return x  # a constant factor, which is folded into the next layer's weights

    def _operands(self, graph: GraphBuilder, x: str, layer: Weighted, name: str) -> tuple[str, str, str]:
        """Input, weight and bias of a convolution or product."""
        weight, bias = self.weights[f"{layer.name}.weight"], self.weights[f"{layer.name}.bias"]
        if self.ranges is None or not layer.quantize:
            return x, graph.constant(f"{layer.name}.weight", weight), graph.constant(f"{layer.name}.bias", bias)
        point = f"{layer.name}.in"
        scale, _ = _scale_and_zero(self.ranges[point])
        maximum = np.abs(weight.reshape(len(weight), -1)).max(1)
        weight_steps = np.where(maximum > 0, maximum, 1) / WEIGHT_LEVELS  # one per output
        bias_steps = np.abs(bias) / (scale * MAX_BIAS)  # larger where the weights are almost 0
        steps = np.maximum(weight_steps, bias_steps).astype(np.float32)
        weight_int8 = np.rint(weight / steps.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
        bias_int32 = np.rint(bias.astype(np.float64) / (steps * scale)).astype(np.int32)
        if point in self.pooled.values():
            x = graph.add("DequantizeLinear", x, *self._grid(graph, point), name=f"{name}_in_dequantized")
        else:
            x = self._fake_quantize(graph, x, point, f"{name}_in")
        return (
            x,
            _quantized_constant(graph, f"{layer.name}.weight", weight_int8, steps, name),
            _quantized_constant(graph, f"{layer.name}.bias", bias_int32, (steps * scale).astype(np.float32), name),
        )

    def _fake_quantize(self, graph: GraphBuilder, x: str, point: str, name: str) -> str:
        """Round an activation to uint8 and back."""
        if self.ranges is None:
            return x
        grid = self._grid(graph, point)
        x = graph.add("QuantizeLinear", x, *grid, name=f"{name}_quantized")
        return graph.add("DequantizeLinear", x, *grid, name=f"{name}_dequantized")

    def _grid(self, graph: GraphBuilder, point: str) -> tuple[str, str]:
        """Step and zero point of a quantization point, as constants."""
        assert self.ranges is not None
        scale, zero = _scale_and_zero(self.ranges[point])
        return graph.constant(f"{point}.scale", scale), graph.constant(f"{point}.zero", zero)


def fold_constants(spec: NetworkSpec, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights and biases of a state dict, multiplied by the constant factors of the layers' inputs."""
    factors = {f"{layer.name}.weight": factor for layer, factor in spec.constant_factors()}
    return {name: value * np.float32(factors.get(name, 1.0)) for name, value in weights.items()}


def quantized_pooling(spec: NetworkSpec) -> dict[str, str]:
    """Max pooling layers directly before a quantized layer -> that layer's quantization point.

    Rounding is monotonic, so the maximum of rounded values is the rounded maximum: pooling in uint8 is exact, and reads
    a quarter of the bytes.
    """
    layers = [layer for layer in spec.layers if not isinstance(layer, Dropout | Flatten)]
    return {
        pool.name: f"{layer.name}.in"
        for pool, layer in pairwise(layers)
        if isinstance(pool, MaxPool) and isinstance(layer, Weighted) and layer.quantize
    }


def quantization_points(spec: NetworkSpec) -> list[str]:
    """Where activations are quantized: LAYER.in of layers with weights, and the outputs of activations.

    Where both are the same tensor, onnxruntime merges them; it needs both to recognize an int8 layer.
    """
    inputs = [f"{layer.name}.in" for layer in spec.weighted_layers if layer.quantize]
    return inputs + [layer.name for layer in spec.layers if isinstance(layer, Activation) and layer.quantize]


def _scale_and_zero(span: Range) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Step and zero point of uint8 over a range, which is extended to contain 0."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    step = (high - low) / 255 or 1.0
    return np.array(step, np.float32), np.array(round(-low / step), np.uint8)


def _quantized_constant(
    graph: GraphBuilder, constant: str, values: NDArray[np.generic], steps: Array, name: str
) -> str:
    """Integers with a step per output. onnxruntime needs their zero points, too."""
    operands = [graph.constant(constant, values), graph.constant(f"{constant}.step", steps)]
    operands.append(graph.constant(f"{constant}.zero", np.zeros(len(steps), values.dtype)))
    return graph.add("DequantizeLinear", *operands, name=f"{name}_{constant.rpartition('.')[2]}", axis=0)


def _normalize(graph: GraphBuilder, x: str, layer: LRN, name: str) -> str:
    """Section 3.3 as a banded 1x1 convolution and two square roots: faster in onnxruntime than its LRN and Pow."""
    window = layer.alpha * formula.window_matrix(layer.channels // layer.groups, 1)
    kernel = np.tile(window, (layer.groups, 1)).astype(np.float32)[:, :, None, None]
    weight = graph.constant(f"{layer.name}.band", kernel)  # (channels, channels of a group, 1, 1)
    bias = graph.constant(f"{layer.name}.k", np.full(layer.channels, layer.k, np.float32))
    square = graph.add("Mul", x, x, name=f"{name}_square")
    scale = graph.add("Conv", square, weight, bias, name=f"{name}_scale", group=layer.groups)
    return _divide_by_power(graph, x, scale, name)


def _normalize_channels_last(graph: GraphBuilder, x: str, layer: LRN, name: str) -> str:
    """`_normalize` for nonnegative values, as a matrix product over the last axis: x / s^0.75 is the root of
    x^2 / s^1.5.

    onnxruntime's int8 convolutions and pooling have their channels last. Only x^2 is read: if x were read twice,
    onnxruntime would convert it from uint8 twice.
    """
    channels = layer.channels // layer.groups
    window = layer.alpha * formula.window_matrix(channels, 1)
    weight = graph.constant(f"{layer.name}.band", window.astype(np.float32))
    bias = graph.constant(f"{layer.name}.k", np.full(channels, layer.k, np.float32))
    x = graph.add("Transpose", x, name=f"{name}_last", perm=[0, 2, 3, 1])
    square = graph.add("Pow", x, graph.constant("two", np.array(2, np.float32)), name=f"{name}_square")
    rows = graph.add("Reshape", square, graph.int64s(-1, channels), name=f"{name}_rows")
    scale = graph.add("Gemm", rows, weight, bias, name=f"{name}_scale")
    root = graph.add("Sqrt", scale, name=f"{name}_root")
    power = graph.add("Mul", scale, root, name=f"{name}_power")
    result = graph.add("Sqrt", graph.add("Div", rows, power, name=f"{name}_ratio"), name=f"{name}_root_of_ratio")
    result = graph.add("Reshape", result, graph.add("Shape", square, name=f"{name}_shape"), name=f"{name}_maps")
    return graph.add("Transpose", result, name=f"{name}_first", perm=[0, 3, 1, 2])


def _normalize_over_pixels(graph: GraphBuilder, x: str, name: str) -> str:
    """`model.lrn.functional.spatial_norm`."""
    square = graph.add("Mul", x, x, name=f"{name}_square")
    pads, window = [formula.SIZE // 2] * 4, [formula.SIZE] * 2
    mean = graph.add("AveragePool", square, name=f"{name}_mean", kernel_shape=window, pads=pads, count_include_pad=1)
    factor = graph.constant(f"{name}.scale", np.array([formula.SPATIAL_SCALE], np.float32))
    scaled = graph.add("Mul", mean, factor, name=f"{name}_scaled")
    scale = graph.add("Add", scaled, graph.constant(f"{name}.one", np.array([1], np.float32)), name=f"{name}_sum")
    return _divide_by_power(graph, x, scale, name)


def _divide_by_power(graph: GraphBuilder, x: str, scale: str, name: str) -> str:
    """x / scale^0.75."""
    root = graph.add("Sqrt", scale, name=f"{name}_root")
    root4 = graph.add("Sqrt", root, name=f"{name}_root4")
    return graph.add("Div", x, graph.add("Mul", root, root4, name=f"{name}_power"), name=name)
