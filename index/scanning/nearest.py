"""Exact Euclidean nearest neighbors (paper, section 6.1), limited by memory bandwidth.

A scanner finds candidates, in float32 or by 8-bit copies of the features. All rows that could be among the nearest,
given its rounding, are measured again in float64. So a result doesn't depend on the scanner, the batch or the number of
threads, and ties are broken by row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.scanning.distances import NearestRows, nearest_candidates, rerank, rows_within, sum_of_squares_factor
from index.scanning.quantized_scanner import QuantizedScanner
from index.scanning.scanners import (
    FeatureMatrix,
    FullScanner,
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
"""With at least this many queries, one pass for all of them is faster than one pass for each."""
FULL_SCANNER = FullScanner()
EMPTY = NearestRows(np.empty(0, np.int64), np.empty(0, np.float64))


def nearest(
    features: FeatureMatrix,
    query: NDArray[np.float32],
    k: int,
    pool: SearchPool,
    mask: Mask | None = None,
    scanner: Scanner | QuantizedScanner = FULL_SCANNER,
) -> NearestRows:
    """The k rows of (N, dim) `features` nearest to a (dim,) query, of those that `mask` selects (None: all)."""
    count = len(features) if mask is None else int(mask.sum())
    k = min(count, k)
    if not k:
        return EMPTY
    if mask is not None and count < MIN_SCAN_SHARE * len(features):
        selected = np.flatnonzero(mask)
        result = nearest(features[selected].astype(np.float32, copy=False), query, k, pool)
        return NearestRows(selected[result.rows], result.distances)
    if isinstance(scanner, QuantizedScanner):
        (candidates,) = scanner.find_candidates(features, query[None], k, pool, mask)
        if candidates is not None:
            return rerank(features, candidates, query, k, pool)
        scanner = FULL_SCANNER
    rows, squared, error = scanner.scan(features, query, min(count, k + OVERFETCH), pool, mask)
    if len(rows) < count and len(rows) <= k:  # rows damaged since the index was opened (NaN) are near nothing
        return nearest_candidates(features, rows, query, k)
    bound = float(squared[k - 1]) * sum_of_squares_factor(features) + 2 * error
    near = rows[squared <= bound]
    if len(near) == len(rows) < count:  # more rows may be as near: take all within the bound
        near = rows_within(features, query, bound, pool, mask)
    return nearest_candidates(features, near, query, k)


def nearest_batch(
    features: FeatureMatrix,
    squared_norms: Callable[[FeatureMatrix], NDArray[np.float32]],
    queries: NDArray[np.float32],
    k: int,
    pool: SearchPool,
    mask: Mask | None = None,
    scanner: Scanner | QuantizedScanner = FULL_SCANNER,
) -> list[NearestRows]:
    """What `nearest` returns for each of (Q, dim) `queries`, for float32 rows, only a few of which `mask` leaves out.

    `squared_norms`: computes the (N,) squared norms of the rows.
    """
    k = min(len(features) if mask is None else int(mask.sum()), k)
    if not k:
        return [EMPTY] * len(queries)
    candidates: list[NDArray[np.int64] | None] = [None] * len(queries)
    if isinstance(scanner, QuantizedScanner) and scanner.is_ready(features):
        candidates = scanner.find_candidates(features, queries, k, pool, mask)
    others = [number for number, rows in enumerate(candidates) if rows is None]
    results = [
        EMPTY if rows is None else rerank(features, rows, query, k, pool)
        for rows, query in zip(candidates, queries, strict=True)
    ]
    if others:
        by_product = _nearest_by_product(features, squared_norms(features), queries[others], k, pool, mask)
        for number, result in zip(others, by_product, strict=True):
            results[number] = result
    return results


def _nearest_by_product(
    features: FeatureMatrix,
    squared_norms: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    pool: SearchPool,
    mask: Mask | None,
) -> list[NearestRows]:
    """`nearest_batch` by |x|^2 + |y|^2 - 2xy, which is one matrix product for all queries, but rounds more."""
    count = len(features) if mask is None else int(mask.sum())
    num_candidates = min(len(features), k + OVERFETCH + len(features) - count)
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
        last = squared[-1]
        if mask is not None:
            rows, squared = rows[mask[rows]], squared[mask[rows]]
        if len(rows) < k:
            return nearest_candidates(features, rows, query, k)
        bound = float(squared[k - 1]) + 2 * matrix_product_error(features.shape[1], max_squared_norm, query)
        if last <= bound and len(rows) < count:
            return nearest(features, query, k, pool, mask)
        return nearest_candidates(features, rows[squared <= bound], query, k)

    return [rerank_query(number) for number in range(len(queries))]
