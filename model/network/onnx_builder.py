"""GraphBuilder: collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class GraphBuilder:
    """Nodes in the order in which they are added; each method returns the name of its result.

    A branch (`branch`) has its own nodes, whose names begin with the branch's, and its own constants: onnxruntime
    prepacks the weights of convolutions only if they are in the same graph.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.prefix = ""

    def branch(self, name: str) -> GraphBuilder:
        """A builder for one branch of an If."""
        branch = GraphBuilder()
        branch.prefix = f"{name}/"
        return branch

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant, or reuse the one that has this name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def int64s(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant("n" + "_".join(map(str, values)), np.array(values, np.int64))

    def add(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node with one output, which has the node's name."""
        result = self.prefix + name
        self.nodes.append(helper.make_node(op, list(inputs), [result], name=result, **attributes))
        return result

    def slice(self, x: str, name: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
        """Slice rows and columns, each (start, end), of (N, C, H, W); (0, 0): all of them."""
        for axis, (start, end) in ((2, rows), (3, columns)):
            if (start, end) != (0, 0):
                bounds = [self.int64s(start), self.int64s(end), self.int64s(axis)]
                x = self.add("Slice", x, *bounds, name=f"{name}_{'rows' if axis == 2 else 'columns'}")
        return x

    def split(self, x: str, count: int, name: str) -> list[str]:
        """Split `x` into `count` equal parts along the first axis."""
        parts = [f"{self.prefix}{name}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node("Split", [x], parts, name=self.prefix + name, axis=0))
        return parts

    def graph(self, output: str, dtype: int) -> onnx.GraphProto:
        """The nodes as a branch of an If: no inputs, one output of `dtype` (`onnx.TensorProto.DataType`)."""
        result = helper.make_tensor_value_info(output, dtype, None)
        return helper.make_graph(self.nodes, self.prefix.rstrip("/"), [], [result], list(self.constants.values()))


def constants(model: onnx.ModelProto) -> dict[str, list[onnx.TensorProto]]:
    """The constants of a model by name; each branch of an If may have its own copy."""
    graphs = [model.graph, *(a.g for node in model.graph.node for a in node.attribute if a.HasField("g"))]
    by_name: dict[str, list[onnx.TensorProto]] = {}
    for constant in (constant for graph in graphs for constant in graph.initializer):
        by_name.setdefault(constant.name, []).append(constant)
    return by_name
