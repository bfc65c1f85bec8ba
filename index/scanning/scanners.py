"""Scanners: find the candidates of a nearest-neighbor search in one pass over all features.

A scanner's squared distances are in float32 and rounded; `index.scanning.nearest` measures the candidates again in
float64.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from model.cpus import available_cpus
from model.exceptions import DeviceError
from model.requirements import INSTALL_GPU

FeatureMatrix = NDArray[np.floating[Any]]
"""(N, dim) features, float32 or float16."""
Mask = NDArray[np.bool_]
"""(N,) which rows to search."""

UNIT_ROUNDOFF = 2.0**-24
"""Maximum relative rounding error of float32."""
MATRIX_PRODUCT_ROWS = 512
"""Rows per matrix product: together with the queries they stay in the cache."""
MIN_ROWS_PER_THREAD = 1024
CONVERTED_ROWS = 2048
"""float16 rows that a thread converts at once; a multiple of 8."""
MAX_GPU_NEIGHBORS = 2048
"""Maximum neighbors that FAISS finds at once on a GPU."""
OVERFETCH = 16
"""Candidates to find beyond k, so that rounding seldom leaves one of the k nearest out."""


class SearchPool(ThreadPoolExecutor):
    """Threads for searches, one per processor.

    FAISS parallelizes a single query badly, so each thread scans a part of the rows, and FAISS itself starts none.
    """

    def __init__(self) -> None:
        faiss.cvar.distance_compute_blas_threshold = 2 * 4096  # else it makes one pass per query for up to 31 queries
        faiss.cvar.distance_compute_blas_database_bs = MATRIX_PRODUCT_ROWS
        self.num_threads = available_cpus()
        super().__init__(self.num_threads, "search", faiss.omp_set_num_threads, (1,))

    def split(self, num_rows: int) -> tuple[list[int], list[int]]:
        """Starts and ends of each thread's rows; the starts are multiples of 8, as bitmaps require."""
        parts = max(1, min(self.num_threads, num_rows // MIN_ROWS_PER_THREAD))
        starts = [num_rows * part // parts // 8 * 8 for part in range(parts)]
        return starts, [*starts[1:], num_rows]


class SearchedRows(NamedTuple):
    """The rows of (N, dim) `features` that `mask` selects (None: all), to be searched by the threads of `pool`."""

    features: FeatureMatrix
    pool: SearchPool
    mask: Mask | None = None

    @property
    def num_selected(self) -> int:
        """Number of rows that the mask selects."""
        return len(self.features) if self.mask is None else int(self.mask.sum())


class ScanResult(NamedTuple):
    """Candidates, nearest first.

    `rows`: (k,) int64. `squared_distances`: (k,) float32. `error`: bound on the absolute error of these distances, in
    addition to that of a float32 sum of squares.
    """

    rows: NDArray[np.int64]
    squared_distances: NDArray[np.float32]
    error: float


class Scanner(Protocol):
    """Finds the k nearest of the searched rows, or all of them if there are fewer."""

    def scan(self, searched: SearchedRows, query: NDArray[np.float32], k: int) -> ScanResult: ...


class FullScanner:
    """Scans the features in place, each thread a part of them; float16 features are converted chunk by chunk."""

    def scan(self, searched: SearchedRows, query: NDArray[np.float32], k: int) -> ScanResult:
        features, pool, mask = searched
        bitmap = None if mask is None else np.packbits(mask, bitorder="little")

        def scan_part(start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            selector = None
            if bitmap is not None:
                selector = faiss.IDSelectorBitmap(end - start, faiss.swig_ptr(bitmap[start // 8 :]))
            rows, squared = knn(query[None], features[start:end].astype(np.float32, copy=False), k, selector=selector)
            return rows[0], squared[0]

        starts, ends = pool.split(len(features))
        if features.dtype != np.float32 and len(features):
            starts = list(range(0, len(features), CONVERTED_ROWS))
            ends = [*starts[1:], len(features)]
        parts = [scan_part(starts[0], ends[0])] if len(starts) == 1 else list(pool.map(scan_part, starts, ends))
        return ScanResult(*merge_parts(parts, starts, k), error=0.0)


FULL_SCANNER = FullScanner()


class GpuScanner:
    """Scans a float32 copy of the features on the first GPU, one search at a time.

    Raises DeviceError if there is no GPU or no faiss-gpu.
    """

    def __init__(self, dim: int) -> None:
        if not getattr(faiss, "get_num_gpus", lambda: 0)():
            raise DeviceError(f"searching on a GPU needs a GPU and faiss-gpu: {INSTALL_GPU}")
        self._index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), dim)
        self._max_squared_norm = 0.0
        self._lock = threading.Lock()  # a GPU index serves one thread at a time

    def scan(self, searched: SearchedRows, query: NDArray[np.float32], k: int) -> ScanResult:
        """Falls back to the CPU if too many rows must be left out, because FAISS can't filter on a GPU.

        These are rows that the mask doesn't select, and rows that a search of more features has copied meanwhile.
        """
        features, _, mask = searched
        num_masked = len(features) - searched.num_selected
        with self._lock:
            num_copied = max(self._index.ntotal, len(features))
            count = min(num_copied, k + num_masked + num_copied - len(features))
            if count <= MAX_GPU_NEIGHBORS:
                self._copy(features[self._index.ntotal :])
                (squared,), (rows,) = self._index.search(query[None], count)
        if count > MAX_GPU_NEIGHBORS:
            return FULL_SCANNER.scan(searched, query, k)
        valid = (rows >= 0) & (rows < len(features))
        if mask is not None:
            valid[valid] = mask[rows[valid]]
        error = matrix_product_error(features.shape[1], self._max_squared_norm, query)
        return ScanResult(rows[valid][:k], squared[valid][:k], error)

    def _copy(self, features: FeatureMatrix) -> None:
        """Append features to the copy."""
        new = np.ascontiguousarray(features, np.float32)
        if len(new):
            self._index.add(new)
            largest = float(np.nanmax(np.einsum("ij,ij->i", new, new)))
            self._max_squared_norm = max(self._max_squared_norm, largest)


def knn(
    queries: NDArray[np.float32],
    features: FeatureMatrix,
    k: int,
    squared_norms: NDArray[np.float32] | None = None,
    selector: faiss.IDSelector | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """FAISS's brute-force search: (Q, k) rows, -1 where there are too few, and their (Q, k) squared distances."""
    squared, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    norms = None if squared_norms is None else faiss.swig_ptr(squared_norms)
    faiss.knn_L2sqr(
        faiss.swig_ptr(queries), faiss.swig_ptr(features), features.shape[1], len(queries), len(features), k,
        faiss.swig_ptr(squared), faiss.swig_ptr(rows), norms, selector,
    )  # fmt: skip
    return rows, squared


def merge_parts(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]], starts: list[int], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest of all parts. Rows of a part count from its start; -1 stands for no row."""
    rows = np.concatenate([np.where(r >= 0, r + start, -1) for (r, _), start in zip(parts, starts, strict=True)])
    squared = np.concatenate([part_squared for _, part_squared in parts])
    valid = rows >= 0
    order = np.argsort(squared[valid], kind="stable")[:k]
    return rows[valid][order], squared[valid][order]


def matrix_product_error(dim: int, max_squared_norm: float, query: NDArray[np.float32]) -> float:
    """Bound on the error of |x|^2 + |y|^2 - 2xy in float32: the usual growth of rounding errors in a sum, times 4."""
    return 4 * float(np.sqrt(dim)) * UNIT_ROUNDOFF * (max_squared_norm + float(query @ query))
