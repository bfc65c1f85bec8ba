"""The network's layers as ONNX nodes, in float32 or in whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.lrn import formula
from model.network.onnx_builder import Nodes
from model.network.spec import NORMALIZED, POOLED, Architecture, Convolution, convolutions, linears

Array = NDArray[np.float32]
Range = tuple[float, float]
"""The least and the greatest value of an activation."""

WEIGHT_LEVELS = 64
"""Seven bits: processors without VNNI add two products of 8 by 8 bits in 16, and would clip sums of more."""


@dataclass(frozen=True)
class Layers:
    """`weights` by name, constant factors folded in (`folded`). `ranges`, of `points(architecture)`: whole numbers of
    eight bits where they were measured; None: float32."""

    architecture: Architecture
    weights: Mapping[str, Array]
    ranges: Mapping[str, Range] | None = None

    def convolution(self, nodes: Nodes, x: str, layer: str, pads: list[int], part: str = "") -> str:
        """A convolution, if the network has it, with all up to the pooling, as in `model.network.torch_module`.

        `part` tells apart the copies of a layer in one graph.
        """
        found = {convolution.name: convolution for convolution in convolutions(self.architecture)}
        name = f"{part}_{layer}" if part else layer
        if layer in found:
            x = self._convolve(nodes, x, name, pads, found[layer])
        if self.architecture.pool_first or layer not in POOLED:
            return x  # pooled already
        return self._pool(nodes, x, name, layer)

    def _pool(self, nodes: Nodes, x: str, name: str, layer: str) -> str:
        window, pads = [self.architecture.pool] * 2, self.architecture.last_pads(layer)
        over = {"pads": pads} if any(pads) else {}
        return nodes.add("MaxPool", x, name=name.replace("conv", "pool"), kernel_shape=window, strides=[2, 2], **over)

    def classifier(self, nodes: Nodes, x: str) -> tuple[str, str]:
        """(M, 9216) -> probabilities (M, classes) and features (M, hidden)."""
        features = x
        for layer in linears(self.architecture):
            x = nodes.add("Gemm", *self._operands(nodes, x, layer, layer), name=layer, transB=1)
            if layer != "fc8":
                x = nodes.add(self._activation, x, name=f"{layer}_act")
                x = features = self._rounded(nodes, x, f"{layer}.out", layer)
        return nodes.add("Softmax", x, name="softmax", axis=-1), features

    @property
    def _activation(self) -> str:
        return {"relu": "Relu", "tanh": "Tanh"}[self.architecture.activation]

    def _convolve(self, nodes: Nodes, x: str, name: str, pads: list[int], layer: Convolution) -> str:
        norm, kind = name.replace("conv", "lrn"), self.architecture.normalization
        group = 1 if layer.joined else self.architecture.towers
        operands = self._operands(nodes, x, layer.name, name)
        x = nodes.add("Conv", *operands, name=name, group=group, pads=pads, strides=[layer.stride] * 2)
        if kind == "source" and layer.name == "conv1":
            return nodes.add(self._activation, self._normalize(nodes, x, norm, layer), name=f"{name}_act")
        x = self._rounded(nodes, nodes.add(self._activation, x, name=f"{name}_act"), f"{layer.name}.out", name)
        if self.architecture.pool_first and layer.name in POOLED:
            x = self._pool(nodes, x, name, layer.name)
        if layer.name not in NORMALIZED or kind == "none":
            return x
        x = self._normalize(nodes, x, norm, layer)
        return _normalize_over_pixels(nodes, x) if kind == "source" else x

    def _operands(self, nodes: Nodes, x: str, layer: str, name: str) -> tuple[str, str, str]:
        """What a convolution or product works on: activations, weights and bias."""
        weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
        if self.ranges is None:
            return x, nodes.constant(f"{layer}.weight", weight), nodes.constant(f"{layer}.bias", bias)
        scale, _ = _scale(self.ranges[f"{layer}.in"])
        greatest = np.abs(weight.reshape(len(weight), -1)).max(1)
        steps = (np.where(greatest > 0, greatest, 1) / WEIGHT_LEVELS).astype(np.float32)  # one an output
        whole = np.rint(weight / steps.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
        sums = np.rint(bias / (steps * scale)).clip(-(2**31), 2**31 - 1).astype(np.int32)
        return (
            self._rounded(nodes, x, f"{layer}.in", f"{name}_in"),
            _whole(nodes, f"{layer}.weight", whole, steps, name),
            _whole(nodes, f"{layer}.bias", sums, (steps * scale).astype(np.float32), name),
        )

    def _rounded(self, nodes: Nodes, x: str, point: str, name: str) -> str:
        """Eight bits of an activation."""
        if self.ranges is None:
            return x
        scale, zero = _scale(self.ranges[point])
        grid = (nodes.constant(f"{point}.scale", scale), nodes.constant(f"{point}.zero", zero))
        x = nodes.add("QuantizeLinear", x, *grid, name=f"{name}_whole")
        return nodes.add("DequantizeLinear", x, *grid, name=f"{name}_rounded")

    def _normalize(self, nodes: Nodes, x: str, name: str, layer: Convolution) -> str:
        """Section 3.3 as a banded 1x1 convolution and two square roots: faster in onnxruntime than its LRN and Pow."""
        channels, constant = layer.outputs, layer.name.replace("conv", "lrn")
        groups, norm = self.architecture.norm_groups, formula.NORMS[self.architecture.normalization]
        band = norm.alpha * formula.band(channels // groups, 1)
        kernel = np.tile(band, (groups, 1)).astype(np.float32)[:, :, None, None]
        weight = nodes.constant(f"{constant}.band", kernel)  # (channels, width, 1, 1)
        bias = nodes.constant(f"{constant}.k", np.full(channels, norm.k, np.float32))
        square = nodes.add("Mul", x, x, name=f"{name}_square")
        scale = nodes.add("Conv", square, weight, bias, name=f"{name}_scale", group=groups)
        return _over_three_quarters(nodes, x, scale, name)


def folded(architecture: Architecture, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights of a state dict with the constant factors: the input's scale, and dropout's at test."""
    factors = {"conv1.weight": architecture.input_scale}
    factors |= {f"{name}.weight": 1 - architecture.dropout for name in list(linears(architecture))[1:]}
    return {name: value * np.float32(factors.get(name, 1.0)) for name, value in weights.items()}


