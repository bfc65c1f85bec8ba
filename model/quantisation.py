"""network.onnx -> network.int8.onnx: convolutions and matrix products in whole numbers, about a quarter of the bytes.

Static: the ranges of all activations are measured once, on real pictures. Weights have a scale for each output channel,
and seven bits, because processors without VNNI add two products of 8 by 8 bits in 16 and would clip them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from model.views import TEN


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Batches of (N, 256, 256, 3) uint8 pictures, in all ten views, as the network's inputs."""

    def __init__(self, batches: Iterable[NDArray[np.uint8]]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        pictures = next(self._batches, None)
        return None if pictures is None else {"pictures": pictures, "views": np.array(TEN)}


def quantise(network: Path, batches: Iterable[NDArray[np.uint8]], target: Path) -> None:
    """Write the int8 form of an exported network. `batches`: (N, 256, 256, 3) uint8 pictures like those to come."""
    graph = onnx.load(str(network)).graph
    learned = [
        node.name
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and node.input[1].endswith(".weight")  # not LRN's sums of squares
    ]
    quantize_static(
        str(network),
        str(target),
        _Pictures(batches),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=learned,
    )
