"""A check of ONNX files before they are loaded: they end, and they are all there is.

onnxruntime runs parts of a graph while it loads it, so a graph that loops for ever would never be loaded, and it reads
weights from any other file that a graph names. Our graphs have neither. Only the parts of the file that say so are
read, by the wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding) and the field numbers of
onnx.proto: serving doesn't need the package onnx, and weights aren't copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from model.exceptions import ArtifactError

LOOPS = ("Loop", "Scan", "SequenceMap")
ALLOWED_DOMAINS = ("", "ai.onnx")
EXTERNAL_LOCATION = 1
MAX_DEPTH = 4
"""Graphs within graphs; ours have one `If`."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_GRAPHS, _ATTRIBUTE_TENSORS, _ATTRIBUTE_SPARSE = (6, 11), (5, 10), (22, 23)
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14
_SPARSE_PARTS = (1, 2)


def check_graph(path: Path) -> None:
    """Raise ArtifactError unless the ONNX file at `path` has no loops, functions, foreign operators or other files."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for number, value in _fields(content, 0, len(content)):
                if number == _MODEL_FUNCTIONS:
                    raise ArtifactError(f"{path} defines functions of its own, which is not allowed")
                if number == _MODEL_GRAPH:
                    _check_graph(content, value, path, 0)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} isn't a whole ONNX file") from error
    except OSError as error:
        raise ArtifactError(f"can't read {path}: {error.strerror}") from error


def _check_graph(content: mmap.mmap, graph: slice | int, path: Path, depth: int) -> None:
    if depth == MAX_DEPTH:
        raise ArtifactError(f"{path} has graphs within graphs, which is not allowed")
    for number, value in _fields(content, *_bounds(graph)):
        if number == _GRAPH_NODE:
            _check_node(content, value, path, depth)
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(content, value, path)
        elif number == _GRAPH_SPARSE:
            _check_sparse(content, value, path)


def _check_node(content: mmap.mmap, node: slice | int, path: Path, depth: int) -> None:
    for number, value in _fields(content, *_bounds(node)):
        if number == _NODE_OP and (op := _text(content, value)) in LOOPS:
            raise ArtifactError(f"{path} has the operator {op}, which may never end: loops are not allowed")
        if number == _NODE_DOMAIN and _text(content, value) not in ALLOWED_DOMAINS:
            raise ArtifactError(f"{path} has operators that aren't ONNX's own, which is not allowed")
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, part in _fields(content, *_bounds(value)):
            if kind in _ATTRIBUTE_GRAPHS:
                _check_graph(content, part, path, depth + 1)
            elif kind in _ATTRIBUTE_TENSORS:
                _check_tensor(content, part, path)
            elif kind in _ATTRIBUTE_SPARSE:
                _check_sparse(content, part, path)


def _check_sparse(content: mmap.mmap, sparse: slice | int, path: Path) -> None:
    for number, value in _fields(content, *_bounds(sparse)):
        if number in _SPARSE_PARTS:
            _check_tensor(content, value, path)


def _check_tensor(content: mmap.mmap, tensor: slice | int, path: Path) -> None:
    for number, value in _fields(content, *_bounds(tensor)):
        if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_LOCATION and value == EXTERNAL_LOCATION):
            raise ArtifactError(f"{path} keeps weights in another file, which is not allowed: export it as one file")


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, slice | int]]:
    """The fields of a message: number, and where its bytes are, or its integer. Raises ValueError, IndexError."""
    position = start
    while position < end:
        tag, position = _read_varint(content, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _read_varint(content, position)
            yield tag >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            size, position = _read_varint(content, position)
        elif not size:
            raise ValueError("unknown kind of field")
        if position + size > end:
            raise ValueError("field longer than its message")
        yield tag >> 3, slice(position, position + size)
        position += size


def _read_varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("integer of more than 64 bits")


def _bounds(field: slice | int) -> tuple[int, int]:
    if isinstance(field, int):
        raise ValueError("integer instead of a message")
    return field.start, field.stop


def _text(content: mmap.mmap, field: slice | int) -> str:
    start, end = _bounds(field)
    return content[start:end].decode()
