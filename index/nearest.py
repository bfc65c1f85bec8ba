"""Exact Euclidean nearest neighbors (paper, section 6.1), limited by memory bandwidth.

A scanner finds candidates in float32. All rows that could be among the nearest, given its rounding, are measured again
in float64. So a result depends on neither batch nor number of threads, and ties are broken by row.
"""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from index.scanners import (
    UNIT_ROUNDOFF,
    FeatureMatrix,
    Float32Scanner,
    Mask,
    Scanner,
    SearchPool,
    knn,
    matrix_product_error,
    merge_parts,
)

OVERFETCH = 16
"""Candidates beyond k."""
MIN_SCAN_SHARE = 0.125
"""Share of selected rows below which they are copied out; above it, the scanner skips the others."""
MIN_BATCH_QUERIES = 3
"""Queries from which on one matrix product over all of them is faster than one pass for each."""
CHUNK_ROWS = 4096
GATHER_ROWS = 256
"""Scattered rows that a thread measures at once."""
FLOAT32_SCANNER = Float32Scanner()


class NearestRows(NamedTuple):
    """(k,) int64 rows and their (k,) float64 Euclidean distances, nearest first."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


EMPTY = NearestRows(np.empty(0, np.int64), np.empty(0, np.float64))


def nearest(
    features: FeatureMatrix,
    query: NDArray[np.float32],
    k: int,
    pool: SearchPool,
    mask: Mask | None = None,
    scanner: Scanner = FLOAT32_SCANNER,
) -> NearestRows:
    """The k rows of (N, dim) `features` nearest to a (dim,) query, of those that `mask` selects (None: all)."""
    count = len(features) if mask is None else int(mask.sum())
    k = min(count, k)
    if not k:
        return EMPTY
    if mask is not None and count < MIN_SCAN_SHARE * len(features):
        selected = np.flatnonzero(mask)
        result = nearest(features[selected].astype(np.float32), query, k, pool)
        return NearestRows(selected[result.rows], result.distances)
    rows, squared, error = scanner.scan(features, query, min(count, k + OVERFETCH), pool, mask)
    if len(rows) < count and len(rows) <= k:  # rows damaged since the index was opened (NaN) are near nothing
        return nearest_candidates(features, rows, query, k)
    bound = float(squared[k - 1]) * _sum_of_squares_factor(features) + 2 * error
    candidates = rows[squared <= bound]
    if len(candidates) == len(rows) < count:  # more rows may be as near: all within the bound, however many
        candidates = _rows_within(features, query, bound, pool, mask)
    return nearest_candidates(features, candidates, query, k)


def nearest_batch(
    features: FeatureMatrix,
    squared_norms: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    pool: SearchPool,
    excluded: NDArray[np.int64],
) -> list[NearestRows]:
    """What `nearest` returns for each of (Q, dim) `queries`, of all float32 rows but the few `excluded` ones.

    `squared_norms`: (N,) of the rows. |x|^2 + |y|^2 - 2xy is one matrix product for all queries, and rounds more.
    """
    count = len(features) - len(excluded)
    k = min(count, k)
    if not k:
        return [EMPTY] * len(queries)
    num_candidates = min(len(features), k + OVERFETCH + len(excluded))
    starts, ends = pool.split(len(features))
    parts = list(
        pool.map(
            lambda start, end: knn(queries, features[start:end], num_candidates, squared_norms[start:end]), starts, ends
        )
    )
    max_squared_norm = float(np.nanmax(squared_norms))

    def rerank_query(number: int) -> NearestRows:
        query = queries[number]
        rows, squared = merge_parts([(r[number], s[number]) for r, s in parts], starts, num_candidates)
        last, included = squared[-1], np.isin(rows, excluded, invert=True)
        rows, squared = rows[included], squared[included]
        if len(rows) < k:
            return nearest_candidates(features, rows, query, k)
        bound = float(squared[k - 1]) + 2 * matrix_product_error(features.shape[1], max_squared_norm, query)
        if last <= bound and len(rows) < count:
            mask = None if not len(excluded) else np.isin(np.arange(len(features)), excluded, invert=True)
            return nearest(features, query, k, pool, mask)
        return nearest_candidates(features, rows[squared <= bound], query, k)

    return [rerank_query(number) for number in range(len(queries))]


def rerank(
    features: FeatureMatrix, rows: NDArray[np.int64], query: NDArray[np.float32], k: int, pool: SearchPool
) -> NearestRows:
    """The k nearest of the candidates `rows`, in any order: as `nearest_candidates`, for thousands of them."""
    rows = np.sort(rows)
    squared = np.empty(len(rows), np.float32)

    def measure_part(start: int) -> None:
        part = rows[start : start + GATHER_ROWS]
        if features.dtype == np.float32:  # without copying them
            out, x, y, ids = (faiss.swig_ptr(array) for array in (squared[start:], query, features, part))
            faiss.fvec_L2sqr_by_idx(out, x, y, ids, features.shape[1], 1, len(part))  # type: ignore[attr-defined]
        else:
            _squared_distances(squared[start : start + GATHER_ROWS], query, features[part].astype(np.float32))

    list(pool.map(measure_part, range(0, len(rows), GATHER_ROWS)))
    if k >= len(rows):
        return nearest_candidates(features, rows, query, k)
    bound = float(np.partition(squared, k - 1)[k - 1]) * _sum_of_squares_factor(features)
    return nearest_candidates(features, rows[squared <= bound], query, k)


def nearest_candidates(
    features: FeatureMatrix, rows: NDArray[np.int64], query: NDArray[np.float32], k: int
) -> NearestRows:
    """The k nearest of the candidates `rows`, measured in float64; ties by row."""
    rows = np.sort(rows)
    distances = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK_ROWS):
        difference = features[rows[start : start + CHUNK_ROWS]].astype(np.float64) - query
        distances[start : start + CHUNK_ROWS] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(distances, kind="stable")[:k]
    return NearestRows(rows[order], distances[order])


def _sum_of_squares_factor(features: FeatureMatrix) -> float:
    """Factor for a bound on a float32 sum of `dim` squares, so that no nearer row is left out."""
    return 1 + 3 * int(features.shape[1]) * UNIT_ROUNDOFF


def _rows_within(
    features: FeatureMatrix, query: NDArray[np.float32], bound: float, pool: SearchPool, mask: Mask | None
) -> NDArray[np.int64]:
    """All rows whose squared distance is at most `bound`."""
    squared = np.empty(len(features), np.float32)

    def measure_part(start: int) -> None:
        part = features[start : start + CHUNK_ROWS].astype(np.float32, copy=False)
        _squared_distances(squared[start : start + CHUNK_ROWS], query, part)

    list(pool.map(measure_part, range(0, len(features), CHUNK_ROWS)))
    near = squared <= bound * (1 + features.shape[1] * UNIT_ROUNDOFF)
    return np.flatnonzero(near if mask is None else near & mask)


def _squared_distances(out: NDArray[np.float32], query: NDArray[np.float32], features: FeatureMatrix) -> None:
    """Write the (N,) squared distances of (N, dim) float32 features to `out`."""
    result, x, y = (faiss.swig_ptr(array) for array in (out, query, features))
    faiss.fvec_L2sqr_ny(result, x, y, features.shape[1], len(features))  # type: ignore[attr-defined]
