"""QuantizedCopies: the features again, in 8 bits, of which an exact search reads only a part.

Each block of rows has one step: a feature x is stored as the integers u nearest to x / step, from 0 to 255. By the
triangle inequality, the distance of two vectors differs from that of their 8-bit copies by at most the sum of both
rounding errors, |x - step u| + |y - step v|. So the copies tell which rows can be among the nearest. Only these are
measured in full, and the result is that of a scan of all features.

Distances between copies are exact: |u|^2 + |v|^2 - 2uv in integers. Where v is zero, u isn't read, so the features of
a block are stored dimension by dimension.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.scanning.distances import nearest_candidates, rows_within, sum_of_squares_factor
from index.scanning.integer_products import MAX_DIM, find_nonzero_dims, multiply
from index.scanning.scanners import FULL_SCANNER, OVERFETCH, UNIT_ROUNDOFF, FeatureMatrix, SearchedRows

logger = logging.getLogger(__name__)

COPY_THREAD = "quantize"
"""The name of the thread that makes copies."""
BLOCK_ROWS = 1024
"""The dimensions of a block that a query reads fit the cache of a processor core."""
MIN_ROWS = 4 * BLOCK_ROWS
"""With fewer rows, scanning the features themselves takes no longer."""
MAX_CODE = 255
NUM_STEPS = 5
"""Candidates for the step of a block, each sqrt(2) times the next, starting with one that doesn't clip the largest
feature. A smaller step rounds less, and clips more. The step with the smallest error is used."""
OUTLIER_SHARE = 1 / 512
"""Share of rows with the largest errors, which would widen their block's bound: they are always measured in full."""
SAMPLE_ROWS = 256
MAX_CANDIDATE_SHARE = 0.125
"""Maximum share of all rows to measure in full; with more, a scan of the features is faster."""
MAX_ESTIMATES = 2**24
"""Maximum number of distances between copies in memory at once, for all queries together: 64 MB."""
SLACK = 1e-6
"""Relative allowance for the rounding of float32 and float64 computations here."""
TINY = 2.0**-62
"""Squares of smaller numbers may underflow in float32."""


class Block(NamedTuple):
    """The 8-bit copy of `BLOCK_ROWS` rows.

    `codes`: (dim, BLOCK_ROWS). `squared_norms`: (BLOCK_ROWS,) int32, of the codes. `error`: largest distance of a row
    from its copy, except for the rows `outliers` (M,) int64.
    """

    codes: NDArray[np.uint8]
    squared_norms: NDArray[np.int32]
    step: float
    error: float
    outliers: NDArray[np.int64]


class _QueryCopies(NamedTuple):
    """Copies of Q queries with the step of some blocks: codes (Q, K) of the dimensions `dims` (K,), or of all (None);
    their squared norms (Q, 1), and errors (Q,), the distance of each query from its copy."""

    codes: NDArray[np.uint8]
    dims: NDArray[np.int32] | None
    squared_norms: NDArray[np.int32]
    errors: NDArray[np.float64]


class _Estimates(NamedTuple):
    """Distances between the copies of Q queries and those of all blocks, and bounds on their errors.

    `distances`: (Q, blocks, `BLOCK_ROWS`); rows that aren't searched are at infinity. `errors`: (Q, blocks, 1), except
    for the rows `outliers` (M,).
    """

    distances: NDArray[np.float32]
    errors: NDArray[np.float64]
    outliers: NDArray[np.int64]