def points(architecture: Architecture) -> list[str]:
    """Where activations are rounded: into each layer, and out of each after its activation.

    Where both are the same tensor, onnxruntime takes it for one; it needs both to see a whole-number layer.
    """
    names = [*(layer.name for layer in convolutions(architecture)), *linears(architecture)]
    unrounded = {"fc8", "conv1" if architecture.normalization == "source" else ""}
    return [f"{name}.in" for name in names] + [f"{name}.out" for name in names if name not in unrounded]


def _scale(span: Range) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Step and zero of uint8 over a range, which contains 0."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    step = (high - low) / 255 or 1.0
    return np.array(step, np.float32), np.array(round(-low / step), np.uint8)


def _whole(nodes: Nodes, constant: str, values: NDArray[np.generic], steps: Array, name: str) -> str:
    """Whole numbers, with a step for each output. onnxruntime wants to see their zero, too."""
    kept = [nodes.constant(constant, values), nodes.constant(f"{constant}.step", steps)]
    kept.append(nodes.constant(f"{constant}.zero", np.zeros(len(steps), values.dtype)))
    return nodes.add("DequantizeLinear", *kept, name=f"{name}_{constant.rpartition('.')[2]}", axis=0)


def _normalize_over_pixels(nodes: Nodes, x: str) -> str:
    """`model.lrn.functional.spatial_norm`."""
    square = nodes.add("Mul", x, x, name="spatial_square")
    pads, window = [formula.SIZE // 2] * 4, [formula.SIZE] * 2
    mean = nodes.add("AveragePool", square, name="spatial_mean", kernel_shape=window, pads=pads, count_include_pad=1)
    factor = nodes.constant("spatial.scale", np.array([formula.SPATIAL_SCALE], np.float32))
    part = nodes.add("Mul", mean, factor, name="spatial_part")
    scale = nodes.add("Add", part, nodes.constant("spatial.one", np.array([1], np.float32)), name="spatial_sum")
    return _over_three_quarters(nodes, x, scale, "spatial")


def _over_three_quarters(nodes: Nodes, x: str, scale: str, name: str) -> str:
    """x / scale^0.75."""
    root = nodes.add("Sqrt", scale, name=f"{name}_root")
    root4 = nodes.add("Sqrt", root, name=f"{name}_root4")
    return nodes.add("Div", x, nodes.add("Mul", root, root4, name=f"{name}_power"), name=name)
