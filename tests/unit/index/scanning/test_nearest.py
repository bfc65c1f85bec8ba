"""Exact nearest neighbors equal brute force, alone and in a batch, with ties, filters and damage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from index.scanning.nearest import nearest, nearest_batch
from index.scanning.scanners import FULL_SCANNER, ScanResult, SearchedRows, SearchPool


@pytest.mark.parametrize("count", [1, 5, 400, 12_000])
def test_nearest_equals_brute_force(count: int) -> None:
    generator = np.random.default_rng(count)
    features = generator.exponential(1, (count, 64)).astype(np.float32)
    features[count // 2] = features[0]  # a tie
    for query in (features[0], generator.exponential(1, 64).astype(np.float32)):
        with SearchPool() as pool:
            rows, distances = nearest(SearchedRows(features, pool), query, 10)
        expected = np.linalg.norm(features.astype(np.float64) - query, axis=1)
        order = np.argsort(expected, kind="stable")[:10]
        np.testing.assert_array_equal(rows, order)
        np.testing.assert_allclose(distances, expected[order], rtol=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_only_selected_rows_are_found(share: float) -> None:
    generator = np.random.default_rng(0)
    features = generator.exponential(1, (5000, 64)).astype(np.float32)
    mask = generator.random(5000) < share
    with SearchPool() as pool:
        rows, _ = nearest(SearchedRows(features, pool, mask), features[0], 20)
    distances = np.linalg.norm(features.astype(np.float64) - features[0], axis=1)
    distances[~mask] = np.inf
    np.testing.assert_array_equal(rows, np.argsort(distances, kind="stable")[:20])


def test_a_batch_equals_single_queries() -> None:
    """One matrix product for all queries gives the results of one scan per query, even if more rows tie than are
    fetched. FAISS computes a product only for this many dimensions."""
    generator = np.random.default_rng(1)
    features = 50 * generator.exponential(1, (1200, 4096)).astype(np.float32)
    features[1000:1100] = features[0]
    queries = features[[0, 7, 1005, 1199]] + np.float32(0.25)
    queries[0] = features[0]
    squared_norms = np.einsum("ij,ij->i", features, features)
    nearest_of_all = np.argsort(((features - queries[2]) ** 2).sum(1), kind="stable")[:300]
    for excluded in (np.empty(0, np.int64), np.array([0, 3, 1050]), nearest_of_all):
        mask = np.isin(np.arange(1200), excluded, invert=True)
        for k in (10, 60):
            with SearchPool() as pool:
                searched = SearchedRows(features, pool, mask)
                batch = nearest_batch(searched, lambda _: squared_norms, queries, k)
                for query, result in zip(queries, batch, strict=True):
                    single = nearest(searched, query, k)
                    np.testing.assert_array_equal(result.rows, single.rows)
                    np.testing.assert_array_equal(result.distances, single.distances)


@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_a_batch_is_exact_where_distances_are_small_differences_of_large_numbers(spread: float) -> None:
    """There, rounding errors of |x|^2 + |y|^2 - 2xy exceed the differences between distances."""
    features = 100 + np.random.default_rng(2).normal(0, spread, (1200, 4096)).astype(np.float32)
    queries = features[:8] + np.float32(0.25 * spread)
    squared_norms = np.einsum("ij,ij->i", features, features)
    with SearchPool() as pool:
        batch = nearest_batch(SearchedRows(features, pool), lambda _: squared_norms, queries, 20)
    for query, result in zip(queries, batch, strict=True):
        distances = np.linalg.norm(features.astype(np.float64) - query, axis=1)
        np.testing.assert_array_equal(result.rows, np.argsort(distances, kind="stable")[:20])


class RoughScanner:
    """A scanner whose squared distances are wrong by up to `error`, as a GPU's may be."""

    error = 5.0

    def scan(self, searched: SearchedRows, query: NDArray[np.float32], k: int) -> ScanResult:
        squared = np.square(searched.features - query).sum(1)
        squared += np.random.default_rng(3).uniform(-self.error, self.error, len(squared)).astype(np.float32)
        rows = np.argsort(squared)[:k]
        return ScanResult(rows, squared[rows], self.error)


def test_what_a_scanner_may_have_wrong_is_measured_again() -> None:
    features = np.random.default_rng(4).normal(0, 1, (3000, 64)).astype(np.float32)
    with SearchPool() as pool:
        for query in features[:4] + np.float32(0.25):
            exact, rough = (nearest(SearchedRows(features, pool), query, 20, s) for s in (FULL_SCANNER, RoughScanner()))
            np.testing.assert_array_equal(rough.rows, exact.rows)


def test_a_damaged_row_is_near_nothing() -> None:
    features = np.ones((3, 64), np.float32)
    features[0] = np.nan
    with SearchPool() as pool:
        assert nearest(SearchedRows(features, pool), np.ones(64, np.float32), 6).rows.tolist() == [1, 2]
