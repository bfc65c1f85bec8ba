"""Files with random weights, laid out like those of published networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model.download import RemoteFile
from model.pretrained.specs import PretrainedSpec
from model.protobuf_wire import bytes_field, varint, varint_field

HIDDEN, CLASSES = 32, 1000
SHAPES = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (HIDDEN, 9216),
    "fc7": (HIDDEN, HIDDEN),
    "fc8": (CLASSES, HIDDEN),
}
ONE_TOWER = SHAPES | {
    "conv1": (64, 3, 11, 11),
    "conv2": (192, 64, 5, 5),
    "conv3": (384, 192, 3, 3),
    "conv4": (256, 384, 3, 3),
    "conv5": (256, 256, 3, 3),
}
PLACES = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8", "conv5": "features.10",
    "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6",
}  # fmt: skip


def small(pretrained: PretrainedSpec, file: Path | None = None) -> PretrainedSpec:
    """The same spec with 32 hidden neurons and, if `file` is given, with that as its only release."""
    releases = pretrained.releases
    if file is not None:
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        releases = (RemoteFile(file.name, f"http://127.0.0.1:9/{file.name}", len(content), digest),)
    return replace(pretrained, network=replace(pretrained.network, hidden=HIDDEN), releases=releases)


def random_weights(shapes: dict[str, tuple[int, ...]], first: float = 0.05) -> dict[str, NDArray[np.float32]]:
    """Weights that all affect an image's result. `first`: the scale of conv1, for pixels of 0..255."""
    generator = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5 * {"conv1": first, "fc8": 0.3}.get(name, 1)
        weights[f"{name}_w_0"] = generator.normal(0, deviation, shape).astype(np.float32)
        weights[f"{name}_b_0"] = generator.normal(0, 0.1, shape[0]).astype(np.float32)
    return weights


def state_dict(weights: dict[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """The weights by their names in torchvision."""
    return {
        f"{place}.{kind}": torch.from_numpy(weights[f"{layer}_{kind[0]}_0"])
        for layer, place in PLACES.items()
        for kind in ("weight", "bias")
    }


def zoo(
    opset: int = 12,
    pool_first: bool = False,
    weights: dict[str, NDArray[np.float32]] | None = None,
    **changes: dict[str, Any],
) -> onnx.ModelProto:
    """A model of the ONNX model zoo: Caffe's layers as operators of `opset`. `changes` to attributes plant faults."""
    values = weights or random_weights(SHAPES)
    nodes: list[onnx.NodeProto] = []
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        result = f"r{len(nodes)}"
        outputs = [result, f"{result}_mask"] if op == "Dropout" else [result]
        nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        return result

    x = "data_0"
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        kernel = SHAPES[layer][-1]
        attributes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [4, 4] if layer == "conv1" else [1, 1]}
        attributes |= {"pads": [0 if layer == "conv1" else kernel // 2] * 4}
        attributes |= {"group": 2} if layer in ("conv2", "conv4", "conv5") else {}
        x = add("Conv", x, f"{layer}_w_0", f"{layer}_b_0", **attributes | changes.get(layer, {}))
        x = add("Relu", x)
        pads = [0, 0, 1, 1] if layer == "conv5" else [0] * 4
        pool: tuple[str, dict[str, Any]] = ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads})
        norm: tuple[str, dict[str, Any]] = ("LRN", {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0})
        norm[1].update(changes.get(layer.replace("conv", "lrn"), {}))
        pool[1].update(changes.get(layer.replace("conv", "pool"), {}))
        after = {"conv1": [norm, pool], "conv2": [norm, pool], "conv5": [pool]}.get(layer, [])
        for op, facts in reversed(after) if pool_first else after:
            x = add(op, x, **facts)
    if opset < 5:
        x = add("Reshape", x, shape=[1, 9216])
    else:
        constants.append(numpy_helper.from_array(np.array([1, 9216]), "flat"))
        x = add("Reshape", x, "flat")
    for layer in ("fc6", "fc7", "fc8"):
        attributes = {"transB": 1} | ({"broadcast": 1} if opset < 7 else {})
        x = add("Gemm", x, f"{layer}_w_0", f"{layer}_b_0", **attributes | changes.get(layer, {}))
        if layer != "fc8":
            x = add("Relu", x)
            ratio = {} if opset >= 12 else {"ratio": 0.5}
            x = add("Dropout", x, **ratio | ({"is_test": 1} if opset < 7 else {}))
    nodes.append(helper.make_node("Softmax", [x], ["prob_1"]))
    return _model(nodes, "data_0", ("prob_1", [1, CLASSES]), constants, opset)


def exported(weights: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """torchvision's network as exporters write it: MatMul and Add for Gemm, weights in nodes, no softmax."""
    nodes: list[onnx.NodeProto] = []

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"r{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def constant(name: str, value: NDArray[np.float32]) -> str:
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name)))
        return name

    x = "x"
    for layer, pad, stride in (("conv1", 2, 4), ("conv2", 2, 1), ("conv3", 1, 1), ("conv4", 1, 1), ("conv5", 1, 1)):
        operands = [constant(f"{layer}_{kind}", weights[f"{layer}_{kind}_0"]) for kind in ("w", "b")]
        x = add("Relu", add("Conv", x, *operands, pads=[pad] * 4, strides=[stride] * 2))
        if layer in ("conv1", "conv2", "conv5"):
            x = add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = add("Flatten", add("AveragePool", x, kernel_shape=[1, 1], strides=[1, 1]))
    for layer in ("fc6", "fc7", "fc8"):
        turned = add("Transpose", constant(f"{layer}_w", weights[f"{layer}_w_0"]), perm=[1, 0])
        x = add("Add", add("MatMul", x, turned), constant(f"{layer}_b", weights[f"{layer}_b_0"]))
        x = x if layer == "fc8" else add("Relu", x)
    return _model(nodes, "x", (x, [1, CLASSES]), [], 17)


def _model(
    nodes: list[onnx.NodeProto], entry: str, end: tuple[str, list[int]], constants: list[onnx.TensorProto], opset: int
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(entry, TensorProto.FLOAT, [1, 3, 224, 224])]
    if opset < 12:  # older files list their constants among their inputs
        inputs += [helper.make_tensor_value_info(c.name, c.data_type, list(c.dims)) for c in constants]
    graph = helper.make_graph(nodes, "published", inputs, [helper.make_tensor_value_info(end[0], 1, end[1])], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3 if opset < 12 else 7)


def caffemodel(weights: dict[str, NDArray[np.float32]]) -> bytes:
    """A `.caffemodel`: a protocol buffer of layers (field 100), each a name (1), a type (2) and blobs (7)."""
    return b"".join(bytes_field(100, b"".join(_layer(name, weights))) for name in SHAPES)


def binaryproto(values: NDArray[np.float32]) -> bytes:
    """A mean image (3, H, W) as Caffe stores it: num (1), channels (2), height (3), width (4) and data (5)."""
    sides = b"".join(varint_field(number, side) for number, side in enumerate((1, *values.shape), 1))
    return sides + bytes_field(5, values.astype("<f4").tobytes())


def _layer(name: str, weights: dict[str, NDArray[np.float32]]) -> Iterator[bytes]:
    yield bytes_field(1, name.encode())
    yield bytes_field(2, b"Convolution" if name.startswith("conv") else b"InnerProduct")
    for values in (weights[f"{name}_w_0"], weights[f"{name}_b_0"]):
        shape = bytes_field(1, b"".join(varint(side) for side in values.shape))
        yield bytes_field(7, bytes_field(7, shape) + bytes_field(5, values.astype("<f4").tobytes()))
