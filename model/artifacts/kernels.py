"""Figure 3: the kernels of the first convolution, read from network.onnx by its format alone, without torch and onnx.

An ONNX file is a protocol buffer: fields, each a number and a kind, then a value or so many bytes. Such bytes are a
message of fields again: the model's graph, its nodes, the branches of an If, their constants.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.exceptions import ArtifactError

NAME = b"conv1.weight"
MODEL_GRAPH, GRAPH_NODE, GRAPH_CONSTANT = 7, 1, 5
NODE_ATTRIBUTE, ATTRIBUTE_GRAPH = 5, 6
TENSOR_SHAPE, TENSOR_NAME, TENSOR_BYTES = 1, 8, 9
VALUE, BYTES = 0, 2
FIXED = {1: 8, 5: 4}
"""Kinds of fields; bytes of those with a fixed length."""

A_ROW = 16

Span = tuple[int, int]
"""Of a file: where bytes start and end."""


def read_kernels(network: Path) -> NDArray[np.float32]:
    """(96, 11, 11, 3): the kernels of conv1, those of the first tower first. Raises ArtifactError."""
    with network.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            for graph in _graphs(content):
                for constant in _inside(content, graph, GRAPH_CONSTANT):
                    if any(content[start:end] == NAME for start, end in _inside(content, constant, TENSOR_NAME)):
                        return _values(content, constant).transpose(0, 2, 3, 1)
        except (IndexError, KeyError, ValueError) as error:
            raise ArtifactError(f"expected a network in {network.name}, found another file") from error
    raise ArtifactError(f"expected the constant {NAME.decode()} in {network.name}, found none")


def sheet(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, h, w, 3) -> one image of them, 16 a row, all on one scale, with a white pixel between."""
    count, height, width, _ = kernels.shape
    scaled = (kernels - kernels.min()) / max(float(np.ptp(kernels)), 1e-12)
    image = np.ones(((height + 1) * -(-count // A_ROW) - 1, (width + 1) * A_ROW - 1, 3))
    for number, kernel in enumerate(scaled):
        top, left = (height + 1) * (number // A_ROW), (width + 1) * (number % A_ROW)
        image[top : top + height, left : left + width] = kernel
    pixels: NDArray[np.uint8] = (255 * image).round().astype(np.uint8)
    return pixels


def _graphs(content: mmap.mmap) -> Iterator[Span]:
    """The model's graph, then the branches of its nodes."""
    for graph in _inside(content, (0, len(content)), MODEL_GRAPH):
        yield graph
        for node in _inside(content, graph, GRAPH_NODE):
            for attribute in _inside(content, node, NODE_ATTRIBUTE):
                yield from _inside(content, attribute, ATTRIBUTE_GRAPH)


def _values(content: mmap.mmap, tensor: Span) -> NDArray[np.float32]:
    shape = [value for field, kind, value, _ in _fields(content, tensor) if (field, kind) == (TENSOR_SHAPE, VALUE)]
    start, end = next(_inside(content, tensor, TENSOR_BYTES), (0, 0))
    return np.frombuffer(content[start:end], "<f4").reshape(shape)


def _inside(content: mmap.mmap, message: Span, wanted: int) -> Iterator[Span]:
    """The bytes of a message's fields with the number `wanted`."""
    return ((a, b) for field, kind, a, b in _fields(content, message) if (field, kind) == (wanted, BYTES))


def _fields(content: mmap.mmap, message: Span) -> Iterator[tuple[int, int, int, int]]:
    """Number and kind of each field; then where its bytes start and end, or for a value the value, and 0."""
    position, end = message
    while position < end:
        key, position = _value(content, position)
        field, kind = key >> 3, key & 7
        if kind == VALUE:
            value, position = _value(content, position)
            yield field, kind, value, 0
            continue
        length, position = _value(content, position) if kind == BYTES else (FIXED[kind], position)
        yield field, kind, position, position + length
        position += length


def _value(content: mmap.mmap, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
