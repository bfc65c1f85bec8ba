"""Which rows are images of the index, and of which label: what a search asks before it compares anything."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from index.catalog import Line
from model.exceptions import InvalidRequestError

NOBODY = -1
"""The label's number of an image without a label."""


class RowTable:
    """Row -> id, label and whether it counts. Ids grow with rows. One thread changes it, any may read."""

    def __init__(self, lines: Sequence[Line], damaged: Collection[int]) -> None:
        self._changing = threading.Lock()
        self._numbers: dict[str, int] = {}
        rows = len(lines)
        self._size = rows
        self._ids = np.zeros(max(rows, 1024), np.int64)
        self._labels = np.full(len(self._ids), NOBODY, np.int32)
        self._here = np.zeros(len(self._ids), np.bool_)
        for line in lines:
            self._ids[line.row], self._labels[line.row] = line.id, self._number(line.label)
            self._here[line.row] = not line.removed and line.id not in damaged

    @property
    def count(self) -> int:
        """Images that can be found."""
        return int(np.count_nonzero(self._here[: self._size]))

    def labels(self) -> dict[str, int]:
        """How many images each label has; those without any aren't counted."""
        with self._changing:
            numbers, here = self._labels[: self._size], self._here[: self._size]
            counts = np.bincount(numbers[here & (numbers >= 0)], minlength=len(self._numbers))
            return {label: int(counts[number]) for label, number in self._numbers.items() if counts[number]}

    def row_of(self, image_id: int) -> int | None:
        """Where the feature of an image is, be it removed or not."""
        with self._changing:
            row = int(np.searchsorted(self._ids[: self._size], image_id))
            return row if row < self._size and self._ids[row] == image_id else None

    def select(self, rows: int, label: str | None) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """The ids of the first `rows` rows, and which of them to search; None: all.

        Raises InvalidRequestError for a label that no image ever had.
        """
        with self._changing:
            known = min(rows, self._size)
            ids, wanted = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
            ids[:known], wanted[:known] = self._ids[:known], self._here[:known]
            if label is not None:
                if label not in self._numbers:
                    raise InvalidRequestError(f"expected a label of the index, found {label[:80]!r}")
                wanted[:known] &= self._labels[:known] == self._numbers[label]
        return ids, None if wanted.all() else wanted

    def append(self, ids: Sequence[int], labels: Sequence[str | None]) -> None:
        """New images in the next rows."""
        with self._changing:
            end = self._size + len(ids)
            if end > len(self._ids):
                more = 2 * end - len(self._ids)
                self._ids, self._labels = np.pad(self._ids, (0, more)), np.pad(self._labels, (0, more))
                self._here = np.pad(self._here, (0, more))
            self._ids[self._size : end], self._here[self._size : end] = ids, True
            self._labels[self._size : end] = [self._number(label) for label in labels]
            self._size = end

    def set_here(self, image_id: int, here: bool) -> None:
        """An image was removed, or is back."""
        row = self.row_of(image_id)
        if row is not None:
            self._here[row] = here

    def relabel(self, image_id: int, label: str | None) -> None:
        row = self.row_of(image_id)
        if row is not None:
            with self._changing:
                self._labels[row] = self._number(label)

    def _number(self, label: str | None) -> int:
        return NOBODY if label is None else self._numbers.setdefault(label, len(self._numbers))
