"""A published ONNX file, read layer by layer: what each does is compared with what the network should do.

The operators from the input to the output must be one chain. Opsets 3 to 20: constants are initializers or nodes,
products are Gemm or MatMul and Add, a reshape's target is an attribute or an input; dropout does nothing at test.
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
from model.lrn.formula import BETA, NORMS, SIZE
from model.network.spec import BORDERS, NORMALIZED, POOLED, Architecture, convolutions, linears
from model.pretrained.specs import Array, Source

UNCHANGED = ("Dropout", "Identity", "Reshape", "Flatten", "AveragePool")
"""Operators that leave the values as they are; the shapes that they give are proven by the next layer's weights."""
OLDEST_OF_ONNXRUNTIME = 7


class Step(NamedTuple):
    """One operator of the chain. `facts` are compared; `output` names its result."""

    kind: str
    facts: dict[str, Any]
    output: str
    weight: Array | None = None
    bias: Array | None = None


def read(path: Path, architecture: Architecture) -> Source:
    """Raises ArtifactError naming the first layer that isn't the architecture's, and what was found there."""
    model = _load(path)
    constants = _constants(model)
    (entry,) = [value for value in model.graph.input if value.name not in constants][:1] or [None]
    sides = [d.dim_value for d in entry.type.tensor_type.shape.dim][1:] if entry is not None else []
    if sides != [3, architecture.side, architecture.side]:
        raise ArtifactError(
            f"expected an input of 3 x {architecture.side} x {architecture.side} in {path.name}, found {sides}"
        )
    found = list(_chain(model, entry.name, constants, path.name))
    weights: dict[str, Array] = {}
    hidden = ""
    for place, (layer, kind, facts) in enumerate(expected(architecture)):
        step = found[place] if place < len(found) else Step("the end", {}, "")
        if kind == "softmax" and step.kind == "the end":
            break
        if (step.kind, step.facts) != (kind, facts):
            raise ArtifactError(
                f"expected {layer} in {path.name} to be {_words(kind, facts)}; found {_words(step.kind, step.facts)}"
            )
        if step.weight is not None and step.bias is not None:
            weights |= {f"{layer}.weight": step.weight, f"{layer}.bias": step.bias}
        if layer == "fc7":
            hidden = step.output
    if len(found) > place + 1:
        raise ArtifactError(f"expected the end of the network in {path.name}, found {found[place + 1].kind}")
    return Source(weights, architecture.side, _Answers(model, entry.name, found[-1], hidden))


