"""The served ONNX graph: plain pixels in, probabilities and features out.

Inputs: `pictures` uint8 (N, 256, 256, 3) RGB and `views` int64 (V), ids 0 to 9 of `model.views`.
Outputs: `probabilities` float32 (N, classes), the mean of the softmax over the views (paper, section 4.1), and
`features` float32 (N, hidden), the last hidden layer after ReLU, mean over the views (section 6.1).

Cropping, mirroring, mean subtraction and averaging are nodes of the graph, so any ONNX runtime that loads the file gets
the right answer. Constant factors (the input scale, dropout's factor at test) are folded into the next layer's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model import lrn
from model.architecture import NORMALISED, POOLED, WIDTHS, Architecture, Convolution, convolutions, linears
from model.preprocess import SIDE
from model.views import CENTRE, CROP, coordinates

OPSET = 17
IR_VERSION = 8

Array = NDArray[np.float32]


class _Graph:
    """Nodes and constants in the order in which they are added; each call returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name


def build(architecture: Architecture, weights: Mapping[str, Array], mean: Array) -> onnx.ModelProto:
    """The graph of a trained network.

    `weights` as in the network's state dict: convolutions (out, in / groups, h, w), fully connected (out, in).
    `mean` (256, 256, 3): the mean picture of the training set, 0..255.
    """
    graph = _Graph()
    x = _crops(graph, mean, architecture.mean)
    x = _convolutions(graph, x, weights, architecture)
    probabilities, features = _classifier(graph, x, weights, architecture)
    for name, source in (("probabilities", probabilities), ("features", features)):
        _mean_over_views(graph, source, name)
    proto = helper.make_graph(
        graph.nodes,
        "alexnet",
        [
            helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", SIDE, SIDE, 3]),
            helper.make_tensor_value_info("views", TensorProto.INT64, ["V"]),
        ],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", architecture.classes]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", architecture.hidden]),
        ],
        graph.constants,
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="alexnet-server",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _crops(graph: _Graph, mean: Array, window: str) -> str:
    """(N, 256, 256, 3) uint8 -> (N * V, 3, 224, 224) float32 with the mean subtracted."""
    rows, columns = coordinates()
    row = graph.add("Gather", graph.constant("view_rows", rows * SIDE), "views", name="rows")  # (V, 224)
    column = graph.add("Gather", graph.constant("view_columns", columns), "views", name="columns")  # (V, 224)
    two, one = graph.constant("axis_2", np.array([2])), graph.constant("axis_1", np.array([1]))
    row = graph.add("Unsqueeze", row, two, name="rows_3d")
    column = graph.add("Unsqueeze", column, one, name="columns_3d")
    pixel = graph.add("Add", row, column, name="pixel")  # (V, 224, 224)
    flat = graph.add("Reshape", "pictures", graph.constant("flat", np.array([0, SIDE * SIDE, 3])), name="pixels")
    cut = graph.add("Gather", flat, pixel, name="cut", axis=1)  # (N, V, 224, 224, 3)
    cut = graph.add("Cast", cut, name="cut_float", to=TensorProto.FLOAT)
    mean_pixels = graph.constant("mean", mean.reshape(-1, 3))
    if window == "centre":
        central = rows[CENTRE[0]][:, None] * SIDE + columns[CENTRE[0]]  # (224, 224)
        pixel = graph.constant("centre", central)
    mean_cut = graph.add("Gather", mean_pixels, pixel, name="mean_cut", axis=0)
    centred = graph.add("Sub", cut, mean_cut, name="centred")
    planes = graph.add("Transpose", centred, name="planes", perm=[0, 1, 4, 2, 3])  # (N, V, 3, 224, 224)
    shape = graph.constant("crop_shape", np.array([-1, 3, CROP, CROP]))
    return graph.add("Reshape", planes, shape, name="crops")


def _convolutions(graph: _Graph, x: str, weights: Mapping[str, Array], architecture: Architecture) -> str:
    """(N * V, 3, 224, 224) -> (N * V, 9216)."""
    layers = {layer.name: layer for layer in convolutions(architecture)}
    window = [architecture.pool] * 2
    for name in WIDTHS:  # (., 96, 55, 55), (., 256, 27, 27), (., 384, 13, 13) twice, (., 256, 13, 13)
        if name in layers:
            x = _convolve(graph, x, layers[name], weights, architecture)
        if name in POOLED:  # to 27 x 27, 13 x 13, 6 x 6
            x = graph.add("MaxPool", x, name=name.replace("conv", "pool"), kernel_shape=window, strides=[2, 2])
    if "conv6" in layers:
        x = _convolve(graph, x, layers["conv6"], weights, architecture)  # (., 256, 6, 6)
    return graph.add("Flatten", x, name="flat_maps")  # (., 9216)


