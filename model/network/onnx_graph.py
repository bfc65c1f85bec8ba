"""The served ONNX graph: images in, probabilities and features out.

Inputs: `images` uint8 (N, 256, 256, 3) RGB and `crops` int64 (C,), ids 0 to 9 of `model.images.crops`.
Outputs: `probabilities` float32 (N, num_classes), the mean of the softmax over the crops (paper, section 4.1), and
`features` float32 (N, hidden), the last hidden layer after its activation, mean over the crops (section 6.1).
Before the softmax, the logits are divided by the constant `temperature`, 1 until fitted (`model.network.temperature`).

Cropping, mirroring, mean subtraction and averaging are nodes of the graph, so that it gives the same results in every
ONNX runtime. Constant factors (input scale, dropout outside training) are folded into the next layer's weights. If all
ten crops are requested, the first layers are computed once for all of them: the node `maps`, an If, has both branches.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from model.images.contract import IMAGE_SIZE
from model.images.crops import CENTER_CROP, TEN_CROP, crop_coordinates
from model.network.onnx_builder import GraphBuilder
from model.network.onnx_layers import Array, LayerWriter, Range, quantized_pooling
from model.network.spec import NetworkConfig, NetworkSpec
from model.network.temperature import TEMPERATURE
from model.network.ten_crop_graph import can_share_crops, write_shared_blocks
from model.runtime import SCALED_LOGITS

OPSET = 17
IR_VERSION = 8


def build_graph(
    spec: NetworkSpec,
    weights: Mapping[str, Array],
    mean: Array,
    ranges: Mapping[str, Range] | None = None,
    share_crops: bool = True,
    temperature: float = 1.0,
) -> onnx.ModelProto:
    """The served graph of a trained network.

    `weights`: with constant factors folded in (`model.network.onnx_layers.fold_constants`). `mean` (256, 256, 3): the
    mean image of the training set, 0..255. `ranges`: of the activations, for int8; None: float32. `share_crops`:
    compute the first layers of ten crops once, if the network allows it. `temperature`: divisor of the logits.
    """
    pooled = {} if ranges is None else quantized_pooling(spec)
    graph, writer = GraphBuilder(), LayerWriter(weights, ranges, pooled)
    if share_crops and can_share_crops(spec):
        shared = len(spec.blocks[0]) + len(spec.blocks[1])
        x = _write_both_branches(graph, writer, spec, mean, shared)  # (N * C, 256, 13, 13)
    else:
        shared, x = 0, _crops(graph, mean, spec.config)
    features = writer.write(graph, x, spec.feature_layers[shared:])
    logits = writer.write(graph, features, spec.output_layers)
    divisor = graph.constant(TEMPERATURE, np.array(temperature, np.float32))
    scaled = graph.add("Div", logits, divisor, name=SCALED_LOGITS)
    probabilities = graph.add("Softmax", scaled, name="softmax", axis=-1)
    for name, value in (("probabilities", probabilities), ("features", features)):
        _mean_over_crops(graph, value, name)
    return _make_model(graph, spec.config)


def _make_model(graph: GraphBuilder, config: NetworkConfig) -> onnx.ModelProto:
    proto = helper.make_graph(
        graph.nodes,
        "alexnet",
        [
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", IMAGE_SIZE, IMAGE_SIZE, 3]),
            helper.make_tensor_value_info("crops", TensorProto.INT64, ["C"]),
        ],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", config.num_classes]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", config.hidden]),
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


def _write_both_branches(graph: GraphBuilder, writer: LayerWriter, spec: NetworkSpec, mean: Array, shared: int) -> str:
    """Write the first `shared` layers: for ten crops together, or for any crops one by one."""
    separate_graph, shared_graph = graph.branch("separate"), graph.branch("shared")
    together = write_shared_blocks(shared_graph, writer, spec, _with_mirror_images(shared_graph, mean))
    separate = writer.write(separate_graph, _crops(separate_graph, mean, spec.config), spec.layers[:shared])
    dtype = TensorProto.UINT8 if spec.layers[shared - 1].name in writer.pooled else TensorProto.FLOAT
    branches = {
        "then_branch": shared_graph.graph(together, dtype),
        "else_branch": separate_graph.graph(separate, dtype),
    }
    return graph.add("If", _is_ten_crop(graph), name="maps", **branches)


def _crops(graph: GraphBuilder, mean: Array, config: NetworkConfig) -> str:
    """(N, 256, 256, 3) uint8 -> (N * C, 3, 224, 224) float32 with the mean subtracted."""
    side = config.input_size
    rows, columns = crop_coordinates(side)
    row = graph.add("Gather", graph.constant("crop_rows", rows * IMAGE_SIZE), "crops", name="rows")  # (C, 224)
    column = graph.add("Gather", graph.constant("crop_columns", columns), "crops", name="columns")  # (C, 224)
    two, one = graph.constant("axis_2", np.array([2])), graph.constant("axis_1", np.array([1]))
    row = graph.add("Unsqueeze", row, two, name="rows_3d")
    column = graph.add("Unsqueeze", column, one, name="columns_3d")
    pixel = graph.add("Add", row, column, name="pixel")  # (C, 224, 224)
    flat = graph.add("Reshape", "images", graph.constant("flat", np.array([0, IMAGE_SIZE**2, 3])), name="pixels")
    cropped = graph.add("Gather", flat, pixel, name="cropped", axis=1)  # (N, C, 224, 224, 3)
    cropped = graph.add("Cast", cropped, name="cropped_float", to=TensorProto.FLOAT)
    mean_pixels = graph.constant("mean", mean.reshape(-1, 3))
    if config.mean == "center":
        center = rows[CENTER_CROP[0]][:, None] * IMAGE_SIZE + columns[CENTER_CROP[0]]  # (224, 224)
        pixel = graph.constant("center", center)
    mean_crop = graph.add("Gather", mean_pixels, pixel, name="mean_crop", axis=0)
    centered = graph.add("Sub", cropped, mean_crop, name="centered")
    planes = graph.add("Transpose", centered, name="planes", perm=[0, 1, 4, 2, 3])  # (N, C, 3, 224, 224)
    shape = graph.constant("crop_shape", np.array([-1, 3, side, side]))
    return graph.add("Reshape", planes, shape, name="crop_batch")


def _with_mirror_images(graph: GraphBuilder, mean: Array) -> str:
    """(N, 256, 256, 3) uint8 -> (2N, 3, 256, 256): each image, mean subtracted, then its mirror image."""
    pixels = graph.add("Cast", "images", name="pixels_float", to=TensorProto.FLOAT)
    means = graph.constant("mean", mean.reshape(-1, 3))
    means = graph.add("Reshape", means, graph.int64s(IMAGE_SIZE, IMAGE_SIZE, 3), name="mean_image")
    centered = graph.add("Sub", pixels, means, name="centered")
    planes = graph.add("Transpose", centered, name="planes", perm=[0, 3, 1, 2])
    bounds = [graph.int64s(-1), graph.int64s(-IMAGE_SIZE - 1), graph.int64s(3), graph.int64s(-1)]
    mirrored = graph.add("Slice", planes, *bounds, name="mirrored")
    both = [
        graph.add("Unsqueeze", x, graph.int64s(1), name=f"{name}_of_pair")
        for name, x in (("image", planes), ("mirror_image", mirrored))
    ]
    pairs = graph.add("Concat", *both, name="pairs", axis=1)  # (N, 2, 3, 256, 256)
    return graph.add("Reshape", pairs, graph.int64s(-1, 3, IMAGE_SIZE, IMAGE_SIZE), name="image_pairs")


def _is_ten_crop(graph: GraphBuilder) -> str:
    """Whether each crop id occurs exactly once among the crops; their order doesn't matter for a mean."""
    column = graph.add("Unsqueeze", "crops", graph.int64s(1), name="crops_column")
    matches = graph.add("Equal", column, graph.int64s(*TEN_CROP), name="crop_matches")  # (C, 10)
    matches = graph.add("Cast", matches, name="crop_matches_float", to=TensorProto.FLOAT)
    counts = graph.add("ReduceSum", matches, graph.int64s(0), name="crop_counts", keepdims=0)  # (10,)
    extremes = [
        graph.add(op, counts, name=name, keepdims=0) for op, name in (("ReduceMin", "fewest"), ("ReduceMax", "most"))
    ]
    one = graph.constant("one", np.array(1, np.float32))
    both = [graph.add("Equal", value, one, name=f"{value}_is_one") for value in extremes]
    return graph.add("And", *both, name="is_ten_crop")


def _mean_over_crops(graph: GraphBuilder, x: str, name: str) -> None:
    """(N * C, D) -> (N, D) as the output `name`."""
    if not any(node.name == "by_image" for node in graph.nodes):
        count = graph.add("Shape", "images", name="image_count", start=0, end=1)
        crops = graph.add("Shape", "crops", name="crop_count")
        last = graph.constant("minus_one", np.array([-1]))
        graph.add("Concat", count, crops, last, name="by_image", axis=0)  # (N, C, -1)
    grouped = graph.add("Reshape", x, "by_image", name=f"{name}_by_crop")
    graph.add("ReduceMean", grouped, name=name, axes=[1], keepdims=0)
