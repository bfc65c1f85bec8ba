"""Integer products are exact, whichever dimensions are read; the stored graphs are what their module writes."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from index.scanning.graphs.write import GRAPHS, create_graph
from index.scanning.integer_products import MAX_DIM, MAX_SPARSE_SHARE, find_nonzero_dims, multiply


@pytest.mark.parametrize("zero_share", [0.0, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("num_queries", [1, 5])
@pytest.mark.parametrize("dim", [1, 10, 4096])
def test_products_are_exact(dim: int, num_queries: int, zero_share: float) -> None:
    generator = np.random.default_rng(dim)
    codes = generator.integers(0, 256, (dim, 300), np.uint8)
    queries = generator.integers(1, 256, (num_queries, dim), np.uint8)
    queries[:, generator.random(dim) < zero_share] = 0
    dims = find_nonzero_dims(queries)
    assert (dims is None) == (np.count_nonzero(queries.any(0)) > MAX_SPARSE_SHARE * dim)
    read = queries if dims is None else queries[:, dims]
    np.testing.assert_array_equal(multiply(codes, read, dims), queries.astype(np.int64) @ codes.astype(np.int64))


def test_the_largest_products_fit() -> None:
    largest = np.full((MAX_DIM, 20), 255, np.uint8)
    assert multiply(largest, largest[:, :2].T.copy(), None).tolist() == [[255 * 255 * MAX_DIM] * 20] * 2
    assert 2 * 255 * 255 * MAX_DIM < 2**31


def test_graphs_are_those_that_their_module_writes() -> None:
    for name, of_dims in GRAPHS.items():
        file = resources.files("index.scanning.graphs").joinpath(f"{name}.onnx")
        assert file.read_bytes() == create_graph(of_dims).SerializeToString()
