"""Post-training quantization: the network in int8, about a quarter of the bytes.

Static: the ranges of all activations are measured once, on real images. Weights have a step per output.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.images.crops import TEN_CROP
from model.network.onnx_graph import build_graph
from model.network.onnx_layers import Array, Range, quantization_points
from model.network.spec import NetworkSpec


def quantize(
    spec: NetworkSpec,
    weights: Mapping[str, Array],
    mean: Array,
    batches: Iterable[NDArray[np.uint8]],
    target: Path,
    temperature: float = 1.0,
) -> None:
    """Write a network in int8 to `target`.

    `weights`, `mean`, `temperature`: as for `model.network.onnx_graph.build_graph`. `batches`: (N, 256, 256, 3) uint8
    images, similar to those that the network will see.
    """
    ranges = measure_ranges(spec, weights, mean, batches)
    onnx.save(build_graph(spec, weights, mean, ranges, temperature=temperature), str(target))


def measure_ranges(
    spec: NetworkSpec, weights: Mapping[str, Array], mean: Array, batches: Iterable[NDArray[np.uint8]]
) -> dict[str, Range]:
    """Minimum and maximum at each of `quantization_points`, over ten crops of all images."""
    model = build_graph(spec, weights, mean, share_crops=False)
    points = quantization_points(spec)
    nodes = {node.name: node for node in model.graph.node}
    for point in points:
        value = nodes[point.removesuffix(".in")].input[0] if point.endswith(".in") else point
        for op in ("ReduceMin", "ReduceMax"):
            model.graph.node.append(helper.make_node(op, [value], [f"{point}.{op}"], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(f"{point}.{op}", TensorProto.FLOAT, []))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "observed.onnx"
        onnx.save(model, str(file))
        session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    outputs = [f"{point}.{op}" for op in ("ReduceMin", "ReduceMax") for point in points]
    observed = np.array([session.run(outputs, {"images": batch, "crops": np.array(TEN_CROP)}) for batch in batches])
    low, high = np.split(observed, 2, axis=1)  # (batches, points) each
    return {p: (float(a), float(b)) for p, a, b in zip(points, low.min(0), high.max(0), strict=True)}
