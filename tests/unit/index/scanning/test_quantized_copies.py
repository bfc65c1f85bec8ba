"""Searches over 8-bit copies have the results of a scan of all features, bit for bit, whatever the rows are like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from index.scanning.nearest import nearest, nearest_batch
from index.scanning.quantized_copies import BLOCK_ROWS, MIN_ROWS, QuantizedCopies
from index.scanning.scanners import SearchedRows, SearchPool

DIM, COUNT = 64, 6 * BLOCK_ROWS + 100
Features = NDArray[np.float32]


def exponential(generator: np.random.Generator) -> Features:
    return generator.exponential(1, (COUNT, DIM)).astype(np.float32)


def equal_rows(generator: np.random.Generator) -> Features:
    """512 ties in each block."""
    features = exponential(generator)
    features[::2] = features[0]
    return features


def norms_of_all_sizes(generator: np.random.Generator) -> Features:
    return exponential(generator) * np.float32(10) ** generator.uniform(-36, 6, (COUNT, 1)).astype(np.float32)


def zero_rows(generator: np.random.Generator) -> Features:
    features = exponential(generator)
    features[: BLOCK_ROWS + 50] = 0
    return features


def rare_peaks(generator: np.random.Generator) -> Features:
    """A few features are 1,000 times as large as usual: unless they are clipped, all others round to zero."""
    features = exponential(generator)
    features[generator.integers(0, COUNT, 40), generator.integers(0, DIM, 40)] = 1e3
    return features


def negative_features(generator: np.random.Generator) -> Features:
    return generator.normal(0, 1, (COUNT, DIM)).astype(np.float32)


def near_ties(generator: np.random.Generator) -> Features:
    """Rows that differ by less than one 8-bit quantization step."""
    row = generator.exponential(1, DIM)
    return (row + generator.normal(0, 1e-4, (COUNT, DIM))).astype(np.float32)


def damaged_rows(generator: np.random.Generator) -> Features:
    features = exponential(generator)
    features[[3, BLOCK_ROWS, COUNT - 1]] = np.nan
    return features


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "draw",
    [
        exponential, equal_rows, norms_of_all_sizes, zero_rows, rare_peaks, negative_features, near_ties, damaged_rows,
    ],
)  # fmt: skip
def test_results_are_those_of_a_full_scan(draw: Callable[[np.random.Generator], Features], dtype: str) -> None:
    generator = np.random.default_rng(0)
    features = np.clip(draw(generator), -6e4, 6e4).astype(dtype)
    copies = QuantizedCopies()
    queries = [features[row].astype(np.float32) for row in (0, 5, BLOCK_ROWS + 7, COUNT - 2)]
    queries += [queries[1] + generator.exponential(0.1, DIM).astype(np.float32), np.zeros(DIM, np.float32)]
    queries += [-queries[1], 100 * queries[1]]
    with SearchPool() as pool:
        copies.prepare(features)
        for query in (query for query in queries if np.isfinite(query).all()):
            for mask in (None, generator.random(COUNT) < 0.5):
                searched = SearchedRows(features, pool, mask)
                for k in (1, 10, 60):
                    full = nearest(searched, query, k)
                    ours = nearest(searched, query, k, copies=copies)
                    np.testing.assert_array_equal(ours.rows, full.rows)
                    np.testing.assert_array_equal(ours.distances, full.distances)


@pytest.mark.parametrize("draw", [exponential, equal_rows, rare_peaks, zero_rows])
def test_a_batch_has_the_results_of_single_searches(draw: Callable[[np.random.Generator], Features]) -> None:
    generator = np.random.default_rng(4)
    features = draw(generator)
    copies = QuantizedCopies()
    queries = np.concatenate([features[[0, 5, COUNT - 2]], 100 * features[7:8]])  # the last is far from all rows
    with SearchPool() as pool:
        assert not copies.is_ready(features[: MIN_ROWS - 1])
        nearest_batch(SearchedRows(features, pool), squared_norms, queries, 7, copies)  # begins to make copies
        assert copies._thread is not None
        copies._thread.join()
        assert copies.is_ready(features)
        for excluded in (np.empty(0, np.int64), np.array([0, 6, COUNT - 1])):
            mask = np.isin(np.arange(COUNT), excluded, invert=True)
            searched = SearchedRows(features, pool, mask)
            batch = nearest_batch(searched, squared_norms, queries, 7, copies)
            for query, result in zip(queries, batch, strict=True):
                full = nearest(searched, query, 7)
                np.testing.assert_array_equal(result.rows, full.rows)
                np.testing.assert_array_equal(result.distances, full.distances)


def squared_norms(features: Features) -> Features:
    norms: Features = np.einsum("ij,ij->i", features, features)
    return norms


def test_many_queries_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    features = exponential(np.random.default_rng(5))
    copies = QuantizedCopies()
    monkeypatch.setattr("index.scanning.quantized_copies.MAX_ESTIMATES", 2 * COUNT)
    with SearchPool() as pool:
        copies.prepare(features)
        searched = SearchedRows(features, pool)
        together = copies.find_candidates(searched, features[:5], 3)
        alone = [copies.find_candidates(searched, features[row : row + 1], 3)[0] for row in range(5)]
    for batched, single in zip(together, alone, strict=True):
        np.testing.assert_array_equal(batched, single)


def test_few_rows_are_candidates() -> None:
    """Otherwise nothing is gained: the bound is tight enough on realistic features."""
    generator = np.random.default_rng(1)
    features = exponential(generator)
    copies = QuantizedCopies()
    with SearchPool() as pool:
        copies.prepare(features)
        (candidates,) = copies.find_candidates(SearchedRows(features, pool), features[:1], 10)
    assert candidates is not None
    assert len(candidates) < 0.02 * COUNT


def test_copies_follow_a_growing_matrix() -> None:
    features = exponential(np.random.default_rng(2))
    copies = QuantizedCopies()
    with SearchPool() as pool:
        for end in (MIN_ROWS - 1, MIN_ROWS, MIN_ROWS + 10, COUNT):
            searched = SearchedRows(features[:end], pool)
            for query in (features[end - 1], features[0]):
                full = nearest(searched, query, 5)
                assert nearest(searched, query, 5, copies=copies).rows.tolist() == full.rows.tolist()
            copies.prepare(features[:end])


def test_no_more_copies_are_made_for_a_closed_index() -> None:
    features = exponential(np.random.default_rng(4))
    copies = QuantizedCopies()
    with SearchPool() as pool:
        copies.prepare(features[:MIN_ROWS])
        copies.stop()
        copies.prepare(features)
        assert copies.is_ready(features[:MIN_ROWS])
        assert not copies.is_ready(features)
        searched = SearchedRows(features, pool)
        full = nearest(searched, features[5], 5)
        assert nearest(searched, features[5], 5, copies=copies).rows.tolist() == full.rows.tolist()


def test_a_query_far_from_all_rows_is_left_to_the_full_scan() -> None:
    features = np.full((COUNT, DIM), 1, np.float32)
    features += np.random.default_rng(3).uniform(0, 0.01, features.shape).astype(np.float32)
    copies = QuantizedCopies()
    query = np.full(DIM, 1e4, np.float32)
    with SearchPool() as pool:
        copies.prepare(features)
        assert copies.find_candidates(SearchedRows(features, pool), query[None], 1) == [None]
