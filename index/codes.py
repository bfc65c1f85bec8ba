"""Codes: binary codes of the features, in memory and in a file.

A search shortlists rows by Hamming distance or by looking codes up in a table (semantic hashing), then reranks exactly.
Codes can always be recomputed from the features. So they are written without waiting for the disk, and a code that is
missing or fails its checksum is recomputed.
"""

from __future__ import annotations

import itertools
import os
import zlib
from contextlib import suppress
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from index.files import open_regular
from index.scanning.scanners import FeatureMatrix, Mask, SearchPool
from model.encoder import Encoder
from model.exceptions import IndexStoreError, InvalidRequestError

PackedCodes = NDArray[np.uint8]
"""(N, bytes): eight bits per byte, the first in the most significant."""
ENCODE_ROWS = 1024
MIN_CAPACITY = 1024
MIN_CODES_PER_THREAD = 100_000
MAX_LOOKUP_BITS = 32
"""Longest code that fits the hash lookup table."""
CHECKSUM_BYTES = 4
"""Size of the CRC-32 stored after each code."""


class Codes:
    """One code per row of features, in memory and in the file `path`. Only one thread may change it; any may read it.

    `writable`: whether codes missing from the file are written to it.
    """

    def __init__(self, encoder: Encoder, features: FeatureMatrix, path: Path, writable: bool = True) -> None:
        self.encoder, self.path, self.writable = encoder, path, writable
        self._codes = np.zeros((max(MIN_CAPACITY, len(features)), encoder.bytes), np.uint8)
        self._count = len(features)
        self._table: tuple[NDArray[np.uint32], NDArray[np.int64]] | None = None
        self._load(features)

    def __len__(self) -> int:
        return self._count

    def matrix(self) -> PackedCodes:
        """The (count, bytes) codes."""
        return self._codes[: self._count]

    def append(self, codes: PackedCodes) -> None:
        """Append (N, bytes) codes of the next rows. Any that can't be written are recomputed at the next opening."""
        end = self._count + len(codes)
        if end > len(self._codes):
            self._codes = np.pad(self._codes, ((0, 2 * end - len(self._codes)), (0, 0)))
        self._codes[self._count : end] = codes
        self._store(self._count, codes)
        self._count = end

    def shortlist(
        self, feature: NDArray[np.float32], count: int, num_rows: int, pool: SearchPool, mask: Mask | None
    ) -> NDArray[np.int64]:
        """The `count` of the first `num_rows` rows whose codes are nearest to the code of a (dim,) feature by Hamming
        distance. Meanwhile, codes of further rows may be appended before their features are.
        """
        codes, selected = self.matrix()[:num_rows], None
        if mask is not None:
            selected = np.flatnonzero(mask[: len(codes)])
            codes = codes[selected]
        code, count = self.encoder.encode(feature[None]), min(count, len(codes))
        if not count:
            return np.empty(0, np.int64)
        num_parts = max(1, min(pool.num_threads, len(codes) // MIN_CODES_PER_THREAD))
        bounds = [len(codes) * part // num_parts for part in range(num_parts + 1)]

        def scan_part(start: int, end: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
            distances, rows = faiss.knn_hamming(code, codes[start:end], min(count, end - start), variant="mc")
            return distances[0], rows[0] + start

        parts = list(pool.map(scan_part, bounds[:-1], bounds[1:]))
        distances, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        nearest = rows[np.argsort(distances, kind="stable")[:count]].astype(np.int64)
        return nearest if selected is None else selected[nearest]

    def radius_search(
        self, feature: NDArray[np.float32], radius: int, num_rows: int, mask: Mask | None
    ) -> NDArray[np.int64]:
        """Those of the first `num_rows` rows whose codes are within `radius` bits of the code of a (dim,) feature.

        Compares no codes: it looks up every code within the radius in a sorted table. Raises InvalidRequestError if
        the codes are too long for the table.
        """
        if self.encoder.bits > MAX_LOOKUP_BITS:
            raise code_too_long_error(self.encoder.bits)
        table = self._table
        if table is None or len(table[0]) != self._count:
            values = _as_integers(self.matrix())
            order = np.argsort(values, kind="stable")
            table = self._table = values[order], order
        values, order = table
        lookups = _as_integers(self.encoder.encode(feature[None])) ^ _flip_masks(self.encoder.bits, radius)
        starts, ends = np.searchsorted(values, lookups, "left"), np.searchsorted(values, lookups, "right")
        rows = np.concatenate([order[start:end] for start, end in zip(starts, ends, strict=True)])
        rows = rows[rows < num_rows]
        return np.sort(rows if mask is None else rows[mask[rows]])

    def _load(self, features: FeatureMatrix) -> None:
        """Read the codes whose checksums match, and encode the other rows."""
        width = self.encoder.bytes + CHECKSUM_BYTES
        stored = np.zeros((0, width), np.uint8)
        with suppress(OSError, IndexStoreError), os.fdopen(open_regular(self.path, os.O_RDONLY), "rb") as file:
            count = min(os.fstat(file.fileno()).st_size // width, len(features))
            stored = np.fromfile(file, np.uint8, count * width).reshape(count, width)
        checksums = np.array([zlib.crc32(row) for row in stored[:, :-CHECKSUM_BYTES]], "<u4")
        intact = np.flatnonzero(checksums == np.ascontiguousarray(stored[:, -CHECKSUM_BYTES:]).view("<u4").ravel())
        self._codes[intact] = stored[intact, :-CHECKSUM_BYTES]
        is_missing = np.ones(len(features), bool)
        is_missing[intact] = False
        missing = np.flatnonzero(is_missing)
        chunks = range(0, len(missing), ENCODE_ROWS)
        for start in tqdm(chunks, desc="encoding", unit="chunk", disable=None, leave=False):
            rows = missing[start : start + ENCODE_ROWS]
            self._codes[rows] = self.encoder.encode(features[rows].astype(np.float32))
        if len(missing):
            self._store(0, self.matrix())

    def _store(self, row: int, codes: PackedCodes) -> None:
        """Write codes starting at a row and truncate the file after them, if the file may and can be written."""
        if not self.writable:
            return
        with (
            suppress(OSError, IndexStoreError),  # disk full, read-only, or a link
            os.fdopen(open_regular(self.path, os.O_RDWR | os.O_CREAT), "r+b") as file,
        ):
            file.seek(row * (self.encoder.bytes + CHECKSUM_BYTES))
            file.write(_with_checksums(codes))
            file.truncate()


def check_encoder(encoder: Encoder, dim: int) -> None:
    """Raise IndexStoreError unless the encoder is for features of this dimension."""
    if encoder.dim != dim:
        raise IndexStoreError(f"expected an encoder of {dim}-dimensional features, got one of {encoder.dim}")


def code_too_long_error(bits: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"hash lookup needs codes of at most {MAX_LOOKUP_BITS} bits, but these have {bits}: use the search mode binary"
    )


def _as_integers(codes: PackedCodes) -> NDArray[np.uint32]:
    padded = np.zeros((len(codes), 4), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(">u4").ravel().astype(np.uint32)


def _flip_masks(bits: int, radius: int) -> NDArray[np.uint32]:
    """All 32-bit integers in which at most `radius` bits are set, all among the highest `bits`."""
    single = [1 << (31 - bit) for bit in range(bits)]
    return np.array(
        [sum(flips) for count in range(radius + 1) for flips in itertools.combinations(single, count)], np.uint32
    )


def _with_checksums(codes: PackedCodes) -> bytes:
    checksums = np.array([zlib.crc32(code) for code in codes], "<u4").reshape(-1, 1).view(np.uint8)
    return np.hstack([codes, checksums]).tobytes()
