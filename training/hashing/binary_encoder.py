"""`BinaryEncoder`: features -> bits by the signs of a projection, and the ONNX graph that computes them.

Also what an autoencoder starts from: principal components, and the rotation of ITQ (Gong and Lazebnik 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.exceptions import TrainingError
from model.network.onnx_builder import GraphBuilder

Array = NDArray[np.float32]
OPSET = 17
ITQ_ITERATIONS = 50
MAX_PCA_ROWS = 20_000
"""Enough to find the principal directions."""


@dataclass(frozen=True)
class Correction:
    """relu(x @ `hidden` + `hidden_bias`) @ `output`: shapes (dim, hidden), (hidden,), (hidden, bits)."""

    hidden: Array
    hidden_bias: Array
    output: Array


@dataclass(frozen=True)
class BinaryEncoder:
    """Features -> binary codes.

    A bit is 1 if x @ `projection` (dim, bits) + `bias` (bits,), plus the correction if there is one, is above 0.
    """

    name: str
    projection: Array
    bias: Array
    correction: Correction | None = None

    @property
    def bits(self) -> int:
        return int(self.projection.shape[1])

    def encode(self, features: Array) -> NDArray[np.uint8]:
        """(N, dim) -> (N, bytes), eight bits per byte, the first in the highest; the last byte is padded with zeros."""
        values = features @ self.projection + self.bias
        if (c := self.correction) is not None:
            values += np.maximum(features @ c.hidden + c.hidden_bias, 0) @ c.output
        return np.packbits(values > 0, axis=1)

    def to_onnx(self) -> onnx.ModelProto:
        """The graph that `model.encoder.Encoder` loads: features float32 (N, dim) -> code uint8 (N, bytes)."""
        graph, size = GraphBuilder(), -(-self.bits // 8)
        values = graph.add(
            "Gemm", "features", graph.constant("projection", self.projection), graph.constant("bias", self.bias),
            name="values",
        )  # fmt: skip
        if (c := self.correction) is not None:
            weight, bias = graph.constant("hidden_weight", c.hidden), graph.constant("hidden_bias", c.hidden_bias)
            hidden = graph.add("Relu", graph.add("Gemm", "features", weight, bias, name="hidden"), name="relu")
            correction = graph.add("MatMul", hidden, graph.constant("output", c.output), name="correction")
            values = graph.add("Add", values, correction, name="corrected")
        above = graph.add("Greater", values, graph.constant("zero", np.zeros(1, np.float32)), name="above")
        bits = graph.add("Cast", above, name="bits", to=TensorProto.FLOAT)
        bits = graph.add("Pad", bits, graph.int64s(0, 0, 0, 8 * size - self.bits), name="padded")
        grouped = graph.add("Reshape", bits, graph.int64s(-1, size, 8), name="grouped")  # (N, bytes, 8)
        powers = graph.constant("powers", (2.0 ** np.arange(7, -1, -1)).astype(np.float32))
        packed = graph.add("MatMul", grouped, powers, name="packed")  # (N, bytes)
        graph.add("Cast", packed, name="code", to=TensorProto.UINT8)
        dim = self.projection.shape[0]
        onnx_graph = helper.make_graph(
            graph.nodes,
            "encoder",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dim])],
            [helper.make_tensor_value_info("code", TensorProto.UINT8, ["N", size])],
            list(graph.constants.values()),
        )
        model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        helper.set_model_props(model, {"coder": self.name, "bits": str(self.bits)})
        onnx.checker.check_model(model, full_check=True)
        return model


def principal_components(features: Array, count: int, seed: int) -> tuple[Array, Array]:
    """Mean (dim,) and first `count` principal directions (dim, count) of at most 20,000 rows, by Halko's random
    projections. Raises TrainingError."""
    if min(features.shape) <= count:
        raise TrainingError(
            f"codes of {count} bits need more than {count} images and feature dimensions, got {features.shape[0]} "
            f"images and {features.shape[1]} dimensions"
        )
    if len(features) > MAX_PCA_ROWS:
        features = features[np.sort(np.random.default_rng(seed).choice(len(features), MAX_PCA_ROWS, replace=False))]
    mean = features.mean(0)
    rank = min(count + 32, *features.shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of the projections
        directions = torch.pca_lowrank(torch.from_numpy(features - mean), rank, center=False, niter=3)[2]
    return mean, directions[:, :count].numpy()


def itq_rotation(values: Array, seed: int) -> Array:
    """(bits, bits): the rotation of (N, bits) centered values that brings them closest to their signs."""
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.standard_normal((values.shape[1], values.shape[1])))[0].astype(np.float32)
    for _ in range(ITQ_ITERATIONS):
        left, _, right = np.linalg.svd(np.sign(values @ rotation).T @ values)
        rotation = (left @ right).T
    return rotation
