"""The exact Euclidean search over feature rows (paper, section 6.1), at the speed at which memory is read.

FAISS finds candidates in float32; all rows that could be among the nearest, given its rounding, are measured again as
float64 differences. So an answer depends on neither batch nor thread count, and ties are broken by row.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from model.runtime import available_cpus

Rows = NDArray[np.floating[Any]]
"""float32 or float16."""
Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Row numbers and their true distances, nearest first."""
Scanned = tuple[NDArray[np.int64], NDArray[np.float32], float]
"""Row numbers and squared distances as FAISS has them, nearest first, and the error that these may have besides that of
a sum of squares."""
Candidates = Callable[[Rows, NDArray[np.float32], int, ThreadPoolExecutor, NDArray[np.bool_] | None], Scanned]
"""(rows, query, k, pool, wanted) -> the k nearest, or all that are wanted."""

OVERFETCH = 16
"""Candidates beyond k."""
UNIT = 2.0**-24
"""What float32 rounds away, at most, as a share of a number."""
SMALL = 0.125
"""Below this share of all rows the wanted ones are copied out; above it, FAISS passes over the others."""
TOGETHER = 3
"""Queries from which on a matrix product over all of them is faster than one pass for each."""
PRODUCT_ROWS = 512
"""Rows in one matrix product: with the queries they stay in the cache."""
CHUNK = 4096
GATHERED = 256
"""Rows from all over the file that a thread measures at once."""


def threads() -> ThreadPoolExecutor:
    """A thread a processor. FAISS divides a single query badly, so each thread gets a part of the rows, and FAISS none
    of its own threads."""
    faiss.cvar.distance_compute_blas_threshold = 2 * 4096  # else it makes a pass for each query up to the 31st
    faiss.cvar.distance_compute_blas_database_bs = PRODUCT_ROWS
    return ThreadPoolExecutor(available_cpus(), "nearest", faiss.omp_set_num_threads, (1,))


