"""FeatureFile: the features of an index on disk, float32 or float16, row after row without a header.

The catalog says how many of the rows are valid.
"""

from __future__ import annotations

import mmap
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from index.feature_space import RowDType
from index.files import check_regular, check_same, descriptor_id, open_regular, replaced_error, storage_error
from index.scanning.quantized_copies import QuantizedCopies
from index.scanning.scanners import FULL_SCANNER, FeatureMatrix, GpuScanner, Scanner
from model.exceptions import DeviceError

COPY_ROWS = 1024
"""Rows copied at once."""


def round_to_dtype(features: NDArray[np.float32], dtype: RowDType) -> NDArray[np.float32]:
    """(N, dim) features as an index of this dtype returns them, so that recomputed codes are the same."""
    return features.astype(dtype).astype(np.float32)


def feature_checksums(features: NDArray[np.float32], dtype: RowDType) -> list[int]:
    """CRC-32 of the bytes of each of (N, dim) features, as an index of this dtype stores them."""
    return [zlib.crc32(row) for row in np.ascontiguousarray(features, dtype)]


class FeatureFile:
    """`count` rows of `dim` numbers in `path`, and what searches them: a scanner, with 8-bit copies on a CPU.

    Any bytes after these rows are left from an interrupted addition. Only one thread may change the file; any may
    read it.
    """

    def __init__(self, path: Path, dim: int, count: int, dtype: DTypeLike) -> None:
        self.path, self.dim, self.count, self.dtype = path, dim, count, np.dtype(dtype)
        self.scanner: Scanner = FULL_SCANNER
        self.copies: QuantizedCopies | None = QuantizedCopies()
        self._matrix: FeatureMatrix = np.empty((0, dim), self.dtype)
        self._squared_norms, self._norms_lock = np.empty(0, np.float32), threading.Lock()
        self._file = self._open()  # stays readable when compacting unlinks it
        self._stamp = self._read_stamp()
        self._num_writes = 0
        """Beginnings and ends of writes by `append`; odd while one runs."""

    @property
    def is_open(self) -> bool:
        """Whether there is a file yet."""
        return self._file is not None

    def scan_on_gpu(self) -> None:
        """Scan on a GPU from now on. Raises DeviceError, also for float16."""
        if self.dtype != np.float32:
            raise DeviceError(f"searching on a GPU needs features in float32, but these are in {self.dtype}")
        self.scanner, self.copies = GpuScanner(self.dim), None

    def append(self, features: FeatureMatrix) -> None:
        """Append (N, dim) features to the file and sync it to the disk. `commit` makes them visible to searches.

        Raises StorageFullError, IndexReplacedError.
        """
        self.check_file()
        if self._file is None:
            self._create()
        self._num_writes += 1
        try:
            descriptor = open_regular(self.path, os.O_RDWR)
            with os.fdopen(descriptor, "r+b") as file:
                file.seek(self.dtype.itemsize * self.dim * self.count)
                file.write(np.ascontiguousarray(features, self.dtype).tobytes())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(self.path, error) from error
        finally:  # what was written here before a full disk or Ctrl-C isn't a change by another program
            self._stamp = self._read_stamp()
            self._num_writes += 1

    def _create(self) -> None:
        """Create the file. Raises IndexReplacedError if it exists by now: then it belongs to another index."""
        if os.path.lexists(self.path):
            check_regular(self.path)
            raise replaced_error(f"there is now a {self.path.name}")
        try:
            os.close(open_regular(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._file = self._open()

    def check_file(self) -> None:
        """Raise IndexReplacedError unless the file at `path` is still the one that was opened."""
        if self._file is not None:
            check_same(self.path, descriptor_id(self._file.fileno()))

    @property
    def changed_outside(self) -> bool:
        """Whether another program has written to the file since it was opened or last written here.

        False while `append` is writing in another thread, and once the file is closed.
        """
        before = self._num_writes
        try:
            changed = self._stamp != self._read_stamp()
        except ValueError:  # closed: a search still reads what a compaction has replaced
            return False
        return changed and before == self._num_writes and before % 2 == 0

    def commit(self, count: int) -> None:
        """Make `count` appended rows visible to searches."""
        self.count += count

    def close(self) -> None:
        if self.copies is not None:
            self.copies.stop()
        if self._file is not None:
            self._file.close()
        self._matrix = np.empty((0, self.dim), self.dtype)  # unmapped when the last search has ended

    def matrix(self) -> FeatureMatrix:
        """The committed rows, (count, dim), memory-mapped, read-only; fewer if the file was truncated."""
        count = min(self.count, self._rows_on_disk())
        if not count or self._file is None:
            return np.empty((0, self.dim), self.dtype)
        if len(self._matrix) != count:  # else the mapping is kept: earlier searches have filled its page tables
            size = self.dtype.itemsize * self.dim * count
            mapped = mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ)
            self._matrix = np.frombuffer(mapped, self.dtype).reshape(count, self.dim)
        return self._matrix

    def copy_rows(self, path: Path, rows: Sequence[int]) -> FeatureFile:
        """Write these rows, in this order, to a new file. Raises StorageFullError."""
        path.unlink(missing_ok=True)  # left by an interrupted attempt, or a link
        copy, matrix = FeatureFile(path, self.dim, 0, self.dtype), self.matrix()
        if isinstance(self.scanner, GpuScanner):
            copy.scan_on_gpu()
        try:
            for start in range(0, len(rows), COPY_ROWS):
                part = list(rows[start : start + COPY_ROWS])
                copy.append(matrix[part])
                copy.commit(len(part))
        except BaseException:
            copy.close()
            path.unlink(missing_ok=True)
            raise
        return copy

    def squared_norms(self, matrix: FeatureMatrix) -> NDArray[np.float32]:
        """(N,) squared norms of the first N rows, given as `matrix` in float32; each is computed once."""
        with self._norms_lock:
            new = matrix[len(self._squared_norms) :]
            if len(new):
                self._squared_norms = np.concatenate([self._squared_norms, np.einsum("ij,ij->i", new, new)])
            return self._squared_norms[: len(matrix)]

    def accept_changes(self) -> None:
        """Treat the file as it is now as unchanged; see `changed_outside`."""
        self._stamp = self._read_stamp()

    def row_fault(self, row: int, checksum: int) -> str | None:
        """Compare a row of the file with its checksum. Returns what is wrong, or None."""
        size = self.dtype.itemsize * self.dim
        content = b"" if self._file is None else os.pread(self._file.fileno(), size, size * row)
        if len(content) < size:
            return "the features file is truncated before its row"
        return None if zlib.crc32(content) == checksum else "its row doesn't match its checksum"

    def _open(self) -> IO[bytes] | None:
        """The file, open for reading; None if there is none yet."""
        try:
            return os.fdopen(open_regular(self.path, os.O_RDONLY), "rb")
        except FileNotFoundError:
            return None

    def _read_stamp(self) -> tuple[int, int]:
        """Size and time of the last change."""
        if self._file is None:
            return (0, 0)
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _rows_on_disk(self) -> int:
        """Number of complete rows in the file, committed or not."""
        return os.fstat(self._file.fileno()).st_size // (self.dtype.itemsize * self.dim) if self._file else 0
