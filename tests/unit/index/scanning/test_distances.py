"""Candidates' distances are computed in float64, even for thousands of candidates."""

from __future__ import annotations

import numpy as np
import pytest

from index.scanning.distances import rerank
from index.scanning.scanners import SearchPool


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_candidates_are_reranked_exactly(dtype: str) -> None:
    generator = np.random.default_rng(0)
    features = generator.exponential(1, (3000, 64)).astype(dtype)
    candidates, query = generator.permutation(3000)[:1000], features[5].astype(np.float32)
    with SearchPool() as pool:
        rows, distances = rerank(features, candidates, query, 10, pool)
    expected = np.linalg.norm(features[np.sort(candidates)].astype(np.float64) - query, axis=1)
    order = np.argsort(expected, kind="stable")[:10]
    np.testing.assert_array_equal(rows, np.sort(candidates)[order])
    np.testing.assert_allclose(distances, expected[order], rtol=1e-12)