def expected(architecture: Architecture) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Layer, kind and facts of every operator of an architecture, in order."""
    norm = NORMS.get(architecture.normalization)
    for layer in convolutions(architecture):
        groups = 1 if layer.joined else architecture.towers
        pads = BORDERS[architecture.border] if layer.name == "conv1" else (layer.padding,) * 4
        facts: dict[str, Any] = {"kernels": layer.outputs, "biases": layer.outputs, "sees": layer.inputs // groups}
        facts |= {"window": (layer.kernel,) * 2}
        yield layer.name, "convolution", facts | {"groups": groups, "strides": (layer.stride,) * 2, "pads": pads}
        yield layer.name, "relu", {}
        after: list[tuple[str, str, dict[str, Any]]] = []
        if norm is not None and layer.name in NORMALIZED:
            # ONNX divides alpha by the size, as Caffe does
            constants = {"size": SIZE, "alpha": round(SIZE * norm.alpha, 9), "beta": BETA, "k": norm.k}
            after.append((layer.name.replace("conv", "norm"), "norm", constants))
        if layer.name in POOLED:
            pooling = {"window": (architecture.pool,) * 2, "strides": (2, 2)}
            pool = (layer.name.replace("conv", "pool"), "pool", pooling | {"pads": architecture.last_pads(layer.name)})
            after.insert(0 if architecture.pool_first else len(after), pool)
        yield from after
    for name, (inputs, outputs) in linears(architecture).items():
        yield name, "linear", {"outputs": outputs, "biases": outputs, "inputs": inputs}
        if name != "fc8":
            yield name, "relu", {}
    yield "the output", "softmax", {}


def _words(kind: str, facts: dict[str, Any]) -> str:
    return f"{kind} ({', '.join(f'{name} {value}' for name, value in facts.items())})" if facts else kind


def _load(path: Path) -> onnx.ModelProto:
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ArtifactError(f"expected an ONNX file at {path}, found a web page")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ArtifactError(f"expected a whole ONNX file at {path}, found: {reason}") from error
    return model


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Initializers, and the results of nodes that see nothing else."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in known for name in node.input) and (node.input or node.op_type == "Constant"):
            inputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.input]
            outputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
            alone = helper.make_graph([node], "constant", inputs, outputs)
            folded = helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
            values = ReferenceEvaluator(folded).run(None, {name: known[name] for name in node.input})
            known |= dict(zip(node.output, values, strict=True))
    return known


def _chain(
    model: onnx.ModelProto, current: str, constants: dict[str, np.ndarray[Any, Any]], file: str
) -> Iterator[Step]:
    nodes = [node for node in model.graph.node if node.output[0] not in constants]
    while following := [node for node in nodes if current in node.input]:
        if len(following) > 1:
            raise ArtifactError(f"expected one operator after {current} in {file}, found {len(following)}")
        node = following[0]
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        operands = [constants[name] for name in node.input if name in constants]
        current = node.output[0]
        if node.op_type == "MatMul":  # its bias is added by the next
            (added,) = [other for other in nodes if current in other.input][:1] or [node]
            if added.op_type == "Add":
                operands += [constants[name] for name in added.input if name in constants]
                current = added.output[0]
        if node.op_type in UNCHANGED and set(given.get("kernel_shape", [1])) == {1}:
            continue
        yield _step(node.op_type, given, operands, current, file)


def _step(op: str, given: dict[str, Any], operands: list[np.ndarray[Any, Any]], output: str, file: str) -> Step:
    for values in operands:
        if values.dtype != np.float32:
            raise ArtifactError(f"expected float32 weights in {file}, found {values.dtype} before {output}")
    if op == "Conv" and operands:
        return _convolution(given, operands, output, file)
    if op in ("Gemm", "MatMul") and operands and operands[0].ndim == 2:
        weight = operands[0] if given.get("transB") else operands[0].T  # (outputs, inputs)
        bias = _bias(operands, len(weight))
        facts = {"outputs": weight.shape[0], "biases": len(bias), "inputs": weight.shape[1]}
        odd = {name: given[name] for name in ("alpha", "beta", "transA") if given.get(name, 1) not in (0, 1)}
        odd |= {"transA": 1} if given.get("transA") else {}
        return Step("linear", facts | odd, output, weight, bias)
    if op == "LRN":
        alpha, k = round(float(given.get("alpha", 1e-4)), 9), float(given.get("bias", 1.0))
        return Step("norm", {"size": given["size"], "alpha": alpha, "beta": given.get("beta", 0.75), "k": k}, output)
    if op == "MaxPool":
        pads = tuple(given.get("pads", (0,) * 4))
        pads = (0, 0, 1, 1) if given.get("ceil_mode") and not any(pads) else pads
        facts = {"window": tuple(given["kernel_shape"]), "strides": tuple(given.get("strides", (1, 1))), "pads": pads}
        return Step("pool", facts, output)
    return Step({"Relu": "relu", "Softmax": "softmax"}.get(op, op), {}, output)


def _convolution(given: dict[str, Any], operands: list[np.ndarray[Any, Any]], output: str, file: str) -> Step:
    weight = operands[0]  # (kernels, sees, height, width)
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or set(given.get("dilations", [1])) != {1}:
        raise ArtifactError(f"expected plain convolutions in {file}, found auto_pad or dilations before {output}")
    bias = _bias(operands, len(weight))
    facts = {"kernels": weight.shape[0], "biases": len(bias), "sees": weight.shape[1], "window": weight.shape[2:]}
    facts |= {"groups": given.get("group", 1), "strides": tuple(given.get("strides", (1, 1)))}
    pads = tuple(given.get("pads", (0,) * 4))
    return Step("convolution", facts | {"pads": pads}, output, weight, bias)


def _bias(operands: list[np.ndarray[Any, Any]], outputs: int) -> Array:
    return np.zeros(outputs, np.float32) if len(operands) < 2 else operands[1].ravel()


class _Answers:
    """What the file itself says, in onnxruntime; the features are taken after fc7's ReLU."""

    def __init__(self, model: onnx.ModelProto, entry: str, last: Step, hidden: str) -> None:
        watched = _modern(model)
        del watched.graph.output[:]
        for name in (last.output, hidden):
            watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._entry, self._logits = entry, last.kind != "softmax"

    def __call__(self, crops: Array) -> tuple[Array, Array]:
        """One crop at a time: published graphs have a batch of one."""
        answers = [self._session.run(None, {self._entry: crop[None]}) for crop in crops]
        probabilities = np.concatenate([answer[0] for answer in answers])
        if self._logits:
            powers = np.exp(probabilities - probabilities.max(1, keepdims=True))
            probabilities = powers / powers.sum(1, keepdims=True)
        return probabilities, np.concatenate([answer[1] for answer in answers])


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """Opsets 3 to 6 in the words of 7, the oldest that onnxruntime runs: for these operators only words changed."""
    if model.opset_import[0].version >= OLDEST_OF_ONNXRUNTIME:
        return copy.deepcopy(model)
    new = copy.deepcopy(model)
    new.opset_import[0].version = OLDEST_OF_ONNXRUNTIME
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
