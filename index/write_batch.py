"""Images that wait to be added, and those that are brought to the disk together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, NewEntry
from model.exceptions import InvalidRequestError

Status = Literal["added", "exists", "restored"]


@dataclass(frozen=True)
class AddResult:
    """What became of an image that was to be added: the same bytes have the same id."""

    id: int
    status: Status


@dataclass(frozen=True)
class PendingAdd:
    """(N, dim) features and what is stored beside them; `done` has what became of each."""

    features: NDArray[np.float32]
    entries: Sequence[NewEntry]
    done: Future[list[AddResult]] = field(default_factory=Future)


class WriteBatch:
    """Additions in one commit, with the answers that they would have had one after the other.

    `fresh`: those images that are new, by the checksum of their bytes; of several with the same, the first.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._taken: list[PendingAdd] = []
        self._known: dict[str, tuple[int, bool]] = {}
        self.fresh: dict[str, tuple[NewEntry, NDArray[np.float32]]] = {}

    @property
    def removed(self) -> list[int]:
        """Images that were taken out, and are to be there again."""
        return sorted({number for number, removed in self._known.values() if removed})

    def take(self, addition: PendingAdd) -> None:
        """Join an addition, unless one of its keys is taken: that is its answer, and no matter of the others."""
        known = self._catalog.known([entry.sha256 for entry in addition.entries])
        new: dict[str, tuple[NewEntry, NDArray[np.float32]]] = {}
        for entry, feature in zip(addition.entries, addition.features, strict=True):
            if entry.sha256 not in known and entry.sha256 not in self.fresh:
                new.setdefault(entry.sha256, (entry, feature))
        try:
            self._catalog.require_new_keys([e.key for e, _ in (*self.fresh.values(), *new.values()) if e.key])
        except InvalidRequestError as error:
            addition.done.set_exception(error)
            return
        self.fresh |= new
        self._known |= known
        self._taken.append(addition)

    def finish(self, ids: Sequence[int]) -> None:
        """All are on the disk; `ids`: of the fresh ones."""
        new, said = dict(zip(self.fresh, ids, strict=True)), set[str]()
        for addition in self._taken:
            addition.done.set_result([self._became(entry.sha256, new, said) for entry in addition.entries])

    def fail(self, additions: Iterable[PendingAdd], error: BaseException) -> None:
        """Nothing of them was added."""
        for addition in additions:
            if not addition.done.done():
                addition.done.set_exception(error)

    def _became(self, sha256: str, new: dict[str, int], said: set[str]) -> AddResult:
        if sha256 in self._known:
            number, removed = self._known[sha256]
            return AddResult(number, "restored" if removed else "exists")
        status: Status = "exists" if sha256 in said else "added"
        said.add(sha256)
        return AddResult(new[sha256], status)
