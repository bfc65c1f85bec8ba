"""Feature rows on disk, and the exact Euclidean search over them (paper, section 6.1).

The file holds float32 rows one after another and nothing else; how many of them count is the catalogue's word.
"""

from __future__ import annotations

import os
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from model.errors import IndexStoreError

Rows = NDArray[np.float32]


class FeatureRows:
    """`count` committed rows of `dim` float32 in `path`; bytes behind them are left from an interrupted addition."""

    def __init__(self, path: Path, dim: int, count: int) -> None:
        self.path, self.dim = path, dim
        present = path.stat().st_size // (4 * dim) if path.exists() else 0
        if present < count:
            raise IndexStoreError(f"expected {count:,} feature rows in {path}, found {present:,}: the file was cut")
        self.count = count

    def append(self, rows: Rows) -> None:
        """Write (N, dim) rows behind the committed ones and bring them to the disk. They count from `commit` on."""
        self.path.touch()
        with self.path.open("r+b") as file:
            file.seek(4 * self.dim * self.count)
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def commit(self, count: int) -> None:
        self.count += count

    def view(self) -> Rows:
        """The committed rows, (count, dim), mapped into memory, read-only."""
        if not self.count:
            return np.empty((0, self.dim), np.float32)
        return np.memmap(self.path, np.float32, "r", shape=(self.count, self.dim))


def nearest(rows: Rows, query: Rows, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k rows nearest to `query` (dim,), by true Euclidean distance, ties by row number.

    FAISS finds candidates; its fast paths compute |x|^2 + |y|^2 - 2xy in float32, so a few more than k are taken and
    their distances computed again as float64 differences. The answer depends on neither batch nor thread count.
    """
    wanted = min(len(rows), k)
    if not wanted:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    spare = min(len(rows), wanted + 16)
    _, candidates = faiss.knn(query[None].astype(np.float32), rows, spare)
    numbers = np.sort(candidates[0][candidates[0] >= 0])  # -1 where a damaged row compares with nothing
    difference = rows[numbers].astype(np.float64) - query.astype(np.float64)
    distances = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(distances, kind="stable")[:wanted]
    return numbers[order], distances[order]
