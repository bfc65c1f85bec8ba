"""Feature rows on disk, and the exact Euclidean search over them (paper, section 6.1).

The file holds float32 rows one after another and nothing else; which of them count is the catalogue's word.
"""

from __future__ import annotations

import errno
import mmap
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from index.catalog import Line
from model.errors import StorageFullError

Rows = NDArray[np.float32]
SPARE = 16
"""Candidates beyond k that are measured again."""
COPIED = 1024
"""Rows that are copied at once."""
SMALL = 0.125
"""Below this share of all rows the wanted ones are copied out; above it, FAISS passes over the others."""


class FeatureRows:
    """`count` rows of `dim` float32 in `path`; bytes behind them are left from an interrupted addition."""

    def __init__(self, path: Path, dim: int, count: int) -> None:
        self.path, self.dim, self.count = path, dim, count
        self._file = path.open("rb") if path.exists() else None  # stays readable when compacting takes its name away

    @property
    def present(self) -> int:
        """Whole rows in the file, whatever the catalogue says."""
        return os.fstat(self._file.fileno()).st_size // (4 * self.dim) if self._file else 0

    def append(self, rows: Rows) -> None:
        """Write (N, dim) rows behind those that count and bring them to the disk. They count from `commit` on.

        Raises StorageFullError.
        """
        self.path.touch()
        self._file = self._file or self.path.open("rb")
        try:
            with self.path.open("r+b") as file:
                file.seek(4 * self.dim * self.count)
                file.write(np.ascontiguousarray(rows, np.float32).tobytes())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StorageFullError(
                    "expected room for the features, found a full disk: nothing was added"
                ) from error
            raise

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def commit(self, count: int) -> None:
        self.count += count

    def view(self) -> Rows:
        """The rows that count, (count, dim), mapped into memory, read-only."""
        count = min(self.count, self.present)  # fewer where the file was cut
        if not count or self._file is None:
            return np.empty((0, self.dim), np.float32)
        mapped = mmap.mmap(self._file.fileno(), 4 * self.dim * count, prot=mmap.PROT_READ)
        return np.frombuffer(mapped, np.float32).reshape(count, self.dim)

    def copied(self, path: Path, rows: Sequence[int]) -> FeatureRows:
        """A new file with some of the rows, in that order. Raises StorageFullError."""
        path.unlink(missing_ok=True)  # of an earlier try
        new, present = FeatureRows(path, self.dim, 0), self.view()
        for start in range(0, len(rows), COPIED):
            new.append(present[list(rows[start : start + COPIED])])
            new.commit(len(rows[start : start + COPIED]))
        return new

    def damaged(self, lines: Iterable[Line]) -> dict[int, str]:
        """Pictures whose rows are cut off, or don't have their checksum: id -> what is wrong."""
        rows, found = self.view(), {}
        for line in lines:
            if line.row >= len(rows):
                found[line.id] = "its row is cut off"
            elif zlib.crc32(rows[line.row]) != line.checksum:
                found[line.id] = "its row doesn't have its checksum"
        return found


def checksums(rows: Rows) -> list[int]:
    """CRC-32 of each row's bytes."""
    return [zlib.crc32(row) for row in np.ascontiguousarray(rows, np.float32)]


def nearest(
    rows: Rows, query: Rows, k: int, pool: ThreadPoolExecutor, wanted: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k rows nearest to `query` (dim,), of those that are `wanted` (all), by true Euclidean distance, ties by row.

    FAISS finds candidates in float32; a few more than k are taken and their distances computed again as float64
    differences, so that the answer depends on neither batch nor thread count.
    """
    numbers = None
    if wanted is not None:
        count = int(wanted.sum())
        if count < SMALL * len(rows):
            numbers = np.flatnonzero(wanted)
            rows, wanted = np.asarray(rows[numbers]), None
    else:
        count = len(rows)
    k = min(count, k)
    if not k:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    candidates = np.sort(_candidates(rows, query.astype(np.float32), min(count, k + SPARE), pool, wanted))
    difference = rows[candidates].astype(np.float64) - query.astype(np.float64)
    distances = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(distances, kind="stable")[:k]
    found = candidates[order]
    return (found if numbers is None else numbers[found]), distances[order]


def _candidates(
    rows: Rows, query: Rows, k: int, pool: ThreadPoolExecutor, wanted: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Row numbers of k near ones; each thread of the pool takes a part of the rows: FAISS itself would give a single
    query one thread."""
    threads = max(1, min(pool._max_workers, len(rows) // 1024))
    starts = [len(rows) * part // threads // 8 * 8 for part in range(threads)]  # whole bytes of the bitmap
    ends = [*starts[1:], len(rows)]
    bits = None if wanted is None else np.packbits(wanted, bitorder="little")

    def part(start: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        distances, numbers = np.empty(k, np.float32), np.empty(k, np.int64)
        selector = None
        if bits is not None:
            own = bits[start // 8 :]
            selector = faiss.IDSelectorBitmap(int(end - start), faiss.swig_ptr(own))
        faiss.knn_L2sqr(
            faiss.swig_ptr(query), faiss.swig_ptr(rows[start:end]), rows.shape[1], 1, int(end - start), k,
            faiss.swig_ptr(distances), faiss.swig_ptr(numbers), None, selector,
        )  # fmt: skip
        return distances, np.where(numbers >= 0, numbers + start, -1)

    found = [part(starts[0], ends[0])] if len(starts) == 1 else list(pool.map(part, starts, ends))
    distances, numbers = (np.concatenate(columns) for columns in zip(*found, strict=True))
    real = numbers >= 0
    order = np.argsort(distances[real], kind="stable")[:k]
    return numbers[real][order]
