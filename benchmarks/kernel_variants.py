"""`python -m benchmarks.kernel_variants`: the same layers in several ONNX forms, one by one, in onnxruntime.

Response normalization as onnxruntime's own operator, as ours (a banded 1x1 convolution and two square roots) and with a
power instead of the roots; a grouped convolution whole and as two towers, laid out by onnxruntime in blocks of
channels (its default) and not; a product with its weights packed beforehand and not, by rows and by columns. Ten crops
at once, all processors; the sides of a group take turns. Writes docs/results/.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.results import RESULTS, OutputOption, commit, machine, write
from model.lrn import formula
from model.network.onnx_builder import GraphBuilder
from model.runtime import available_cpus

Array = NDArray[np.float32]
CROPS, OPSET = 10, 17
BLOCKS = "onnxruntime's blocks of channels"


def session(nodes: GraphBuilder, output: str, shape: tuple[int, ...], **settings: str) -> Callable[[Array], Array]:
    """Runs the nodes on `x` of this shape. Settings: of onnxruntime; `layout=plain`: channels as they come."""
    value = helper.make_tensor_value_info
    inputs, outputs = [value("x", TensorProto.FLOAT, shape)], [value(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes.nodes, "form", inputs, outputs, list(nodes.constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    if settings.pop("layout", "") == "plain":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    for key, setting in settings.items():
        options.add_session_config_entry(key, setting)
    loaded = ort.InferenceSession(onnx.shape_inference.infer_shapes(model).SerializeToString(), options)
    return lambda x: np.asarray(loaded.run(None, {"x": x})[0])


def halves(nodes: GraphBuilder) -> list[str]:
    """The two towers' channels of `x`."""
    nodes.nodes.append(helper.make_node("Split", ["x"], ["tower0", "tower1"], name="towers", axis=1))
    return ["tower0", "tower1"]


def normalizations(channels: int, side: int) -> dict[str, Callable[[Array], Array]]:
    """Over the tower's own channels, as the network has it."""
    shape, half, (alpha, k) = (CROPS, channels, side, side), channels // 2, formula.CONSTANTS["paper"]
    own = GraphBuilder()
    parts = halves(own)
    sides = [own.add("LRN", part, name=f"{part}_lrn", alpha=5 * alpha, beta=0.75, bias=k, size=5) for part in parts]
    measured = {"the LRN operator, by tower": session(own, own.add("Concat", *sides, name="y", axis=1), shape)}
    for name, by_power in (
        ("banded 1x1 convolution, two roots (ours)", False),
        ("banded 1x1 convolution, power", True),
    ):
        nodes = GraphBuilder()
        band = np.tile(alpha * formula.window_matrix(half, 1), (2, 1)).astype(np.float32)[:, :, None, None]
        square = nodes.add("Mul", "x", "x", name="square")
        bias = nodes.constant("k", np.full(channels, k, np.float32))
        scale = nodes.add("Conv", square, nodes.constant("band", band), bias, name="scale", group=2)
        if by_power:
            power = nodes.add("Pow", scale, nodes.constant("beta", np.array(0.75, np.float32)), name="power")
        else:
            root = nodes.add("Sqrt", scale, name="root")
            power = nodes.add("Mul", root, nodes.add("Sqrt", root, name="root4"), name="power")
        name = f"banded 1x1 convolution, {'power' if by_power else 'two roots (ours)'}"
        measured[name] = session(nodes, nodes.add("Div", "x", power, name="y"), shape)
    nodes = GraphBuilder()
    square = nodes.add("Mul", "x", "x", name="square")
    grouped = nodes.add("Reshape", square, nodes.int64s(2 * CROPS, 1, half, side * side), name="grouped")
    sums = nodes.add("AveragePool", grouped, name="sums", kernel_shape=[5, 1], pads=[2, 0, 2, 0], count_include_pad=1)
    scaled = nodes.add("Mul", sums, nodes.constant("alpha", np.array(5 * alpha, np.float32)), name="scaled")
    scale = nodes.add("Add", scaled, nodes.constant("k", np.array(k, np.float32)), name="scale")
    scale = nodes.add("Reshape", scale, nodes.int64s(*shape), name="whole")
    root = nodes.add("Sqrt", scale, name="root")
    power = nodes.add("Mul", root, nodes.add("Sqrt", root, name="root4"), name="power")
    measured["average pooling over channels, two roots"] = session(nodes, nodes.add("Div", "x", power, name="y"), shape)
    return measured


