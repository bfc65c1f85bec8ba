"""Rewrite the ONNX graphs in this folder after a change (needs onnx): `python -m index.scanning.graphs.write`."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from model.network.onnx_graph import IR_VERSION, OPSET


def create_graph(of_dims: bool) -> onnx.ModelProto:
    """A graph that multiplies queries (Q, K) uint8 by codes (dim, N) uint8 to products (Q, N) int32.

    `of_dims`: with an input dims (K,) int32, which selects the rows of the codes to multiply.
    """
    inputs = [
        helper.make_tensor_value_info("queries", TensorProto.UINT8, ["Q", "K"]),
        helper.make_tensor_value_info("codes", TensorProto.UINT8, ["dim", "N"]),
    ]
    nodes, codes = [], "codes"
    if of_dims:
        inputs.append(helper.make_tensor_value_info("dims", TensorProto.INT32, ["K"]))
        nodes, codes = [helper.make_node("Gather", ["codes", "dims"], ["rows"], axis=0)], "rows"
    nodes.append(helper.make_node("MatMulInteger", ["queries", codes], ["products"]))
    products = helper.make_tensor_value_info("products", TensorProto.INT32, ["Q", "N"])
    graph = helper.make_graph(nodes, "products", inputs, [products])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


GRAPHS = {"products": False, "products_of_dims": True}

if __name__ == "__main__":
    for name, of_dims in GRAPHS.items():
        Path(__file__).with_name(f"{name}.onnx").write_bytes(create_graph(of_dims).SerializeToString())
