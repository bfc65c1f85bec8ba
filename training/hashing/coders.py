"""Coders: features -> bits by the signs of a projection, and the ONNX graph that computes them.

Random directions (locality-sensitive hashing), principal components, ITQ (Gong and Lazebnik 2011), and what
`training.hashing.autoencoder` trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.exceptions import TrainingError
from model.network.onnx_builder import Nodes

Array = NDArray[np.float32]
OPSET = 17
ROWS = 20_000
"""Enough to find the principal directions."""


@dataclass(frozen=True)
class Correction:
    """relu(x @ `into` + `bias`) @ `out`: (dim, hidden), (hidden,), (hidden, bits)."""

    into: Array
    bias: Array
    out: Array


@dataclass(frozen=True)
class Coder:
    """A bit is whether x @ `straight` (dim, bits) + `bias` (bits,), and the correction if there is one, is above 0."""

    name: str
    straight: Array
    bias: Array
    correction: Correction | None = None

    @property
    def bits(self) -> int:
        return int(self.straight.shape[1])

    def encode(self, features: Array) -> NDArray[np.uint8]:
        """(N, dim) -> (N, bytes), eight bits a byte, the first in the highest; the last byte filled up with zeros."""
        values = features @ self.straight + self.bias
        if (c := self.correction) is not None:
            values += np.maximum(features @ c.into + c.bias, 0) @ c.out
        return np.packbits(values > 0, axis=1)

    def graph(self) -> onnx.ModelProto:
        """What `model.encoder.Encoder` loads: features float32 (N, dim) -> code uint8 (N, bytes)."""
        nodes, size = Nodes(), -(-self.bits // 8)
        values = nodes.add(
            "Gemm", "features", nodes.constant("straight", self.straight), nodes.constant("bias", self.bias),
            name="values",
        )  # fmt: skip
        if (c := self.correction) is not None:
            into, bias = nodes.constant("into", c.into), nodes.constant("into_bias", c.bias)
            hidden = nodes.add("Relu", nodes.add("Gemm", "features", into, bias, name="hidden"), name="relu")
            more = nodes.add("MatMul", hidden, nodes.constant("out", c.out), name="correction")
            values = nodes.add("Add", values, more, name="corrected")
        above = nodes.add("Greater", values, nodes.constant("zero", np.zeros(1, np.float32)), name="above")
        bits = nodes.add("Cast", above, name="bits", to=TensorProto.FLOAT)
        bits = nodes.add("Pad", bits, nodes.numbers(0, 0, 0, 8 * size - self.bits), name="whole")
        grouped = nodes.add("Reshape", bits, nodes.numbers(-1, size, 8), name="grouped")  # (N, bytes, 8)
        powers = nodes.constant("powers", (2.0 ** np.arange(7, -1, -1)).astype(np.float32))
        packed = nodes.add("MatMul", grouped, powers, name="packed")  # (N, bytes)
        nodes.add("Cast", packed, name="code", to=TensorProto.UINT8)
        dim = self.straight.shape[0]
        graph = helper.make_graph(
            nodes.nodes,
            "encoder",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dim])],
            [helper.make_tensor_value_info("code", TensorProto.UINT8, ["N", size])],
            list(nodes.constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        helper.set_model_props(model, {"coder": self.name, "bits": str(self.bits)})
        onnx.checker.check_model(model, full_check=True)
        return model


def linear(name: str, mean: Array, directions: Array) -> Coder:
    """The signs of (x - mean) @ directions (dim, bits)."""
    directions = np.ascontiguousarray(directions, np.float32)
    return Coder(name, directions, (-mean @ directions).astype(np.float32))


def lsh(features: Array, bits: int, seed: int = 0) -> Coder:
    """Random directions, orthogonal to one another, from the mean."""
    directions = np.linalg.qr(np.random.default_rng(seed).standard_normal((features.shape[1], bits)))[0]
    return linear("lsh", features.mean(0), directions)


def pca(features: Array, bits: int, seed: int = 0) -> Coder:
    """The signs of the principal components."""
    return linear("pca", *components(features, bits, seed))


def itq(features: Array, bits: int, seed: int = 0) -> Coder:
    """Principal components turned so that they lose least by being rounded to -1 and 1."""
    mean, directions = components(features, bits, seed)
    return linear("itq", mean, np.dot(directions, rotation(np.dot(features - mean, directions), seed)))


LINEAR: dict[str, Callable[[Array, int, int], Coder]] = {"lsh": lsh, "pca": pca, "itq": itq}


def components(features: Array, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Mean (dim,) and the first `count` principal directions (dim, count), by Halko's random projections, of at most
    20,000 rows. Raises TrainingError."""
    if min(features.shape) <= count:
        raise TrainingError(
            f"expected more than {count} images, and features as long, for codes of {count} bits, found "
            f"{features.shape[0]} of {features.shape[1]} numbers"
        )
    if len(features) > ROWS:
        features = features[np.sort(np.random.default_rng(seed).choice(len(features), ROWS, replace=False))]
    mean = features.mean(0)
    torch.manual_seed(seed)
    more = min(count + 32, *features.shape)
    directions = torch.pca_lowrank(torch.from_numpy(features - mean), more, center=False, niter=3)[2]
    return mean, directions[:, :count].numpy()


def rotation(values: Array, seed: int = 0, rounds: int = 50) -> Array:
    """(bits, bits): the rotation of (N, bits) centered values that brings them nearest to their signs."""
    draw = np.random.default_rng(seed)
    turned = np.linalg.qr(draw.standard_normal((values.shape[1], values.shape[1])))[0].astype(np.float32)
    for _ in range(rounds):
        left, _, right = np.linalg.svd(np.sign(values @ turned).T @ values)
        turned = (left @ right).T
    return turned
