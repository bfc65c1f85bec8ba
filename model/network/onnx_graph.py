"""The served ONNX graph: plain pixels in, probabilities and features out.

Inputs: `images` uint8 (N, 256, 256, 3) RGB and `crops` int64 (C), ids 0 to 9 of `model.images.crops`.
Outputs: `probabilities` float32 (N, classes), the mean of the softmax over the crops (paper, section 4.1), and
`features` float32 (N, hidden), the last hidden layer after ReLU, mean over the crops (section 6.1).

Cropping, mirroring, mean subtraction and averaging are nodes of the graph, so any ONNX runtime that loads the file gets
the right answer. Constant factors (the input scale, dropout's factor at test) are folded into the next layer's weights.
All ten crops together take a shorter way to the same answer: the node `maps`, an If, has both ways.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from model.images.crops import CENTER_CROP, CROP_SIZE, TEN_CROP, crop_coordinates
from model.images.preprocess import IMAGE_SIZE
from model.network import ten_crop_graph
from model.network.onnx_builder import Nodes
from model.network.onnx_layers import Array, Layers
from model.network.spec import BORDERS, Architecture

OPSET = 17
IR_VERSION = 8


def build(layers: Layers, mean: Array, share: bool = True) -> onnx.ModelProto:
    """The graph of a trained network. `mean` (256, 256, 3): the mean image of the training set, 0..255.

    `share`: compute once what ten crops have in common (`model.network.ten_crop_graph`), where the architecture
    lets it.
    """
    graph, architecture = Nodes(), layers.architecture
    x = _second_maps(graph, layers, mean, share)  # (N * C, 256, 13, 13)
    for name in ("conv3", "conv4", "conv5", "conv6"):  # (., 384, 13, 13) twice, (., 256, 6, 6)
        x = layers.convolution(graph, x, name, [1] * 4)
    x = graph.add("Flatten", x, name="flat_maps")  # (., 9216)
    probabilities, features = layers.classifier(graph, x)
    for name, source in (("probabilities", probabilities), ("features", features)):
        _mean_over_crops(graph, source, name)
    return finished(graph, architecture)


def finished(graph: Nodes, architecture: Architecture) -> onnx.ModelProto:
    """A model of nodes that compute `probabilities` and `features`, checked."""
    proto = helper.make_graph(
        graph.nodes,
        "alexnet",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", IMAGE_SIZE, IMAGE_SIZE, 3]),
            helper.make_tensor_value_info("crops", TensorProto.INT64, ["C"]),
        ],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", architecture.classes]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", architecture.hidden]),
        ],
        list(graph.constants.values()),
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="alexnet-server",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _crops(graph: Nodes, mean: Array, architecture: Architecture) -> str:
    """(N, 256, 256, 3) uint8 -> (N * C, 3, 224, 224) float32 with the mean subtracted."""
    side = architecture.side
    rows, columns = crop_coordinates(side)
    row = graph.add("Gather", graph.constant("crop_rows", rows * IMAGE_SIZE), "crops", name="rows")  # (C, 224)
    column = graph.add("Gather", graph.constant("crop_columns", columns), "crops", name="columns")  # (C, 224)
    two, one = graph.constant("axis_2", np.array([2])), graph.constant("axis_1", np.array([1]))
    row = graph.add("Unsqueeze", row, two, name="rows_3d")
    column = graph.add("Unsqueeze", column, one, name="columns_3d")
    pixel = graph.add("Add", row, column, name="pixel")  # (C, 224, 224)
    flat = graph.add("Reshape", "images", graph.constant("flat", np.array([0, IMAGE_SIZE**2, 3])), name="pixels")
    cut = graph.add("Gather", flat, pixel, name="cut", axis=1)  # (N, C, 224, 224, 3)
    cut = graph.add("Cast", cut, name="cut_float", to=TensorProto.FLOAT)
    mean_pixels = graph.constant("mean", mean.reshape(-1, 3))
    if architecture.mean == "center":
        central = rows[CENTER_CROP[0]][:, None] * IMAGE_SIZE + columns[CENTER_CROP[0]]  # (224, 224)
        pixel = graph.constant("center", central)
    mean_cut = graph.add("Gather", mean_pixels, pixel, name="mean_cut", axis=0)
    centered = graph.add("Sub", cut, mean_cut, name="centered")
    planes = graph.add("Transpose", centered, name="planes", perm=[0, 1, 4, 2, 3])  # (N, C, 3, 224, 224)
    shape = graph.constant("crop_shape", np.array([-1, 3, side, side]))
    return graph.add("Reshape", planes, shape, name="crop_batch")


def _second_maps(graph: Nodes, layers: Layers, mean: Array, share: bool) -> str:
    """Images -> what conv3 sees, (N * C, 256, 13, 13): shared between the crops where all ten are asked for."""

    def plain(nodes: Nodes) -> str:
        x = _crops(nodes, mean, layers.architecture)
        x = layers.convolution(nodes, x, "conv1", list(BORDERS[layers.architecture.border]))
        return layers.convolution(nodes, x, "conv2", [2] * 4)

    if not (share and shareable(layers.architecture)):
        return plain(graph)
    apart, shared = graph.branch("plain"), graph.branch("shared")
    together = ten_crop_graph.shared(shared, layers, with_mirror_images(shared, mean))
    sides = {"then_branch": shared.graph(together), "else_branch": apart.graph(plain(apart))}
    return graph.add("If", _all_ten(graph), name="maps", **sides)


def shareable(architecture: Architecture) -> bool:
    """Whether crops are cut from the same maps: they meet the same mean, norms look at one position, and the border
    is the one that `model.network.ten_crop_graph` knows."""
    ours = (
        (architecture.border, architecture.side) == ("ceil", CROP_SIZE)
        and not architecture.pool_first
        and architecture.without != "conv2"
    )
    return ours and architecture.mean == "own" and architecture.normalization != "source"


def _all_ten(graph: Nodes) -> str:
    """Whether the crops are ten, and none of them is twice among them; their order makes no difference to a mean."""
    column = graph.add("Unsqueeze", "crops", graph.numbers(1), name="crops_column")
    each = graph.add("Equal", column, graph.numbers(*TEN_CROP), name="crop_matches")  # (C, 10)
    each = graph.add("Cast", each, name="crop_matches_float", to=TensorProto.FLOAT)
    times = graph.add("ReduceSum", each, graph.numbers(0), name="crop_counts", keepdims=0)  # (10,)
    least = graph.add("ReduceMin", times, name="fewest", keepdims=0)
    most = graph.add("ReduceMax", times, name="most", keepdims=0)
    one = graph.constant("one", np.array(1, np.float32))
    both = [graph.add("Equal", value, one, name=f"{value}_is_one") for value in (least, most)]
    return graph.add("And", *both, name="all_ten")


def with_mirror_images(graph: Nodes, mean: Array) -> str:
    """(N, 256, 256, 3) uint8 -> (2N, 3, 256, 256): each image, mean subtracted, then its mirror image."""
    pixels = graph.add("Cast", "images", name="pixels_float", to=TensorProto.FLOAT)
    means = graph.constant("mean", mean.reshape(-1, 3))
    means = graph.add("Reshape", means, graph.numbers(IMAGE_SIZE, IMAGE_SIZE, 3), name="mean_image")
    centered = graph.add("Sub", pixels, means, name="centered")
    planes = graph.add("Transpose", centered, name="planes", perm=[0, 3, 1, 2])
    bounds = [graph.numbers(-1), graph.numbers(-IMAGE_SIZE - 1), graph.numbers(3), graph.numbers(-1)]
    mirrored = graph.add("Slice", planes, *bounds, name="mirrored")
    both = [
        graph.add("Unsqueeze", x, graph.numbers(1), name=f"{name}_of_pair")
        for name, x in (("image", planes), ("mirror_image", mirrored))
    ]
    pairs = graph.add("Concat", *both, name="pairs", axis=1)  # (N, 2, 3, 256, 256)
    return graph.add("Reshape", pairs, graph.numbers(-1, 3, IMAGE_SIZE, IMAGE_SIZE), name="both")


def _mean_over_crops(graph: Nodes, x: str, name: str) -> None:
    """(N * C, D) -> (N, D) as the output `name`."""
    if not any(node.name == "by_image" for node in graph.nodes):
        shape = graph.add("Shape", "images", name="image_count", start=0, end=1)
        crops = graph.add("Shape", "crops", name="crop_count")
        last = graph.constant("minus_one", np.array([-1]))
        graph.add("Concat", shape, crops, last, name="by_image", axis=0)  # (N, C, -1)
    grouped = graph.add("Reshape", x, "by_image", name=f"{name}_by_crop")
    graph.add("ReduceMean", grouped, name=name, axes=[1], keepdims=0)
