"""Candidates by FAISS on a GPU: a copy of the rows there, one search at a time; measured again on the CPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from numpy.typing import NDArray

from index.nearest import UNIT, Rows, Scanned, scan
from model.exceptions import DeviceError

MOST = 2048
"""Neighbors that FAISS finds at once on a GPU."""


class GpuScanner:
    """float32 rows on the first GPU; grows with them. Raises DeviceError where there is none."""

    def __init__(self, dim: int) -> None:
        count = getattr(faiss, "get_num_gpus", lambda: 0)()
        if not count:
            raise DeviceError("expected a GPU and faiss-gpu to search on, found none: install the 'gpu' extra")
        self._index = faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), dim)
        self._longest = 0.0
        self._one = threading.Lock()  # a GPU index answers one thread at a time

    def scan(
        self,
        rows: Rows,
        query: NDArray[np.float32],
        k: int,
        pool: ThreadPoolExecutor,
        wanted: NDArray[np.bool_] | None,
    ) -> Scanned:
        """As `index.nearest.scan`; where too many rows aren't wanted, that one."""
        out = 0 if wanted is None else len(rows) - int(wanted.sum())
        many = min(len(rows), k + out)
        if many > MOST:
            return scan(rows, query, k, pool, wanted)
        with self._one:
            new = np.ascontiguousarray(rows[self._index.ntotal :], np.float32)
            if len(new):
                self._index.add(new)
                self._longest = max(self._longest, float(np.nanmax(np.einsum("ij,ij->i", new, new))))
            squares, numbers = self._index.search(query[None], many)
        real = numbers[0] >= 0 if wanted is None else (numbers[0] >= 0) & wanted[numbers[0]]
        slack = 4 * float(np.sqrt(rows.shape[1])) * UNIT * (self._longest + float(query @ query))
        return numbers[0][real][:k], squares[0][real][:k], slack
