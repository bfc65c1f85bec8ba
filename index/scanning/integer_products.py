"""Products of vectors of integers from 0 to 255, which neither numpy nor FAISS computes as fast as onnxruntime.

Only the dimensions in which a query isn't zero are read. For a network's rectified features, that is a third or less.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

MAX_DIM = 2**13
"""Up to this many dimensions, 2 |x - y|^2 is less than 2^31 for any two vectors."""
MAX_SPARSE_SHARE = 0.6
"""Above this share of the dimensions, reading all of them is faster than gathering some."""


def multiply(codes: NDArray[np.uint8], queries: NDArray[np.uint8], dims: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """Exact products (Q, N) of queries (Q, K) and the rows `dims` (K,) of codes (dim, N), or all rows (None).

    Runs in the calling thread only. `dim` is at most `MAX_DIM`.
    """
    if not queries.shape[1]:  # which onnxruntime leaves undefined
        return np.zeros((len(queries), codes.shape[1]), np.int32)
    inputs = {"queries": queries, "codes": codes}
    if dims is None:
        (products,) = _session("products").run(None, inputs)
    else:
        (products,) = _session("products_of_dims").run(None, inputs | {"dims": dims})
    return np.asarray(products)


def find_nonzero_dims(queries: NDArray[np.uint8]) -> NDArray[np.int32] | None:
    """The dimensions (K,) in which any of (Q, dim) queries isn't zero; None if reading all dimensions is faster."""
    dims = np.flatnonzero(queries.any(0)).astype(np.int32)
    return dims if len(dims) <= MAX_SPARSE_SHARE * queries.shape[1] else None


@functools.cache
def _session(name: str) -> ort.InferenceSession:
    """A session of index/scanning/graphs/NAME.onnx, which `index/scanning/graphs/write.py` has written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = resources.files("index.scanning.graphs").joinpath(f"{name}.onnx").read_bytes()
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
