"""Faster loading of ONNX files: large weights are mapped into memory instead of read and copied.

onnxruntime parses a file and copies its weights twice, which takes 0.5 s for 240 MB. Weights that a graph references in
another file are only mapped. So onnxruntime gets a graph that references the weights in the network's own file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

from model.graph_check import (
    EXTERNAL_LOCATION,
    GRAPH_INITIALIZER,
    MODEL_GRAPH,
    TENSOR_EXTERNAL_DATA,
    TENSOR_LOCATION,
    TENSOR_RAW_DATA,
)
from model.protobuf_wire import bytes_field, read_fields, varint_field

MIN_BYTES = 2**14
"""Smallest weight that is mapped."""
FOLDER_OPTION = "session.model_external_initializers_file_folder_path"
"""onnxruntime's session option for the folder of the files that a graph references."""

_ENTRY_KEY, _ENTRY_VALUE = 1, 2


def externalize_weights(path: Path) -> bytes:
    """The graph of the ONNX file at `path`, with references to that file instead of its large weights.

    `path`: a file that `model.graph_check` has accepted. A session of the result needs `FOLDER_OPTION` set to the
    file's folder.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

        def rebuild_graph(graph: slice) -> bytes:
            return _rebuild(content, graph, GRAPH_INITIALIZER, lambda tensor: _refer(content, tensor, path.name))

        return _rebuild(content, slice(0, len(content)), MODEL_GRAPH, rebuild_graph)


def _rebuild(content: mmap.mmap, message: slice, number: int, convert: Callable[[slice], bytes]) -> bytes:
    """The bytes of a message, with its fields of this `number` converted."""
    parts = []
    for field in read_fields(content, message):
        if field.number == number and isinstance(field.value, slice):
            parts.append(bytes_field(number, convert(field.value)))
        else:
            parts.append(content[field.span])
    return b"".join(parts)


def _refer(content: mmap.mmap, tensor: slice, name: str) -> bytes:
    """The bytes of a tensor, with large data replaced by a reference into the file `name`."""
    fields = list(read_fields(content, tensor))
    data = next((field.value for field in fields if field.number == TENSOR_RAW_DATA), 0)
    if isinstance(data, int) or data.stop - data.start < MIN_BYTES:
        return content[tensor]
    kept = [content[field.span] for field in fields if field.number not in (TENSOR_RAW_DATA, TENSOR_LOCATION)]
    place = {"location": name, "offset": str(data.start), "length": str(data.stop - data.start)}
    entries = [
        bytes_field(_ENTRY_KEY, key.encode()) + bytes_field(_ENTRY_VALUE, value.encode())
        for key, value in place.items()
    ]
    kept += [bytes_field(TENSOR_EXTERNAL_DATA, entry) for entry in entries]
    return b"".join([*kept, varint_field(TENSOR_LOCATION, EXTERNAL_LOCATION)])
