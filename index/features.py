"""Feature rows on disk: float32 or float16, one after another and nothing else; which of them count is the catalog's
word."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalog import Line
from index.float16_scanner import Float16Scanner
from index.gpu_scanner import GpuScanner
from index.nearest import Candidates, Rows, scan
from model.exceptions import DeviceError, StorageFullError

COPIED = 1024
"""Rows that are copied at once."""
TYPES: dict[str, type[np.float32] | type[np.float16]] = {"float32": np.float32, "float16": np.float16}


class FeatureFile:
    """`count` rows of `dim` numbers in `path`; bytes behind them are left from an interrupted addition.

    `scan` finds candidates among them.
    """

    def __init__(self, path: Path, dim: int, count: int, kind: str = "float32") -> None:
        self.path, self.dim, self.count, self.type = path, dim, count, np.dtype(TYPES[kind])
        self.scan: Candidates = Float16Scanner().scan if kind == "float16" else scan
        self._on_gpu = False
        self._mapped: Rows = np.empty((0, dim), self.type)
        self._norms, self._measuring = np.empty(0, np.float32), threading.Lock()
        self._file = path.open("rb") if path.exists() else None  # stays readable when compacting takes its name away

    def to_gpu(self) -> None:
        """Find candidates on a GPU from now on. Raises DeviceError, for rows in float16, too."""
        if self.type != np.float32:
            raise DeviceError(f"expected rows in float32 to search on a GPU, found {self.type}")
        self.scan, self._on_gpu = GpuScanner(self.dim).scan, True

    @property
    def present(self) -> int:
        """Whole rows in the file, whatever the catalog says."""
        return os.fstat(self._file.fileno()).st_size // (self.type.itemsize * self.dim) if self._file else 0

    def append(self, rows: Rows) -> None:
        """Write (N, dim) rows behind those that count and bring them to the disk. They count from `commit` on.

        Raises StorageFullError.
        """
        self.path.touch()
        self._file = self._file or self.path.open("rb")
        try:
            with self.path.open("r+b") as file:
                file.seek(self.type.itemsize * self.dim * self.count)
                file.write(np.ascontiguousarray(rows, self.type).tobytes())
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
            return np.empty((0, self.dim), self.type)
        if len(self._mapped) == count:  # with the page tables that earlier searches have filled
            return self._mapped
        mapped = mmap.mmap(self._file.fileno(), self.type.itemsize * self.dim * count, prot=mmap.PROT_READ)
        self._mapped = np.frombuffer(mapped, self.type).reshape(count, self.dim)
        return self._mapped

    def copied(self, path: Path, rows: Sequence[int]) -> FeatureFile:
        """A new file with some of the rows, in that order. Raises StorageFullError."""
        path.unlink(missing_ok=True)  # of an earlier try
        new, present = FeatureFile(path, self.dim, 0, self.type.name), self.view()
        if self._on_gpu:
            new.to_gpu()
        for start in range(0, len(rows), COPIED):
            new.append(present[list(rows[start : start + COPIED])])
            new.commit(len(rows[start : start + COPIED]))
        return new

    def checksums(self, rows: Rows) -> list[int]:
        """CRC-32 of the bytes of each of (N, dim) rows, as they are stored."""
        return [zlib.crc32(row) for row in np.ascontiguousarray(rows, self.type)]

    def norms(self, rows: Rows) -> NDArray[np.float32]:
        """The squared lengths of float32 `rows`, the first ones here; each is computed once."""
        with self._measuring:
            new = rows[len(self._norms) :]
            if len(new):
                self._norms = np.concatenate([self._norms, np.einsum("ij,ij->i", new, new)])
            return self._norms[: len(rows)]

    def damaged(self, lines: Iterable[Line]) -> dict[int, str]:
        """Images whose rows are cut off, or don't have their checksum: id -> what is wrong."""
        rows, found = self.view(), {}
        for line in lines:
            if line.row >= len(rows):
                found[line.id] = "its row is cut off"
            elif zlib.crc32(rows[line.row]) != line.checksum:
                found[line.id] = "its row doesn't have its checksum"
        return found
