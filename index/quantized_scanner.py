"""QuantizedScanner: a second copy of the features in 8 bits, so that an exact search reads a quarter of the bytes.

A block of rows has one step: a feature x is stored as the whole number u nearest to x / step, at most 255. By the
triangle inequality, the distance of two vectors differs from that of their 8-bit copies by at most the sum of both
rounding errors, |x - step u| + |y - step v|. So the copies tell which rows can be among the nearest. Only these are
measured in full, and the result is the one of a scan of all features.
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from index.distances import nearest_candidates, rows_within, sum_of_squares_factor
from index.scanners import UNIT_ROUNDOFF, FeatureMatrix, FullScanner, Mask, SearchPool

logger = logging.getLogger(__name__)

BLOCK_ROWS = 2048
MIN_ROWS = 2 * BLOCK_ROWS
"""Rows below which a scan of the features themselves takes no longer."""
MAX_CODE = 255
MAX_VALUES = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Candidates for the largest value of a block that has a code of its own, as shares of the largest feature: a smaller
step rounds less, and clips more. The one with the smallest error is used."""
OUTLIER_SHARE = 1 / 256
"""Rows with the largest errors, which would widen the bound of their block: they are always measured in full."""
SAMPLE_ROWS = 256
OVERFETCH = 16
"""Rows beyond k that are fetched from each block at first."""
MAX_CANDIDATE_SHARE = 0.125
"""Share of all rows that are measured in full; with more, a scan of the features is faster."""
SLACK = 1e-6
"""Relative, for the rounding of what is computed here in float32 or float64; that of FAISS comes in addition."""

TINY = 2.0**-62
"""What is smaller has no square in float32."""


class Block(NamedTuple):
    """The 8-bit copy of `BLOCK_ROWS` rows.

    `error`: largest distance of a row from its copy, but for the rows `outliers` (M,) int64.
    """

    copies: faiss.IndexScalarQuantizer
    step: float
    error: float
    outliers: NDArray[np.int64]


class _Scan(NamedTuple):
    """The rows (k,) of a block that are nearest to a query, their distances by the copies, and the query's error."""

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    query_error: float


