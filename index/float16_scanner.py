"""float16 rows in FAISS: half the memory, and read in half the time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from numpy.typing import NDArray

from index.nearest import Rows, Scanned, merge

PIECE = 2048


class Float16Scanner:
    """A copy of the rows in pieces of 2,048, since FAISS can't search an index that grows; the rows behind the last
    whole piece are copied for each search."""

    def __init__(self) -> None:
        self._pieces: list[faiss.IndexScalarQuantizer] = []
        self._growing = threading.Lock()

    def scan(
        self,
        rows: Rows,
        query: NDArray[np.float32],
        k: int,
        pool: ThreadPoolExecutor,
        wanted: NDArray[np.bool_] | None,
    ) -> Scanned:
        """Candidates, as `index.nearest.scan` finds them among float32 rows."""
        bits = None if wanted is None else np.packbits(wanted, bitorder="little")

        def search(start: int, piece: faiss.IndexScalarQuantizer) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            parameters = None
            if bits is not None:
                selector = faiss.IDSelectorBitmap(piece.ntotal, faiss.swig_ptr(bits[start // 8 :]))
                parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
            squares, numbers = piece.search(query[None], k, params=parameters)
            return numbers[0], squares[0]

        pieces = self._of(rows)
        starts = [PIECE * place for place in range(len(pieces))]
        return *merge(list(pool.map(search, starts, pieces)), starts, k), 0.0

    def _of(self, rows: Rows) -> list[faiss.IndexScalarQuantizer]:
        whole = len(rows) // PIECE
        with self._growing:
            for place in range(len(self._pieces), whole):
                self._pieces.append(_piece(rows[PIECE * place : PIECE * (place + 1)]))
            pieces = self._pieces[:whole]
        return pieces if len(rows) == PIECE * whole else [*pieces, _piece(rows[PIECE * whole :])]


def _piece(rows: Rows) -> faiss.IndexScalarQuantizer:
    piece = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16)
    piece.add_sa_codes(np.ascontiguousarray(rows, np.float16).view(np.uint8))
    return piece
