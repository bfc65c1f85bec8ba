"""RowTable: image id, label and state of each row of features, in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from index.catalog import RowRecord
from index.scanners import Mask
from model.exceptions import InvalidRequestError

NO_LABEL = -1
MIN_CAPACITY = 1024


class RowTable:
    """Row -> image id, label, and whether it is active (neither removed nor damaged).

    Ids grow with rows. One thread changes the table, any may read it.
    """

    def __init__(self, records: Sequence[RowRecord], damaged: Collection[int]) -> None:
        self._lock = threading.Lock()
        self._label_numbers: dict[str, int] = {}
        self._size = len(records)
        self._ids = np.zeros(max(self._size, MIN_CAPACITY), np.int64)
        self._labels = np.full(len(self._ids), NO_LABEL, np.int32)
        self._active = np.zeros(len(self._ids), np.bool_)
        last_id = 0
        for record in records:
            last_id = record.id if record.intact else last_id  # a damaged id must not disturb their order
            self._ids[record.row], self._labels[record.row] = last_id, self._label_number(record.label)
            self._active[record.row] = record.intact and not record.removed and record.id not in damaged

    @property
    def num_active(self) -> int:
        """Images that a search can find."""
        return int(np.count_nonzero(self._active[: self._size]))

    def label_counts(self) -> dict[str, int]:
        """Active images per label; labels without any are left out."""
        with self._lock:
            labels, active = self._labels[: self._size], self._active[: self._size]
            counts = np.bincount(labels[active & (labels >= 0)], minlength=len(self._label_numbers))
            return {label: int(counts[number]) for label, number in self._label_numbers.items() if counts[number]}

    def row_of(self, image_id: int) -> int | None:
        """Row of an image, removed or not; None for an unknown id."""
        with self._lock:
            row = int(np.searchsorted(self._ids[: self._size], image_id))
            return row if row < self._size and self._ids[row] == image_id else None

    def ids_from(self, row: int) -> list[int]:
        """The ids of this row and all behind it."""
        with self._lock:
            return [int(image_id) for image_id in self._ids[row : self._size]]

    def select(self, num_rows: int, label: str | None) -> tuple[NDArray[np.int64], Mask | None]:
        """The ids of the first `num_rows` rows, and which of them to search; None: all.

        Raises InvalidRequestError for a label that no image ever had.
        """
        with self._lock:
            known = min(num_rows, self._size)
            ids, mask = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.bool_)
            ids[:known], mask[:known] = self._ids[:known], self._active[:known]
            if label is not None:
                if label not in self._label_numbers:
                    raise unknown_label_error(label)
                mask[:known] &= self._labels[:known] == self._label_numbers[label]
        return ids, None if mask.all() else mask

    def append(self, ids: Sequence[int], labels: Sequence[str | None]) -> None:
        """Add new images in the next rows."""
        with self._lock:
            end = self._size + len(ids)
            if end > len(self._ids):
                growth = (0, 2 * end - len(self._ids))
                self._ids, self._labels = np.pad(self._ids, growth), np.pad(self._labels, growth)
                self._active = np.pad(self._active, growth)
            self._ids[self._size : end], self._active[self._size : end] = ids, True
            self._labels[self._size : end] = [self._label_number(label) for label in labels]
            self._size = end

    def set_active(self, image_id: int, active: bool) -> None:
        row = self.row_of(image_id)
        if row is not None:
            self._active[row] = active

    def set_label(self, image_id: int, label: str | None) -> None:
        row = self.row_of(image_id)
        if row is not None:
            with self._lock:
                self._labels[row] = self._label_number(label)

    def _label_number(self, label: str | None) -> int:
        return NO_LABEL if label is None else self._label_numbers.setdefault(label, len(self._label_numbers))


def unknown_label_error(label: str) -> InvalidRequestError:
    return InvalidRequestError(f"no image of the index has the label {label[:80]!r}: check its spelling")
