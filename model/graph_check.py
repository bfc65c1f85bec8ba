"""A check of ONNX files before they are loaded: no loops, no references to other files, little besides weights.

onnxruntime runs parts of a graph while loading it, so a graph that loops forever would never load; it also reads
weights from any other file that a graph names. Our graphs have neither loops nor such references. The check reads only
the fields that matter for it, by their numbers in onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from model.exceptions import ArtifactError
from model.protobuf_wire import read_fields

LOOPS = ("Loop", "Scan", "SequenceMap")
ALLOWED_DOMAINS = ("", "ai.onnx")
MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
TENSOR_RAW_DATA, TENSOR_EXTERNAL_DATA, TENSOR_LOCATION = 9, 13, 14
EXTERNAL_LOCATION = 1
"""Field numbers, and the location that marks weights in another file."""
MAX_DEPTH = 4
"""Levels of graphs within graphs; ours have one `If`."""
MAX_BYTES_BESIDE_WEIGHTS = 2**22
MAX_FIELDS = 200_000
MAX_NAME_BYTES = 1000

_MODEL_FUNCTIONS = 25
_GRAPH_NODE, _GRAPH_SPARSE = 1, 15
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_GRAPHS, _ATTRIBUTE_TENSORS, _ATTRIBUTE_SPARSE = (6, 11), (5, 10), (22, 23)
_TENSOR_NUMBERS = (4, 5, 7, TENSOR_RAW_DATA, 10, 11)
_SPARSE_PARTS = (1, 2)


def check_graph(path: Path) -> None:
    """Raise ArtifactError if the ONNX file at `path` has loops, functions, foreign operators or external files, or too
    much besides its weights: loading it copies strings and other parts several times."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _GraphCheck(path, content).check()
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} isn't a complete ONNX file") from error
    except OSError as error:
        raise ArtifactError(f"can't read {path}: {error.strerror}") from error


class _GraphCheck:
    """The check of one file. It raises ArtifactError, ValueError or IndexError."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content = path, content
        self._weight_bytes = self._num_fields = 0

    def check(self) -> None:
        for number, value in self._fields(slice(0, len(self._content))):
            if number == _MODEL_FUNCTIONS:
                raise ArtifactError(f"{self._path} defines functions of its own, which is not allowed")
            if number == MODEL_GRAPH:
                self._check_graph(value, 0)
        others = len(self._content) - self._weight_bytes
        if others > MAX_BYTES_BESIDE_WEIGHTS:
            raise ArtifactError(
                f"{self._path} has {others:,} bytes besides its weights: at most {MAX_BYTES_BESIDE_WEIGHTS:,} are "
                "allowed"
            )

    def _check_graph(self, graph: slice | int, depth: int) -> None:
        if depth == MAX_DEPTH:
            raise ArtifactError(f"{self._path} has graphs nested too deeply")
        for number, value in self._fields(graph):
            if number == _GRAPH_NODE:
                self._check_node(value, depth)
            elif number == GRAPH_INITIALIZER:
                self._check_tensor(value)
            elif number == _GRAPH_SPARSE:
                self._check_sparse(value)

    def _check_node(self, node: slice | int, depth: int) -> None:
        for number, value in self._fields(node):
            if number == _NODE_OP and (op := self._text(value)) in LOOPS:
                raise ArtifactError(f"{self._path} has the operator {op}, which may never end: loops are not allowed")
            if number == _NODE_DOMAIN and self._text(value) not in ALLOWED_DOMAINS:
                raise ArtifactError(f"{self._path} has operators outside the domain ai.onnx, which is not allowed")
            if number != _NODE_ATTRIBUTE:
                continue
            for kind, part in self._fields(value):
                if kind in _ATTRIBUTE_GRAPHS:
                    self._check_graph(part, depth + 1)
                elif kind in _ATTRIBUTE_TENSORS:
                    self._check_tensor(part)
                elif kind in _ATTRIBUTE_SPARSE:
                    self._check_sparse(part)

    def _check_sparse(self, sparse: slice | int) -> None:
        for number, value in self._fields(sparse):
            if number in _SPARSE_PARTS:
                self._check_tensor(value)

    def _check_tensor(self, tensor: slice | int) -> None:
        for number, value in self._fields(tensor):
            if number == TENSOR_EXTERNAL_DATA or (number == TENSOR_LOCATION and value == EXTERNAL_LOCATION):
                raise ArtifactError(
                    f"{self._path} keeps weights in another file, which is not allowed: export it as one file"
                )
            if number in _TENSOR_NUMBERS and isinstance(value, slice):
                self._weight_bytes += value.stop - value.start

    def _fields(self, message: slice | int) -> Iterator[tuple[int, slice | int]]:
        """Yield the fields of a message: number, and the slice of its bytes or its integer."""
        if isinstance(message, int):
            raise ValueError("integer instead of a message")
        for field in read_fields(self._content, message):
            self._num_fields += 1
            if self._num_fields > MAX_FIELDS:
                raise ArtifactError(f"{self._path} has more than {MAX_FIELDS:,} parts, which no network needs")
            yield field.number, field.value

    def _text(self, field: slice | int) -> str:
        """The text of a short field: a name."""
        if isinstance(field, int) or field.stop - field.start > MAX_NAME_BYTES:
            raise ValueError("no name")
        return self._content[field].decode()