class QuantizedScanner:
    """Finds the rows that can be among the nearest in blocks of 8-bit copies.

    A thread makes the copies, from the first search on. Rows without a copy are scanned as they are.
    """

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._full_scanner = FullScanner()

    def find_candidates(
        self, features: FeatureMatrix, query: NDArray[np.float32], k: int, pool: SearchPool, mask: Mask | None
    ) -> NDArray[np.int64] | None:
        """Rows among which are the k nearest to a (dim,) query, of those that `mask` selects (None: all).

        None where a scan of the features is faster.
        """
        if len(features) < MIN_ROWS:
            return None
        self._start_copying(features)
        blocks = self._blocks[: len(features) // BLOCK_ROWS]
        if not blocks:
            return None
        bitmap = None if mask is None else np.packbits(mask, bitorder="little")
        starts = [BLOCK_ROWS * number for number in range(len(blocks))]

        def scan(start: int, block: Block, count: int) -> _Scan:
            return _scan_block(block, query, count, None if bitmap is None else bitmap[start // 8 :])

        scans = list(pool.map(lambda start, block: scan(start, block, k + OVERFETCH), starts, blocks))
        end = BLOCK_ROWS * len(blocks)
        rest = features[end:]
        rest_mask = None if mask is None else mask[end:]
        rows, squared, _ = self._full_scanner.scan(rest, query, k + OVERFETCH, pool, rest_mask)
        bound = _kth_distance(features, query, k, starts, scans, (rows + end, np.sqrt(squared, dtype=np.float64)))
        if bound is None:
            return None

        def select(start: int, block: Block, first: _Scan) -> NDArray[np.int64]:
            """The candidates of a block: scanned again for more rows, until the last one is too far away."""
            scan_result, count = first, k + OVERFETCH
            limit = (bound + block.error + scan_result.query_error) * (1 + features.shape[1] * UNIT_ROUNDOFF)
            while len(scan_result.rows) == count < BLOCK_ROWS and scan_result.distances[-1] <= limit:
                count = min(BLOCK_ROWS, 8 * count)
                scan_result = scan(start, block, count)
            outliers = block.outliers if mask is None else block.outliers[mask[start + block.outliers]]
            return start + np.union1d(scan_result.rows[scan_result.distances <= limit], outliers)

        candidates = list(pool.map(select, starts, blocks, scans))
        squared_bound = bound * bound * sum_of_squares_factor(features)
        if len(rows) == k + OVERFETCH and squared[-1] <= squared_bound:
            rows = rows_within(rest, query, squared_bound, pool, rest_mask)
        else:
            rows = rows[squared <= squared_bound]
        selected = np.concatenate([*candidates, rows + end])
        return selected if len(selected) <= MAX_CANDIDATE_SHARE * len(features) else None

    def prepare(self, features: FeatureMatrix) -> None:
        """Make the copies of all full blocks now, and wait for them."""
        self._start_copying(features)
        if self._thread is not None:
            self._thread.join()

    def _start_copying(self, features: FeatureMatrix) -> None:
        with self._lock:
            missing = len(features) // BLOCK_ROWS > len(self._blocks)
            if missing and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._copy, args=(features,), name="quantize", daemon=True)
                self._thread.start()

    def _copy(self, features: FeatureMatrix) -> None:
        try:
            for number in range(len(self._blocks), len(features) // BLOCK_ROWS):
                self._blocks.append(_quantize(features[BLOCK_ROWS * number : BLOCK_ROWS * (number + 1)]))
        except MemoryError:
            logger.warning("too little memory for 8-bit copies of all features: searches read the others in full")


def _quantize(features: FeatureMatrix) -> Block:
    features = features.astype(np.float32, copy=False)
    largest = float(np.nanmax(features, initial=0.0))
    sample = features[:: max(1, len(features) // SAMPLE_ROWS)]
    step = min((share * largest / MAX_CODE for share in MAX_VALUES), key=lambda step: _error(sample, step)[0])
    error, errors = _error(features, step)
    copies = faiss.IndexScalarQuantizer(features.shape[1], faiss.ScalarQuantizer.QT_8bit_direct)
    copies.add_sa_codes(_codes(features, step))
    return Block(copies, step, error, np.flatnonzero(~(errors <= error)))  # a damaged row (NaN) is an outlier


def _error(features: NDArray[np.float32], step: float) -> tuple[float, NDArray[np.float64]]:
    """The largest error of a row but for outliers, and the (N,) errors."""
    with np.errstate(over="ignore", invalid="ignore"):  # a row whose error isn't finite is an outlier
        difference = _codes(features, step) * np.float32(step)
        difference -= features
        errors = np.sqrt(np.einsum("ij,ij->i", difference, difference), dtype=np.float64)
        errors *= 1 + 2 * features.shape[1] * UNIT_ROUNDOFF  # of the sum in float32
        errors += SLACK * np.sqrt(np.einsum("ij,ij->i", features, features), dtype=np.float64)  # of the product
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


def _scan_block(block: Block, query: NDArray[np.float32], count: int, bitmap: NDArray[np.uint8] | None) -> _Scan:
    codes = _codes(query, block.step).astype(np.float32)
    query_error = float(np.linalg.norm(query.astype(np.float64) - block.step * codes.astype(np.float64)))
    parameters = None
    if bitmap is not None:
        selector = faiss.IDSelectorBitmap(BLOCK_ROWS, faiss.swig_ptr(bitmap))
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    squared, rows = block.copies.search(codes[None], min(count, BLOCK_ROWS), params=parameters)
    valid = rows[0] >= 0
    distances = block.step * np.sqrt(squared[0][valid], dtype=np.float64)
    return _Scan(rows[0][valid], distances, query_error * (1 + SLACK))


def _kth_distance(
    features: FeatureMatrix,
    query: NDArray[np.float32],
    k: int,
    starts: list[int],
    scans: list[_Scan],
    rest: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> float | None:
    """The distance of the k-th of some rows that are near, which no nearest row exceeds; None for fewer than k rows."""
    rows = np.concatenate([*(scan.rows + start for scan, start in zip(scans, starts, strict=True)), rest[0]])
    distances = np.concatenate([*(scan.distances for scan in scans), rest[1]])
    if len(rows) < k:
        return None
    near = rows[np.argpartition(distances, k - 1)[:k]]
    last = float(nearest_candidates(features, near, query, k).distances[-1])
    return last * (1 + SLACK) if np.isfinite(last) else None
