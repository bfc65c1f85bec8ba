"""Measure single layers as different ONNX operators in onnxruntime: ours and the alternatives.

    python -m benchmarks.kernel_variants

Response normalization: onnxruntime's own operator; ours (a banded 1x1 convolution and two square roots); ours with a
power instead of the roots; average pooling. Convolution: grouped or one per tower, each in onnxruntime's blocks of
channels (its default) or channels first. Matrix product: Gemm or MatMul, each with prepacked weights or without. Each
runs ten crops at once on all processors; the variants of a layer take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import onnx
import onnxruntime as ort
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.command import run_main
from benchmarks.results import RESULTS, OutputOption, format_table, write_result
from benchmarks.timing import time_in_turns
from model.cpus import available_cpus
from model.lrn import formula
from model.network.onnx_builder import GraphBuilder

Array = NDArray[np.float32]
Variant = Callable[[Array], Array]
NUM_CROPS, OPSET = 10, 17
BLOCKS = "blocks of channels"


def create_variant(
    graph: GraphBuilder, output: str, shape: tuple[int, ...], channels_first: bool = False, prepacked: bool = True
) -> Variant:
    """A function that runs the graph on `x` of this shape. `channels_first`: onnxruntime doesn't convert the layout."""
    value = helper.make_tensor_value_info
    inputs, outputs = [value("x", TensorProto.FLOAT, shape)], [value(output, TensorProto.FLOAT, None)]
    proto = helper.make_graph(graph.nodes, "variant", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    if channels_first:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if not prepacked:
        options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(onnx.shape_inference.infer_shapes(model).SerializeToString(), options)
    return lambda x: np.asarray(session.run(None, {"x": x})[0])


def split_towers(graph: GraphBuilder) -> list[str]:
    """Split the channels of `x` into those of the two towers. Returns their names."""
    graph.nodes.append(helper.make_node("Split", ["x"], ["tower0", "tower1"], name="towers", axis=1))
    return ["tower0", "tower1"]


def add_three_quarters_power(graph: GraphBuilder, x: str) -> str:
    """x^0.75 as the product of x^(1/2) and x^(1/4)."""
    root = graph.add("Sqrt", x, name="root")
    return graph.add("Mul", root, graph.add("Sqrt", root, name="root4"), name="power")


def normalize_by_operator(channels: int, size: int) -> Variant:
    """onnxruntime's LRN operator, per tower."""
    alpha, k = formula.CONSTANTS["paper"]
    graph = GraphBuilder()
    towers = [
        graph.add("LRN", tower, name=f"{tower}_lrn", alpha=5 * alpha, beta=0.75, bias=k, size=5)
        for tower in split_towers(graph)
    ]
    return create_variant(graph, graph.add("Concat", *towers, name="y", axis=1), (NUM_CROPS, channels, size, size))


def normalize_by_convolution(channels: int, size: int, by_power: bool) -> Variant:
    """A banded 1x1 convolution in two groups, then a power or two square roots."""
    alpha, k = formula.CONSTANTS["paper"]
    graph = GraphBuilder()
    band = np.tile(alpha * formula.window_matrix(channels // 2, 1), (2, 1)).astype(np.float32)[:, :, None, None]
    square = graph.add("Mul", "x", "x", name="square")
    bias = graph.constant("k", np.full(channels, k, np.float32))
    scale = graph.add("Conv", square, graph.constant("band", band), bias, name="scale", group=2)
    if by_power:
        power = graph.add("Pow", scale, graph.constant("beta", np.array(0.75, np.float32)), name="power")
    else:
        power = add_three_quarters_power(graph, scale)
    return create_variant(graph, graph.add("Div", "x", power, name="y"), (NUM_CROPS, channels, size, size))


def normalize_by_pooling(channels: int, size: int) -> Variant:
    """Average pooling over channels, then two square roots."""
    alpha, k = formula.CONSTANTS["paper"]
    shape = (NUM_CROPS, channels, size, size)
    graph = GraphBuilder()
    square = graph.add("Mul", "x", "x", name="square")
    towers = graph.int64s(2 * NUM_CROPS, 1, channels // 2, size * size)
    grouped = graph.add("Reshape", square, towers, name="grouped")
    mean = graph.add("AveragePool", grouped, name="mean", kernel_shape=[5, 1], pads=[2, 0, 2, 0], count_include_pad=1)
    scaled = graph.add("Mul", mean, graph.constant("alpha", np.array(5 * alpha, np.float32)), name="scaled")
    scale = graph.add("Add", scaled, graph.constant("k", np.array(k, np.float32)), name="scale")
    scale = graph.add("Reshape", scale, graph.int64s(*shape), name="ungrouped")
    return create_variant(graph, graph.add("Div", "x", add_three_quarters_power(graph, scale), name="y"), shape)


def create_normalizations(channels: int, size: int) -> dict[str, Variant]:
    """Variants of response normalization over the channels of each tower."""
    return {
        "LRN operator per tower": normalize_by_operator(channels, size),
        "banded 1x1 convolution, two square roots (ours)": normalize_by_convolution(channels, size, by_power=False),
        "banded 1x1 convolution, power": normalize_by_convolution(channels, size, by_power=True),
        "average pooling over channels, two square roots": normalize_by_pooling(channels, size),
    }


def create_convolutions(inputs: int, outputs: int, size: int, kernel: int) -> dict[str, Variant]:
    """Variants of a convolution with two groups."""
    shape = (NUM_CROPS, inputs, size, size)
    generator = np.random.default_rng(0)
    weight = (0.01 * generator.standard_normal((outputs, inputs // 2, kernel, kernel))).astype(np.float32)
    pads = [kernel // 2] * 4
    grouped, separate = GraphBuilder(), GraphBuilder()
    grouped.add("Conv", "x", grouped.constant("w", weight), name="y", group=2, pads=pads)
    towers = [
        separate.add("Conv", tower, separate.constant(f"w{number}", tower_weight), name=f"y{number}", pads=pads)
        for number, (tower, tower_weight) in enumerate(zip(split_towers(separate), np.split(weight, 2), strict=True))
    ]
    separate.add("Concat", *towers, name="y", axis=1)
    return {
        f"one grouped convolution, {BLOCKS} (ours)": create_variant(grouped, "y", shape),
        "one grouped convolution, channels first": create_variant(grouped, "y", shape, channels_first=True),
        f"two convolutions, {BLOCKS}": create_variant(separate, "y", shape),
        "two convolutions, channels first": create_variant(separate, "y", shape, channels_first=True),
    }


def create_matrix_products(inputs: int, outputs: int) -> dict[str, Variant]:
    """Variants of a fully connected layer."""
    weight = (0.01 * np.random.default_rng(0).standard_normal((outputs, inputs))).astype(np.float32)
    gemm, matmul, shape = GraphBuilder(), GraphBuilder(), (NUM_CROPS, inputs)
    gemm.add("Gemm", "x", gemm.constant("w", weight), name="y", transB=1)
    matmul.add("MatMul", "x", matmul.constant("w", np.ascontiguousarray(weight.T)), name="y")
    return {
        "Gemm with transB, prepacked (ours)": create_variant(gemm, "y", shape),
        "MatMul, prepacked": create_variant(matmul, "y", shape),
        "Gemm with transB, not prepacked": create_variant(gemm, "y", shape, prepacked=False),
        "MatMul, not prepacked": create_variant(matmul, "y", shape, prepacked=False),
    }


def measure(variants: dict[str, Variant], x: Array, rounds: int) -> dict[str, float]:
    """Median milliseconds of each variant; raises AssertionError if their outputs differ by more than rounding."""
    outputs = [run(x) for run in variants.values()]
    for output in outputs:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-3, atol=1e-3)
    times = time_in_turns({name: partial(run, x) for name, run in variants.items()}, rounds)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measured calls of each variant.")] = 30,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    layers: dict[str, tuple[Callable[[], dict[str, Variant]], tuple[int, ...]]] = {
        "normalization, 10 x 96 x 55 x 55": (lambda: create_normalizations(96, 55), (96, 55, 55)),
        "normalization, 10 x 256 x 27 x 27": (lambda: create_normalizations(256, 27), (256, 27, 27)),
        "conv2, 96 to 256 at 27 x 27": (lambda: create_convolutions(96, 256, 27, 5), (96, 27, 27)),
        "conv4, 384 to 384 at 13 x 13": (lambda: create_convolutions(384, 384, 13, 3), (384, 13, 13)),
        "fc6, 9216 to 4096": (lambda: create_matrix_products(9216, 4096), (9216,)),
    }
    generator = np.random.default_rng(1)
    milliseconds = {}
    for layer, (create, shape) in layers.items():
        x = 10 * generator.random((NUM_CROPS, *shape), np.float32)
        milliseconds[layer] = measure(create(), x, rounds)
        typer.echo(format_table({name: {"ms": value} for name, value in milliseconds[layer].items()}, layer))
    write_result(output, "kernel-variants-cpu", {"milliseconds": milliseconds})


if __name__ == "__main__":
    run_main(main)