def scan(
    rows: Rows, query: NDArray[np.float32], k: int, pool: ThreadPoolExecutor, wanted: NDArray[np.bool_] | None
) -> Scanned:
    """Candidates among float32 rows, one pass."""
    bits = None if wanted is None else np.packbits(wanted, bitorder="little")

    def part(start: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        selector = None
        if bits is not None:
            selector = faiss.IDSelectorBitmap(end - start, faiss.swig_ptr(bits[start // 8 :]))
        return _knn(query[None], rows[start:end], k, None, selector)

    starts, ends = _parts(len(rows), pool)
    found = [part(starts[0], ends[0])] if len(starts) == 1 else list(pool.map(part, starts, ends))
    return *merge([(numbers[0], squares[0]) for squares, numbers in found], starts, k), 0.0


def nearest(
    rows: Rows,
    query: NDArray[np.float32],
    k: int,
    pool: ThreadPoolExecutor,
    wanted: NDArray[np.bool_] | None = None,
    candidates: Candidates = scan,
) -> Found:
    """The k rows nearest to `query` (dim,), of those that are `wanted` (all)."""
    count = len(rows) if wanted is None else int(wanted.sum())
    k = min(count, k)
    if not k:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    if wanted is not None and count < SMALL * len(rows):
        numbers = np.flatnonzero(wanted)
        found, distances = nearest(rows[numbers].astype(np.float32), query, k, pool)
        return numbers[found], distances
    numbers, squares, slack = candidates(rows, query, min(count, k + OVERFETCH), pool, wanted)
    if len(numbers) < count and len(numbers) <= k:  # rows that are damaged since the index was opened are near nothing
        return exact(rows, numbers, query, k)
    bound = float(squares[k - 1]) * (1 + 3 * rows.shape[1] * UNIT) + 2 * slack
    near = numbers[squares <= bound]
    if len(near) == len(numbers) < count:  # even more rows may be as near: all within the bound, however many
        near = _within(rows, query, bound, pool, wanted)
    return exact(rows, near, query, k)


def nearest_batch(
    rows: Rows,
    norms: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    pool: ThreadPoolExecutor,
    unwanted: NDArray[np.int64],
) -> list[Found]:
    """What `nearest` answers to each of (Q, dim) `queries`, of all float32 rows but the few `unwanted` ones.

    `norms`: the rows' squared lengths. |x|^2 + |y|^2 - 2xy is one matrix product for all queries, and rounds more.
    """
    count = len(rows) - len(unwanted)
    k = min(count, k)
    if not k:
        return [nearest(rows, query, 0, pool) for query in queries]
    many = min(len(rows), k + OVERFETCH + len(unwanted))
    starts, ends = _parts(len(rows), pool)
    found = list(pool.map(lambda start, end: _knn(queries, rows[start:end], many, norms[start:end]), starts, ends))
    longest = float(np.nanmax(norms))

    def answer(place: int) -> Found:
        query = queries[place]
        numbers, squares = merge([(ns[place], ss[place]) for ss, ns in found], starts, many)
        last, here = squares[-1], np.isin(numbers, unwanted, invert=True)
        numbers, squares = numbers[here], squares[here]
        if len(numbers) < k:
            return exact(rows, numbers, query, k)
        # the usual growth of rounding errors in a sum, times four
        slack = 4 * np.sqrt(rows.shape[1]) * UNIT * (longest + float(query @ query))
        bound = float(squares[k - 1]) + 2 * slack
        if last <= bound and len(numbers) < count:
            wanted = None if not len(unwanted) else np.isin(np.arange(len(rows)), unwanted, invert=True)
            return nearest(rows, query, k, pool, wanted)
        return exact(rows, numbers[squares <= bound], query, k)

    return [answer(place) for place in range(len(queries))]


def rank(rows: Rows, numbers: NDArray[np.int64], query: NDArray[np.float32], k: int, pool: ThreadPoolExecutor) -> Found:
    """The k nearest of the rows `numbers`; as `exact`, for many."""
    numbers = np.sort(numbers)
    squares = np.empty(len(numbers), np.float32)

    def part(start: int) -> None:
        some = numbers[start : start + GATHERED]
        if rows.dtype == np.float32:  # where they are
            out, x, y, ids = (faiss.swig_ptr(array) for array in (squares[start:], query, rows, some))
            faiss.fvec_L2sqr_by_idx(out, x, y, ids, rows.shape[1], 1, len(some))  # type: ignore[attr-defined]
        else:
            _measure(squares[start : start + GATHERED], query, rows[some].astype(np.float32))

    list(pool.map(part, range(0, len(numbers), GATHERED)))
    if k >= len(numbers):
        return exact(rows, numbers, query, k)
    bound = float(np.partition(squares, k - 1)[k - 1]) * (1 + 3 * rows.shape[1] * UNIT)
    return exact(rows, numbers[squares <= bound], query, k)


def exact(rows: Rows, numbers: NDArray[np.int64], query: NDArray[np.float32], k: int) -> Found:
    """The k nearest of the rows `numbers`, measured in float64; ties by row."""
    numbers = np.sort(numbers)
    distances = np.empty(len(numbers))
    for start in range(0, len(numbers), CHUNK):
        difference = rows[numbers[start : start + CHUNK]].astype(np.float64) - query
        distances[start : start + CHUNK] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(distances, kind="stable")[:k]
    return numbers[order], distances[order]


def merge(
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]], starts: list[int], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest of all parts: row numbers (in a part from its start on; -1: none) and squared distances."""
    numbers = np.concatenate([np.where(n >= 0, n + start, -1) for (n, _), start in zip(found, starts, strict=True)])
    squares = np.concatenate([squares for _, squares in found])
    real = numbers >= 0
    order = np.argsort(squares[real], kind="stable")[:k]
    return numbers[real][order], squares[real][order]


def _within(
    rows: Rows, query: NDArray[np.float32], bound: float, pool: ThreadPoolExecutor, wanted: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """All rows whose squared distance is at most `bound`."""
    squares = np.empty(len(rows), np.float32)

    def part(start: int) -> None:
        _measure(squares[start : start + CHUNK], query, rows[start : start + CHUNK].astype(np.float32, copy=False))

    list(pool.map(part, range(0, len(rows), CHUNK)))
    near = squares <= bound * (1 + rows.shape[1] * UNIT)
    return np.flatnonzero(near if wanted is None else near & wanted)


def _measure(squares: NDArray[np.float32], query: NDArray[np.float32], rows: Rows) -> None:
    """Squared distances of (N, dim) float32 rows, in float32."""
    out, x, y = (faiss.swig_ptr(array) for array in (squares, query, rows))
    faiss.fvec_L2sqr_ny(out, x, y, rows.shape[1], len(rows))  # type: ignore[attr-defined]


def _parts(count: int, pool: ThreadPoolExecutor) -> tuple[list[int], list[int]]:
    """Starts and ends of each thread's rows; whole bytes of a bitmap."""
    parts = max(1, min(pool._max_workers, count // 1024))
    starts = [count * part // parts // 8 * 8 for part in range(parts)]
    return starts, [*starts[1:], count]


def _knn(
    queries: NDArray[np.float32],
    rows: Rows,
    k: int,
    norms: NDArray[np.float32] | None,
    selector: faiss.IDSelector | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(Q, k) squared distances and rows, -1 where there are too few."""
    squares, numbers = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    faiss.knn_L2sqr(
        faiss.swig_ptr(queries), faiss.swig_ptr(rows), rows.shape[1], len(queries), len(rows), k,
        faiss.swig_ptr(squares), faiss.swig_ptr(numbers), None if norms is None else faiss.swig_ptr(norms), selector,
    )  # fmt: skip
    return squares, numbers
