"""Read a published ONNX file operator by operator, and compare it with the layers that the network should have.

The operators from the input to the output must form a single chain. Opsets 3 to 20: constants are initializers or
nodes, products are Gemm, or MatMul and Add, the target of a reshape is an attribute or an input; dropout does nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from model.exceptions import ArtifactError
from model.graph_check import check_graph
from model.lrn.formula import BETA, SIZE
from model.network.onnx_layers import ACTIVATION_OPERATORS
from model.network.spec import LRN, Activation, Conv, Layer, Linear, MaxPool, NetworkSpec
from model.pretrained.specs import Array, PretrainedFile

NO_OPERATION = ("Dropout", "Identity", "Reshape", "Flatten", "AveragePool")
"""Operators that leave the values unchanged; the shapes that they produce are checked by the next layer's weights."""
_KINDS = {"Softmax": "softmax"} | {first: name for name, (first, *rest) in ACTIVATION_OPERATORS.items() if not rest}
"""ONNX operator -> kind of step."""
MIN_OPSET = 7
"""The oldest opset that onnxruntime runs."""


class Step(NamedTuple):
    """One operator of the chain. `attributes` are compared with the layer's; `output` is the name of its result."""

    kind: str
    attributes: dict[str, Any]
    output: str
    weight: Array | None = None
    bias: Array | None = None


def read(path: Path, spec: NetworkSpec) -> PretrainedFile:
    """Read a file. Raises ArtifactError naming the first layer that isn't the network's, and what it is instead."""
    model = _load(path)
    constants = _constants(model)
    side = spec.config.input_size
    (entry,) = [value for value in model.graph.input if value.name not in constants][:1] or [None]
    shape = [d.dim_value for d in entry.type.tensor_type.shape.dim][1:] if entry is not None else []
    if shape != [3, side, side]:
        raise ArtifactError(f"expected an input of 3 x {side} x {side} in {path.name}, got {shape}")
    steps = list(_chain(model, entry.name, constants, path.name))
    weights: dict[str, Array] = {}
    features, last_activation = "", spec.feature_layers[-1].name
    expected = [(layer.name, *description) for layer in spec.layers if (description := _describe(layer))]
    for place, (name, kind, attributes) in enumerate([*expected, ("the output", "softmax", {})]):
        step = steps[place] if place < len(steps) else Step("the end", {}, "")
        if kind == "softmax" and step.kind == "the end":
            break
        if (step.kind, step.attributes) != (kind, attributes):
            raise ArtifactError(
                f"{path.name} isn't {spec.config.name}: expected {name} to be {_format(kind, attributes)}, "
                f"got {_format(step.kind, step.attributes)}"
            )
        if step.weight is not None and step.bias is not None:
            weights |= {f"{name}.weight": step.weight, f"{name}.bias": step.bias}
        if name == last_activation:
            features = step.output
    if len(steps) > place + 1:
        raise ArtifactError(f"expected the end of the network in {path.name}, got {steps[place + 1].kind}")
    return PretrainedFile(weights, side, _FileRunner(model, entry.name, steps[-1], features))


def _describe(layer: Layer) -> tuple[str, dict[str, Any]] | None:
    """Kind and attributes of the operator that computes a layer; None if there is none, or one that does nothing."""
    if isinstance(layer, Conv):
        out, per_group, *window = layer.weight_shape
        shapes = {"kernels": out, "biases": out, "channels per kernel": per_group, "window": tuple(window)}
        geometry = {"groups": layer.groups, "strides": (layer.stride,) * 2, "pads": layer.padding}
        return "convolution", shapes | geometry
    if isinstance(layer, Linear):
        return "linear", {"outputs": layer.out_features, "biases": layer.out_features, "inputs": layer.in_features}
    if isinstance(layer, Activation):
        return layer.function, {}
    if isinstance(layer, LRN):  # ONNX divides alpha by the size, as Caffe does
        return "lrn", {"size": SIZE, "alpha": round(SIZE * layer.alpha, 9), "beta": BETA, "k": layer.k}
    if isinstance(layer, MaxPool):
        geometry = {"window": (layer.kernel_size,) * 2, "strides": (layer.stride,) * 2}
        return "pool", geometry | {"pads": layer.padding}
    return None


def _format(kind: str, attributes: dict[str, Any]) -> str:
    if not attributes:
        return kind
    return f"{kind} ({', '.join(f'{name} {value}' for name, value in attributes.items())})"


def _load(path: Path) -> onnx.ModelProto:
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ArtifactError(f"{path} is a web page, not an ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ArtifactError(f"{path} isn't a complete ONNX file: {reason}") from error
    check_graph(path)
    return model


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Initializers, and the results of nodes whose inputs are all constant."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in known for name in node.input) and (node.input or node.op_type == "Constant"):
            inputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.input]
            outputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
            subgraph = helper.make_graph([node], "constant", inputs, outputs)
            constant_model = helper.make_model(subgraph, opset_imports=model.opset_import, ir_version=model.ir_version)
            values = ReferenceEvaluator(constant_model).run(None, {name: known[name] for name in node.input})
            known |= dict(zip(node.output, values, strict=True))
    return known


