"""Binary codes of the rows: a shortlist by Hamming distance, or by address (semantic hashing), to be ranked exactly.

They can be made again from the features at any time. So they are written without waiting for the disk, and a row whose
checksum is wrong, or that is missing, is encoded anew.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.nearest import Rows
from model.encoder import Encoder
from model.exceptions import InvalidRequestError

Packed = NDArray[np.uint8]
CHUNK = 1024
ADDRESS_BITS = 32
"""Up to so many, a code is an address: sorted once, all codes within a radius are looked up."""
CHECK = 4
"""Bytes of a row's CRC-32, behind its code."""


class Codes:
    """One code a row of features, in memory, and in `path` if given. One thread changes it, any may read."""

    def __init__(self, encoder: Encoder, rows: Rows, path: Path | None) -> None:
        self.encoder, self.path = encoder, path
        self._codes = np.zeros((max(1024, len(rows)), encoder.bytes), np.uint8)
        self._count = 0
        self._sorted: tuple[NDArray[np.uint32], NDArray[np.int64]] | None = None
        self._take(rows)

    def _take(self, rows: Rows) -> None:
        """The codes in the file, as far as they are whole, and those of the other rows made anew."""
        width = self.encoder.bytes + CHECK
        stored = np.zeros((0, width), np.uint8)
        if self.path is not None and self.path.is_file():
            whole = min(self.path.stat().st_size // width, len(rows))
            stored = np.fromfile(self.path, np.uint8, whole * width).reshape(whole, width)
        checks = np.array([zlib.crc32(row) for row in stored[:, :-CHECK]], "<u4")
        good = np.flatnonzero(checks == np.ascontiguousarray(stored[:, -CHECK:]).view("<u4").ravel())
        self._codes[good] = stored[good, :-CHECK]
        missing = np.setdiff1d(np.arange(len(rows)), good)
        for start in tqdm(range(0, len(missing), CHUNK), desc="encoding", unit="chunk", disable=None, leave=False):
            some = missing[start : start + CHUNK]
            self._codes[some] = self.encoder.encode(rows[some].astype(np.float32))
        self._count = len(rows)
        if len(missing) and self.path is not None:
            self.path.write_bytes(_checked(self.view()))

    def __len__(self) -> int:
        return self._count

    def view(self) -> Packed:
        """The codes that count, (count, bytes)."""
        return self._codes[: self._count]

    def append(self, new: Packed) -> None:
        """Codes of the next rows, (N, bytes). What can't be written is made again when the index is opened anew."""
        end = self._count + len(new)
        if end > len(self._codes):
            self._codes = np.pad(self._codes, ((0, 2 * end - len(self._codes)), (0, 0)))
        self._codes[self._count : end] = new
        if self.path is not None:
            with contextlib.suppress(OSError), self.path.open("r+b" if self.path.exists() else "wb") as file:
                file.seek(self._count * (self.encoder.bytes + CHECK))
                file.write(_checked(new))
        self._count = end

    def shortlist(
        self, feature: NDArray[np.float32], count: int, pool: ThreadPoolExecutor, wanted: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """`count` rows with the least Hamming distances from the code of a (dim,) feature."""
        codes, numbers = self.view(), None
        if wanted is not None:
            numbers = np.flatnonzero(wanted[: len(codes)])
            codes = codes[numbers]
        code, count = self.encoder.encode(feature[None]), min(count, len(codes))
        if not count:
            return np.empty(0, np.int64)
        parts = max(1, min(pool._max_workers, len(codes) // 100_000))
        bounds = [len(codes) * part // parts for part in range(parts + 1)]

        def part(start: int, end: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
            distances, found = faiss.knn_hamming(code, codes[start:end], min(count, end - start), variant="mc")
            return distances[0], found[0] + start

        found = list(pool.map(part, bounds[:-1], bounds[1:]))
        distances, rows = (np.concatenate(columns) for columns in zip(*found, strict=True))
        near = rows[np.argsort(distances, kind="stable")[:count]].astype(np.int64)
        return near if numbers is None else numbers[near]

    def within(self, feature: NDArray[np.float32], radius: int, wanted: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """All rows whose codes differ in at most `radius` bits from that of a (dim,) feature: no code is compared, they
        are looked up as addresses. Raises InvalidRequestError for codes that are too long."""
        if self.encoder.bits > ADDRESS_BITS:
            raise InvalidRequestError(
                f"expected codes of at most {ADDRESS_BITS} bits to be addresses, found {self.encoder.bits}"
            )
        table = self._sorted
        if table is None or len(table[0]) != self._count:
            addresses = _addresses(self.view())
            order = np.argsort(addresses, kind="stable")
            table = self._sorted = addresses[order], order
        addresses, order = table
        near = _addresses(self.encoder.encode(feature[None])) ^ _flips(self.encoder.bits, radius)
        starts, ends = np.searchsorted(addresses, near, "left"), np.searchsorted(addresses, near, "right")
        rows = np.concatenate([order[start:end] for start, end in zip(starts, ends, strict=True)])
        return np.sort(rows if wanted is None else rows[wanted[rows]])


def _addresses(codes: Packed) -> NDArray[np.uint32]:
    padded = np.zeros((len(codes), 4), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(">u4").ravel().astype(np.uint32)


def _flips(bits: int, radius: int) -> NDArray[np.uint32]:
    """All patterns of at most `radius` of the first `bits` bits."""
    single = [1 << (31 - bit) for bit in range(bits)]
    return np.array(
        [sum(chosen) for count in range(radius + 1) for chosen in itertools.combinations(single, count)], np.uint32
    )


def _checked(codes: Packed) -> bytes:
    """Codes with their checksums behind them."""
    checks = np.array([zlib.crc32(code) for code in codes], "<u4").reshape(-1, 1).view(np.uint8)
    return np.hstack([codes, checks]).tobytes()
