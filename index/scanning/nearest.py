"""Exact Euclidean nearest neighbors (paper, section 6.1), limited by memory bandwidth.

A scanner finds candidates in float32, or 8-bit copies of the features rule the others out. All rows that could be among
the nearest, given the rounding, are measured again in float64. So a result doesn't depend on the scanner, the copies,
the batch or the number of threads, and ties are broken by row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.scanning.distances import NearestRows, nearest_candidates, rerank, rows_within, sum_of_squares_factor
from index.scanning.quantized_copies import QuantizedCopies
from index.scanning.scanners import (
    FULL_SCANNER,
    OVERFETCH,
    FeatureMatrix,
    Scanner,
    SearchedRows,
    knn,
    matrix_product_error,
    merge_parts,
)

MIN_SCAN_SHARE = 0.125
"""Share of selected rows below which they are copied out; above it, the scanner skips the others."""
MIN_BATCH_QUERIES = 3
"""With at least this many queries, one pass for all of them is faster than one pass for each."""
EMPTY = NearestRows(np.empty(0, np.int64), np.empty(0, np.float64))


def nearest(
    searched: SearchedRows,
    query: NDArray[np.float32],
    k: int,
    scanner: Scanner = FULL_SCANNER,
    copies: QuantizedCopies | None = None,
) -> NearestRows:
    """The k searched rows nearest to a (dim,) query.

    `copies`: of these features. `scanner`: finds candidates if there are no copies, or scanning is faster.
    """
    (features, pool, mask), count = searched, searched.num_selected
    k = min(count, k)
    if not k:
        return EMPTY
    if mask is not None and count < MIN_SCAN_SHARE * len(features):
        selected = np.flatnonzero(mask)
        result = nearest(SearchedRows(features[selected].astype(np.float32, copy=False), pool), query, k)
        return NearestRows(selected[result.rows], result.distances)
    if copies is not None:
        (candidates,) = copies.find_candidates(searched, query[None], k)
        if candidates is not None:
            return rerank(features, candidates, query, k, pool)
    rows, squared, error = scanner.scan(searched, query, min(count, k + OVERFETCH))
    if len(rows) < count and len(rows) <= k:  # rows damaged since the index was opened (NaN) are near nothing
        return nearest_candidates(features, rows, query, k)
    bound = float(squared[k - 1]) * sum_of_squares_factor(features) + 2 * error
    near = rows[squared <= bound]
    if len(near) == len(rows) < count:  # more rows may be as near: take all within the bound
        near = rows_within(searched, query, bound)
    return nearest_candidates(features, near, query, k)


def nearest_batch(
    searched: SearchedRows,
    squared_norms: Callable[[FeatureMatrix], NDArray[np.float32]],
    queries: NDArray[np.float32],
    k: int,
    copies: QuantizedCopies | None = None,
) -> list[NearestRows]:
    """What `nearest` returns for each of (Q, dim) `queries`, for float32 rows, of which the mask leaves out only a few.

    `squared_norms`: computes the (N,) squared norms of the rows.
    """
    features, pool, _ = searched
    k = min(searched.num_selected, k)
    if not k:
        return [EMPTY] * len(queries)
    candidates: list[NDArray[np.int64] | None] = [None] * len(queries)
    if copies is not None and copies.is_ready(features):
        candidates = copies.find_candidates(searched, queries, k)
    others = [number for number, rows in enumerate(candidates) if rows is None]
    results = [
        EMPTY if rows is None else rerank(features, rows, query, k, pool)
        for rows, query in zip(candidates, queries, strict=True)
    ]
    if others:
        by_product = _nearest_by_product(searched, squared_norms(features), queries[others], k)
        for number, result in zip(others, by_product, strict=True):
            results[number] = result
    return results


def _nearest_by_product(
    searched: SearchedRows, squared_norms: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> list[NearestRows]:
    """`nearest_batch` by |x|^2 + |y|^2 - 2xy, which is one matrix product for all queries, but rounds more."""
    (features, pool, mask), count = searched, searched.num_selected
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
            return nearest(searched, query, k)
        return nearest_candidates(features, rows[squared <= bound], query, k)

    return [rerank_query(number) for number in range(len(queries))]