def _chain(
    model: onnx.ModelProto, current: str, constants: dict[str, np.ndarray[Any, Any]], file: str
) -> Iterator[Step]:
    nodes = [node for node in model.graph.node if node.output[0] not in constants]
    while following := [node for node in nodes if current in node.input]:
        if len(following) > 1:
            raise ArtifactError(f"expected one operator after {current} in {file}, got {len(following)}")
        node = following[0]
        node_attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        operands = [constants[name] for name in node.input if name in constants]
        current = node.output[0]
        if node.op_type == "MatMul":  # the next node adds its bias
            (added,) = [other for other in nodes if current in other.input][:1] or [node]
            if added.op_type == "Add":
                operands += [constants[name] for name in added.input if name in constants]
                current = added.output[0]
        if node.op_type in NO_OPERATION and set(node_attributes.get("kernel_shape", [1])) == {1}:
            continue
        yield _step(node.op_type, node_attributes, operands, current, file)


def _step(
    op: str, node_attributes: dict[str, Any], operands: list[np.ndarray[Any, Any]], output: str, file: str
) -> Step:
    for values in operands:
        if values.dtype != np.float32:
            raise ArtifactError(f"expected float32 weights before {output} in {file}, got {values.dtype}")
    if op == "Conv" and operands:
        return _convolution(node_attributes, operands, output, file)
    if op in ("Gemm", "MatMul") and operands and operands[0].ndim == 2:
        weight = operands[0] if node_attributes.get("transB") else operands[0].T  # (outputs, inputs)
        bias = _bias(operands, len(weight))
        attributes = {"outputs": weight.shape[0], "biases": len(bias), "inputs": weight.shape[1]}
        defaults = {"alpha": 1, "beta": 1, "transA": 0}
        odd = {
            name: value
            for name, default in defaults.items()
            if (value := node_attributes.get(name, default)) != default
        }
        return Step("linear", attributes | odd, output, weight, bias)
    if op == "LRN":
        alpha, k = round(float(node_attributes.get("alpha", 1e-4)), 9), float(node_attributes.get("bias", 1.0))
        return Step(
            "lrn",
            {"size": node_attributes["size"], "alpha": alpha, "beta": node_attributes.get("beta", 0.75), "k": k},
            output,
        )
    if op == "MaxPool":
        _refuse_padding(node_attributes, "a pooling layer", output, file)
        pads = tuple(node_attributes.get("pads", (0,) * 4))
        pads = (0, 0, 1, 1) if node_attributes.get("ceil_mode") and not any(pads) else pads
        attributes = {
            "window": tuple(node_attributes["kernel_shape"]),
            "strides": tuple(node_attributes.get("strides", (1, 1))),
            "pads": pads,
        }
        return Step("pool", attributes, output)
    return Step(_KINDS.get(op, op), {}, output)


def _convolution(node_attributes: dict[str, Any], operands: list[np.ndarray[Any, Any]], output: str, file: str) -> Step:
    weight = operands[0]  # (kernels, channels per kernel, height, width)
    _refuse_padding(node_attributes, "a convolution", output, file)
    bias = _bias(operands, len(weight))
    attributes = {
        "kernels": weight.shape[0],
        "biases": len(bias),
        "channels per kernel": weight.shape[1],
        "window": weight.shape[2:],
    }
    attributes |= {"groups": node_attributes.get("group", 1), "strides": tuple(node_attributes.get("strides", (1, 1)))}
    pads = tuple(node_attributes.get("pads", (0,) * 4))
    return Step("convolution", attributes | {"pads": pads}, output, weight, bias)


def _refuse_padding(node_attributes: dict[str, Any], layer: str, output: str, file: str) -> None:
    """Raise ArtifactError for padding that depends on the size of the input, and for dilations."""
    if node_attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or set(node_attributes.get("dilations", [1])) != {1}:
        raise ArtifactError(f"{file} has {layer} with auto_pad or dilations before {output}: not supported")


def _bias(operands: list[np.ndarray[Any, Any]], outputs: int) -> Array:
    return np.zeros(outputs, np.float32) if len(operands) < 2 else operands[1].ravel()


class _FileRunner:
    """Runs the file itself in onnxruntime; the features are the output of the last activation."""

    def __init__(self, model: onnx.ModelProto, entry: str, last: Step, features: str) -> None:
        model_with_outputs = _upgrade(model)
        del model_with_outputs.graph.output[:]
        for name in (last.output, features):
            model_with_outputs.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                model_with_outputs.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's have no common base class
            raise ArtifactError(f"onnxruntime can't run the file: {str(error).splitlines()[0][:200]}") from error
        self._entry, self._logits = entry, last.kind != "softmax"

    def __call__(self, crops: Array) -> tuple[Array, Array]:
        """One crop at a time: published graphs have a batch size of one."""
        results = [self._session.run(None, {self._entry: crop[None]}) for crop in crops]
        probabilities = np.concatenate([result[0] for result in results])
        if self._logits:
            powers = np.exp(probabilities - probabilities.max(1, keepdims=True))
            probabilities = powers / powers.sum(1, keepdims=True)
        return probabilities, np.concatenate([result[1] for result in results])


def _upgrade(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert opsets 3 to 6 to `MIN_OPSET`: only attributes of these operators changed."""
    new = copy.deepcopy(model)
    opset = next(entry for entry in new.opset_import if entry.domain in ("", "ai.onnx"))
    if opset.version >= MIN_OPSET:
        return new
    opset.version = MIN_OPSET
    for number, node in enumerate(new.graph.node):
        kept = [a for a in node.attribute if a.name not in ("broadcast", "is_test", "consumed_inputs", "shape")]
        shapes = [list(a.ints) for a in node.attribute if a.name == "shape" and node.op_type == "Reshape"]
        del node.attribute[:]
        node.attribute.extend(kept)
        for shape in shapes:
            name = f"shape_of_{number}"
            new.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
            node.input.append(name)
    return new