class QuantizedCopies:
    """Finds the rows that can be among the nearest, using blocks of 8-bit copies.

    A thread makes the copies, starting at the first search. Rows without a copy are scanned as they are.
    """

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def find_candidates(
        self, searched: SearchedRows, queries: NDArray[np.float32], k: int
    ) -> list[NDArray[np.int64] | None]:
        """For each of (Q, dim) queries, rows that include the k nearest of the searched ones.

        The result is None for a query for which a scan of the features is faster.
        """
        blocks = self._blocks_of(searched.features)
        if not blocks:
            return [None] * len(queries)
        size = max(1, MAX_ESTIMATES // len(searched.features))
        candidates = []
        for start in range(0, len(queries), size):
            part = queries[start : start + size]
            estimates = _estimate(blocks, part, searched)
            candidates += [_select(searched, query, k, estimates, number) for number, query in enumerate(part)]
        return candidates

    def is_ready(self, features: FeatureMatrix) -> bool:
        """Whether all full blocks of the features have a copy. If not, starts making the missing ones."""
        blocks = self._blocks_of(features)
        return bool(blocks) and len(blocks) == len(features) // BLOCK_ROWS

    def _blocks_of(self, features: FeatureMatrix) -> list[Block]:
        """The existing copies of the features. Starts making the missing ones, except where they wouldn't pay."""
        if len(features) < MIN_ROWS or features.shape[1] > MAX_DIM:
            return []
        self._start_copying(features)
        return self._blocks[: len(features) // BLOCK_ROWS]

    def prepare(self, features: FeatureMatrix) -> None:
        """Make the copies of all full blocks now, and wait for them."""
        self._start_copying(features)
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Make no more copies. Searches use those that exist."""
        self._stopped = True

    def _start_copying(self, features: FeatureMatrix) -> None:
        with self._lock:
            missing = len(features) // BLOCK_ROWS > len(self._blocks) and not self._stopped
            if missing and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._copy, args=(features,), name=COPY_THREAD, daemon=True)
                self._thread.start()

    def _copy(self, features: FeatureMatrix) -> None:
        try:
            for number in range(len(self._blocks), len(features) // BLOCK_ROWS):
                if self._stopped:
                    return
                self._blocks.append(_quantize(features[BLOCK_ROWS * number : BLOCK_ROWS * (number + 1)]))
        except MemoryError:
            logger.warning("not enough memory for 8-bit copies of all features: searches read the others in full")


def _quantize(features: FeatureMatrix) -> Block:
    features = features.astype(np.float32, copy=False)
    sample = features[:: max(1, len(features) // SAMPLE_ROWS)]
    step = min(_candidate_steps(features), key=lambda step: _error(sample, step)[0])
    error, errors = _error(features, step)
    codes = np.ascontiguousarray(_codes(features, step).T)
    squared_norms = np.einsum("ij,ij->j", codes, codes, dtype=np.int32)
    return Block(codes, squared_norms, step, error, np.flatnonzero(~(errors <= error)))  # NaN is an outlier, too


def _candidate_steps(features: NDArray[np.float32]) -> list[float]:
    """Powers of sqrt(2), so that many blocks share a step, and a query needs few copies."""
    largest = float(np.nanmax(features, initial=0.0))
    if not 0 < largest < math.inf:
        return [0.0]
    highest = math.ceil(2 * math.log2(largest / MAX_CODE))
    return [2 ** ((highest - number) / 2) for number in range(NUM_STEPS)]


def _error(features: NDArray[np.float32], step: float) -> tuple[float, NDArray[np.float64]]:
    """The largest error of a row except for outliers, and the (N,) errors of all rows."""
    with np.errstate(over="ignore", invalid="ignore"):  # a row whose error isn't finite is an outlier
        difference = _codes(features, step) * np.float32(step)
        difference -= features
        errors = np.sqrt(np.einsum("ij,ij->i", difference, difference), dtype=np.float64)
        errors *= 1 + 2 * features.shape[1] * UNIT_ROUNDOFF  # rounding of the sum
        errors += SLACK * np.sqrt(np.einsum("ij,ij->i", features, features), dtype=np.float64)  # and of the product
        errors += TINY * np.sqrt(features.shape[1])
    finite = np.sort(errors[np.isfinite(errors)])
    return float(finite[max(0, len(finite) - 1 - int(OUTLIER_SHARE * len(errors)))]) if len(finite) else 0.0, errors


def _codes(values: NDArray[np.float32], step: float) -> NDArray[np.uint8]:
    if not step:
        return np.zeros(values.shape, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # whatever comes out, its error is measured
        scaled = values * np.float32(1 / step)
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, MAX_CODE, out=scaled)
    np.nan_to_num(scaled, copy=False)
    return scaled.astype(np.uint8)


def _copy_queries(queries: NDArray[np.float32], step: float) -> _QueryCopies:
    codes = _codes(queries, step)
    errors = np.linalg.norm(queries.astype(np.float64) - step * codes.astype(np.float64), axis=1) * (1 + SLACK)
    squared_norms = np.einsum("ij,ij->i", codes, codes, dtype=np.int32)[:, None]
    dims = find_nonzero_dims(codes)
    return _QueryCopies(codes if dims is None else codes[:, dims], dims, squared_norms, errors)


def _estimate(blocks: list[Block], queries: NDArray[np.float32], searched: SearchedRows) -> _Estimates:
    _, pool, mask = searched
    copies = {step: _copy_queries(queries, step) for step in {block.step for block in blocks}}
    products = np.zeros((len(queries), len(blocks), BLOCK_ROWS), np.int32)
    masks = None if mask is None else mask[: BLOCK_ROWS * len(blocks)].reshape(len(blocks), BLOCK_ROWS)

    def scan(number: int) -> None:
        if masks is None or masks[number].any():
            codes, dims, *_ = copies[blocks[number].step]
            products[:, number] = multiply(blocks[number].codes, codes, dims)

    list(pool.map(scan, range(len(blocks))))
    products *= -2
    products += np.stack([block.squared_norms for block in blocks])
    products += np.stack([copies[block.step].squared_norms for block in blocks], 1)
    distances = np.sqrt(products, dtype=np.float32)
    with np.errstate(over="ignore"):  # rows so far away are at infinity
        distances *= np.array([[block.step] for block in blocks], np.float32)
    errors = np.stack([block.error + copies[block.step].errors for block in blocks], 1)[:, :, None]
    outliers = np.concatenate([BLOCK_ROWS * number + block.outliers for number, block in enumerate(blocks)])
    if masks is not None:
        distances[:, ~masks] = np.inf
        outliers = outliers[masks.reshape(-1)[outliers]]
    return _Estimates(distances, errors, outliers)


def _select(
    searched: SearchedRows, query: NDArray[np.float32], k: int, estimates: _Estimates, number: int
) -> NDArray[np.int64] | None:
    """The candidates of a query, which has this number in the estimates."""
    (features, pool, mask), distances = searched, estimates.distances[number]
    end, flat = distances.size, distances.reshape(-1)
    rest = SearchedRows(features[end:], pool, None if mask is None else mask[end:])
    rows, squared, _ = FULL_SCANNER.scan(rest, query, k + OVERFETCH)
    near = np.argpartition(flat, min(k, end) - 1)[:k]
    near = near[np.isfinite(flat[near])]
    bound = _kth_distance(features, np.concatenate([near, rows + end]), query, k)
    if bound is None:
        return None
    limits = ((bound + estimates.errors[number]) * (1 + SLACK)).astype(np.float32)
    selected = np.union1d(np.flatnonzero(distances <= limits), estimates.outliers)
    squared_bound = bound * bound * sum_of_squares_factor(features)
    if len(rows) == k + OVERFETCH and squared[-1] <= squared_bound:
        rows = rows_within(rest, query, squared_bound)
    selected = np.concatenate([selected, rows + end])
    return selected if len(selected) <= MAX_CANDIDATE_SHARE * len(features) else None


def _kth_distance(features: FeatureMatrix, rows: NDArray[np.int64], query: NDArray[np.float32], k: int) -> float | None:
    """The distance of the k-th nearest of `rows`, an upper bound for the k nearest of all rows; None if there are fewer
    than k, or it isn't finite."""
    distances = nearest_candidates(features, rows, query, k).distances
    return float(distances[-1]) * (1 + SLACK) if len(distances) == k and np.isfinite(distances[-1]) else None
