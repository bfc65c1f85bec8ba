"""Distances of candidate rows: measured in float32 to rule most of them out, then in float64."""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from index.scanning.scanners import UNIT_ROUNDOFF, FeatureMatrix, SearchedRows, SearchPool

CHUNK_ROWS = 4096
GATHER_ROWS = 256
"""Scattered rows that a thread measures at once."""


class NearestRows(NamedTuple):
    """(k,) int64 rows and their (k,) float64 Euclidean distances, nearest first."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


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


def rerank(
    features: FeatureMatrix, rows: NDArray[np.int64], query: NDArray[np.float32], k: int, pool: SearchPool
) -> NearestRows:
    """The k nearest of the candidates `rows`, in any order; like `nearest_candidates`, for thousands of rows."""
    if k >= len(rows):
        return nearest_candidates(features, rows, query, k)
    rows = np.sort(rows)
    squared = np.empty(len(rows), np.float32)

    def measure_part(start: int) -> None:
        part = rows[start : start + GATHER_ROWS]
        if features.dtype == np.float32:  # without copying them
            out, x, y, ids = (faiss.swig_ptr(array) for array in (squared[start:], query, features, part))
            faiss.fvec_L2sqr_by_idx(out, x, y, ids, features.shape[1], 1, len(part))  # type: ignore[attr-defined]
        else:
            _measure(squared[start : start + GATHER_ROWS], query, features[part].astype(np.float32))

    list(pool.map(measure_part, range(0, len(rows), GATHER_ROWS)))
    squared[np.isnan(squared)] = np.inf  # from damaged rows, which the caller leaves out
    bound = float(np.partition(squared, k - 1)[k - 1]) * sum_of_squares_factor(features)
    return nearest_candidates(features, rows[squared <= bound], query, k)


def rows_within(searched: SearchedRows, query: NDArray[np.float32], bound: float) -> NDArray[np.int64]:
    """All searched rows whose squared distance is at most `bound`."""
    features, pool, mask = searched
    squared = np.empty(len(features), np.float32)

    def measure_part(start: int) -> None:
        part = features[start : start + CHUNK_ROWS].astype(np.float32, copy=False)
        _measure(squared[start : start + CHUNK_ROWS], query, part)

    list(pool.map(measure_part, range(0, len(features), CHUNK_ROWS)))
    near = squared <= bound * (1 + features.shape[1] * UNIT_ROUNDOFF)
    return np.flatnonzero(near if mask is None else near & mask)


def sum_of_squares_factor(features: FeatureMatrix) -> float:
    """Factor for a bound on a float32 sum of `dim` squares, so that no nearer row is left out."""
    return 1 + 3 * int(features.shape[1]) * UNIT_ROUNDOFF


def _measure(out: NDArray[np.float32], query: NDArray[np.float32], features: FeatureMatrix) -> None:
    """Write the (N,) squared distances of (N, dim) float32 features to `out`."""
    result, x, y = (faiss.swig_ptr(array) for array in (out, query, features))
    faiss.fvec_L2sqr_ny(result, x, y, features.shape[1], len(features))  # type: ignore[attr-defined]
