"""WriteBatch: write additions that wait for one another in one commit (group commit).

This is where all backends decide which images are new, which exist already, and which are restored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike, NDArray

from index.entries import AddResult, AddStatus, CatalogReader, FoundImage, NewEntry
from model.exceptions import IndexUnavailableError, InvalidRequestError

MAX_SQUARED_NORM = 1e36
"""Limit for features: squared distances can be four times as large, and are computed in float32."""


@dataclass(frozen=True)
class PendingAdd:
    """An addition that waits for its commit: (N, dim) features and their entries. `results`: set when it is done."""

    features: NDArray[np.float32]
    entries: Sequence[NewEntry]
    results: Future[list[AddResult]] = field(default_factory=Future)

    def check(self, dim: int, dtype: DTypeLike = np.float32) -> None:
        """Raise InvalidRequestError unless the features are (N, dim), finite as `dtype`, and of norms below 1e18."""
        shape = (len(self.entries), dim)
        if self.features.shape != shape:
            raise InvalidRequestError(f"expected features of shape {shape}, got {self.features.shape}")
        with np.errstate(over="ignore"):  # values too large for float16 become infinite
            stored = self.features.astype(dtype)
            norms = np.einsum("ij,ij->i", self.features, self.features, dtype=np.float32)
        if not np.isfinite(stored).all():
            raise InvalidRequestError(f"features must be finite in {np.dtype(dtype)}, but some aren't")
        if (norms > MAX_SQUARED_NORM).any():
            raise InvalidRequestError("features must have norms below 1e18: distances to longer ones can't be computed")


class WriteBatch:
    """Additions in one commit, with the same results as if they were made one after the other.

    `new`: the images that aren't stored yet, by sha256; the first of those with the same bytes.
    """

    def __init__(self, catalog: CatalogReader) -> None:
        self._catalog = catalog
        self._accepted: list[PendingAdd] = []
        self._stored: dict[str, FoundImage] = {}
        self.new: dict[str, tuple[NewEntry, NDArray[np.float32]]] = {}

    @property
    def removed_ids(self) -> list[int]:
        """Ids of removed images that are added again, and so are to be restored."""
        return sorted({stored.id for stored in self._stored.values() if stored.removed})

    def accept(self, addition: PendingAdd) -> None:
        """Join an addition. If one of its keys is already used, it fails alone, with InvalidRequestError as result."""
        stored = self._catalog.find([entry.sha256 for entry in addition.entries])
        new: dict[str, tuple[NewEntry, NDArray[np.float32]]] = {}
        for entry, feature in zip(addition.entries, addition.features, strict=True):
            if entry.sha256 not in stored and entry.sha256 not in self.new:
                new.setdefault(entry.sha256, (entry, feature))
        try:
            self._catalog.check_new_keys([e.key for e, _ in (*self.new.values(), *new.values()) if e.key])
        except InvalidRequestError as error:
            addition.results.set_exception(error)
            return
        self.new |= new
        self._stored |= stored
        self._accepted.append(addition)

    def finish(self, new_ids: Sequence[int]) -> None:
        """Set all results after the commit. `new_ids`: the ids of `new`, in order."""
        ids, reported = dict(zip(self.new, new_ids, strict=True)), set[str]()
        for addition in self._accepted:
            addition.results.set_result([self._result(entry.sha256, ids, reported) for entry in addition.entries])

    def _result(self, sha256: str, new_ids: dict[str, int], reported: set[str]) -> AddResult:
        if sha256 in self._stored:
            stored = self._stored[sha256]
            return AddResult(stored.id, "restored" if stored.removed else "exists")
        status: AddStatus = "exists" if sha256 in reported else "added"
        reported.add(sha256)
        return AddResult(new_ids[sha256], status)


class AddQueue:
    """Additions of all threads. The first thread to get `lock` writes all additions that wait for it, in one commit.

    `commit`: writes additions; returns their batch and the ids of its new images.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object],
        commit: Callable[[Sequence[PendingAdd]], tuple[WriteBatch, Sequence[int]]],
    ) -> None:
        self._lock, self._commit = lock, commit
        self._waiting: deque[PendingAdd] = deque()

    def add(self, addition: PendingAdd) -> list[AddResult]:
        """Write an addition and others that wait. Raises what its commit raised, in which case none of it was added."""
        self._waiting.append(addition)
        with self._lock:
            if not addition.results.done():
                additions = [self._waiting.popleft() for _ in range(len(self._waiting))]
                try:
                    self._write(additions)
                except BaseException:  # such as Ctrl-C in this thread: the others write their own
                    unfinished = [a for a in additions if a is not addition and not a.results.done()]
                    self._waiting.extendleft(reversed(unfinished))
                    raise
        return addition.results.result()

    def _write(self, additions: Sequence[PendingAdd]) -> None:
        """Write additions in one commit; if that fails, each in its own commit, so that a bad one fails alone."""
        try:
            batch, ids = self._commit(additions)
        except Exception as error:
            is_final = len(additions) == 1 or isinstance(error, IndexUnavailableError)
            for addition in additions:
                if addition.results.done():  # refused, because its key is used
                    continue
                if is_final:
                    addition.results.set_exception(error)
                else:
                    self._write([addition])
        else:
            batch.finish(ids)
