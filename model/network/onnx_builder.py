"""Nodes and constants of an ONNX graph in the making."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Nodes:
    """In the order in which they are added; each call returns the name of its result.

    A branch (`branch`) has nodes of its own, whose names begin with the branch's, and constants of its own:
    onnxruntime lays out the weights of convolutions beforehand only where it finds them in the same graph.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.prefix = ""

    def branch(self, name: str) -> Nodes:
        """Nodes for one side of an If."""
        branch = Nodes()
        branch.prefix = f"{name}/"
        return branch

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """The same name is the same constant."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def numbers(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant("n" + "_".join(map(str, values)), np.array(values, np.int64))

    def add(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        result = self.prefix + name
        self.nodes.append(helper.make_node(op, list(inputs), [result], name=result, **attributes))
        return result

    def cut(self, x: str, name: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
        """Rows and columns, from and to, of (N, C, H, W); those that are whole aren't named: (0, 0)."""
        for axis, (start, end) in ((2, rows), (3, columns)):
            if (start, end) != (0, 0):
                bounds = [self.numbers(start), self.numbers(end), self.numbers(axis)]
                x = self.add("Slice", x, *bounds, name=f"{name}_{'rows' if axis == 2 else 'columns'}")
        return x

    def split(self, x: str, count: int, name: str) -> list[str]:
        """`count` equal parts of the first axis."""
        parts = [f"{self.prefix}{name}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node("Split", [x], parts, name=self.prefix + name, axis=0))
        return parts

    def graph(self, output: str) -> onnx.GraphProto:
        """The nodes as a branch of an If: no inputs, one output."""
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        return helper.make_graph(self.nodes, self.prefix.rstrip("/"), [], [result], list(self.constants.values()))


def constants(model: onnx.ModelProto) -> dict[str, list[onnx.TensorProto]]:
    """Those of a model by name; in the branches of an If there may be copies of one."""
    graphs = [model.graph, *(a.g for node in model.graph.node for a in node.attribute if a.HasField("g"))]
    found: dict[str, list[onnx.TensorProto]] = {}
    for constant in (constant for graph in graphs for constant in graph.initializer):
        found.setdefault(constant.name, []).append(constant)
    return found
