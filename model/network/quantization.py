"""network.onnx -> network.int8.onnx: convolutions and matrix products in whole numbers, about a quarter of the bytes.

Static: the ranges of all activations are measured once, on real images. Weights have a step for each output.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.artifacts.artifact import Artifact
from model.artifacts.weights import architecture_of, read_folded_weights
from model.images.crops import TEN_CROP
from model.network.onnx_graph import build
from model.network.onnx_layers import Array, Layers, Range, points


def quantize(artifact: Artifact, batches: Iterable[NDArray[np.uint8]], target: Path) -> None:
    """Write the int8 form of an artifact's network. `batches`: (N, 256, 256, 3) uint8 images like those to come.

    Raises ArtifactError where the artifact doesn't name its architecture.
    """
    architecture = architecture_of(artifact.manifest)
    weights, mean = read_folded_weights(artifact)
    layers = Layers(architecture, weights)
    onnx.save(build(Layers(architecture, weights, ranges(layers, mean, batches)), mean), str(target))


def ranges(layers: Layers, mean: Array, batches: Iterable[NDArray[np.uint8]]) -> dict[str, Range]:
    """The least and greatest value at each of `points`, over ten crops of all images."""
    model = build(layers, mean, share=False)
    wanted = points(layers.architecture)
    for point in wanted:
        layer, _, side = point.partition(".")
        (node,) = [node for node in model.graph.node if node.name == layer]
        watched = node.input[0] if side == "in" else f"{layer}_act"
        for op in ("ReduceMin", "ReduceMax"):
            model.graph.node.append(helper.make_node(op, [watched], [f"{point}.{op}"], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(f"{point}.{op}", TensorProto.FLOAT, []))
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, str(Path(folder) / "watched.onnx"))
        session = ort.InferenceSession(str(Path(folder) / "watched.onnx"), providers=["CPUExecutionProvider"])
    outputs = [f"{point}.{op}" for op in ("ReduceMin", "ReduceMax") for point in wanted]
    seen = np.array([session.run(outputs, {"images": some, "crops": np.array(TEN_CROP)}) for some in batches])
    low, high = np.split(seen, 2, axis=1)  # (batches, points) each
    return {p: (float(a), float(b)) for p, a, b in zip(wanted, low.min(0), high.max(0), strict=True)}