def _convolve(
    graph: _Graph, x: str, layer: Convolution, weights: Mapping[str, Array], architecture: Architecture
) -> str:
    """A convolution with what belongs to it up to the pooling, as in `model.alexnet`."""
    name, act = layer.name, _activation(architecture)
    scale = architecture.input_scale if name == "conv1" else 1.0
    pads = [0, 0, 3, 3] if name == "conv1" else [layer.padding] * 4
    kernel = graph.constant(f"{name}.weight", weights[f"{name}.weight"] * np.float32(scale))
    bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"])
    group = 1 if layer.joined else architecture.towers
    x = graph.add("Conv", x, kernel, bias, name=name, group=group, pads=pads, strides=[layer.stride] * 2)
    if name not in NORMALISED or architecture.normalisation == "none":
        return graph.add(act, x, name=f"{name}_act")
    norm = name.replace("conv", "lrn")
    if architecture.normalisation == "source" and name == "conv1":
        return graph.add(act, _normalise(graph, x, norm, layer.outputs, architecture), name=f"{name}_act")
    x = _normalise(graph, graph.add(act, x, name=f"{name}_act"), norm, layer.outputs, architecture)
    return _normalise_over_pixels(graph, x) if architecture.normalisation == "source" else x


def _activation(architecture: Architecture) -> str:
    return {"relu": "Relu", "tanh": "Tanh"}[architecture.activation]


def _normalise(graph: _Graph, x: str, name: str, channels: int, architecture: Architecture) -> str:
    """Section 3.3 as a banded 1x1 convolution and two square roots: faster in onnxruntime than its LRN and Pow."""
    width = channels // architecture.towers
    band = lrn.ALPHAS[architecture.normalisation] * lrn.band(width, 1).numpy()
    kernel = np.tile(band, (architecture.towers, 1)).astype(np.float32)[:, :, None, None]  # (channels, width, 1, 1)
    weight = graph.constant(f"{name}.band", kernel)
    bias = graph.constant(f"{name}.k", np.full(channels, lrn.K, np.float32))
    square = graph.add("Mul", x, x, name=f"{name}_square")
    scale = graph.add("Conv", square, weight, bias, name=f"{name}_scale", group=architecture.towers)
    return _over_three_quarters(graph, x, scale, name)


def _normalise_over_pixels(graph: _Graph, x: str) -> str:
    """`model.lrn.spatial_norm`."""
    square = graph.add("Mul", x, x, name="spatial_square")
    pads, window = [lrn.SIZE // 2] * 4, [lrn.SIZE] * 2
    mean = graph.add("AveragePool", square, name="spatial_mean", kernel_shape=window, pads=pads, count_include_pad=1)
    part = graph.add(
        "Mul", mean, graph.constant("spatial.scale", np.array([lrn.SPATIAL_SCALE], np.float32)), name="spatial_part"
    )
    scale = graph.add("Add", part, graph.constant("spatial.one", np.array([1], np.float32)), name="spatial_sum")
    return _over_three_quarters(graph, x, scale, "spatial")


def _over_three_quarters(graph: _Graph, x: str, scale: str, name: str) -> str:
    """x / scale^0.75."""
    root = graph.add("Sqrt", scale, name=f"{name}_root")
    root4 = graph.add("Sqrt", root, name=f"{name}_root4")
    return graph.add("Div", x, graph.add("Mul", root, root4, name=f"{name}_power"), name=name)


def _classifier(graph: _Graph, x: str, weights: Mapping[str, Array], architecture: Architecture) -> tuple[str, str]:
    """(N * V, 9216) -> probabilities (N * V, classes) and features (N * V, hidden)."""
    features, scale = x, 1.0
    for name in linears(architecture):
        matrix = graph.constant(f"{name}.weight", weights[f"{name}.weight"] * np.float32(scale))
        bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"])
        x = graph.add("Gemm", x, matrix, bias, name=name, transB=1)
        if name != "fc8":
            x = features = graph.add(_activation(architecture), x, name=f"{name}_act")
            scale = 1 - architecture.dropout
    return graph.add("Softmax", x, name="softmax", axis=-1), features


def _mean_over_views(graph: _Graph, x: str, name: str) -> None:
    """(N * V, D) -> (N, D) as the output `name`."""
    if not any(node.name == "by_picture" for node in graph.nodes):
        shape = graph.add("Shape", "pictures", name="picture_count", start=0, end=1)
        views = graph.add("Shape", "views", name="view_count")
        last = graph.constant("minus_one", np.array([-1]))
        graph.add("Concat", shape, views, last, name="by_picture", axis=0)  # (N, V, -1)
    grouped = graph.add("Reshape", x, "by_picture", name=f"{name}_by_view")
    graph.add("ReduceMean", grouped, name=name, axes=[1], keepdims=0)