def convolutions(inputs: int, outputs: int, side: int, kernel: int) -> dict[str, Callable[[Array], Array]]:
    """A convolution of two groups."""
    shape = (CROPS, inputs, side, side)
    draw = np.random.default_rng(0)
    weight = (0.01 * draw.standard_normal((outputs, inputs // 2, kernel, kernel))).astype(np.float32)
    pads = [kernel // 2] * 4
    whole, parted = GraphBuilder(), GraphBuilder()
    whole.add("Conv", "x", whole.constant("w", weight), name="y", group=2, pads=pads)
    sides = [
        parted.add("Conv", part, parted.constant(f"w{place}", half), name=f"y{place}", pads=pads)
        for place, (part, half) in enumerate(zip(halves(parted), np.split(weight, 2), strict=True))
    ]
    parted.add("Concat", *sides, name="y", axis=1)
    return {
        f"grouped, {BLOCKS} (ours)": session(whole, "y", shape),
        "grouped, channels first": session(whole, "y", shape, layout="plain"),
        f"two towers, {BLOCKS}": session(parted, "y", shape),
        "two towers, channels first": session(parted, "y", shape, layout="plain"),
    }


def products(inputs: int, outputs: int) -> dict[str, Callable[[Array], Array]]:
    """A fully connected layer on ten crops."""
    weight = (0.01 * np.random.default_rng(0).standard_normal((outputs, inputs))).astype(np.float32)
    by_rows, by_columns = GraphBuilder(), GraphBuilder()
    by_rows.add("Gemm", "x", by_rows.constant("w", weight), name="y", transB=1)
    by_columns.add("MatMul", "x", by_columns.constant("w", np.ascontiguousarray(weight.T)), name="y")
    unpacked = {"session.disable_prepacking": "1"}
    return {
        "Gemm with transB, packed beforehand (ours)": session(by_rows, "y", (CROPS, inputs)),
        "MatMul, packed beforehand": session(by_columns, "y", (CROPS, inputs)),
        "Gemm with transB, not packed": session(by_rows, "y", (CROPS, inputs), **unpacked),
        "MatMul, not packed": session(by_columns, "y", (CROPS, inputs), **unpacked),
    }


def measure(sides: dict[str, Callable[[Array], Array]], x: Array, turns: int) -> dict[str, float]:
    """Median milliseconds, in turns; all answers must be the same to rounding."""
    answers = {name: run(x) for name, run in sides.items()}
    first = next(iter(answers.values()))
    for answer in answers.values():
        np.testing.assert_allclose(answer, first, rtol=1e-3, atol=1e-3)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            run(x)  # warm: what the side before left in the caches is gone
            begun = time.perf_counter()
            run(x)
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(times) for name, times in taken.items()}


def main(
    turns: Annotated[int, typer.Option(min=1)] = 30,
    output: OutputOption = RESULTS,
) -> None:
    """Measure, print and write a dated result."""
    draw, measured = np.random.default_rng(1), dict[str, dict[str, float]]()
    groups: dict[str, tuple[dict[str, Callable[[Array], Array]], tuple[int, ...]]] = {
        "normalization, 10 x 96 x 55 x 55": (normalizations(96, 55), (CROPS, 96, 55, 55)),
        "normalization, 10 x 256 x 27 x 27": (normalizations(256, 27), (CROPS, 256, 27, 27)),
        "conv2, 96 to 256 at 27 x 27": (convolutions(96, 256, 27, 5), (CROPS, 96, 27, 27)),
        "conv4, 384 to 384 at 13 x 13": (convolutions(384, 384, 13, 3), (CROPS, 384, 13, 13)),
        "fc6, 9216 to 4096": (products(9216, 4096), (CROPS, 9216)),
    }
    for group, (sides, shape) in groups.items():
        measured[group] = measure(sides, 10 * draw.random(shape, np.float32), turns)
        for name, milliseconds in measured[group].items():
            typer.echo(f"{group}: {milliseconds:7.2f} ms  {name}")
    result: dict[str, Any] = {"date": f"{date.today()}", "commit": commit(), "machine": machine(torch.device("cpu"))}
    typer.echo(f"written: {write(result | {'milliseconds': measured}, output, 'forms-cpu')}")


if __name__ == "__main__":
    typer.run(main)
