"""RowTable: image id, label and state of each row of features, in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.catalog.rows import LabelGroup, RowRecord
from index.entries import unknown_label_error
from index.scanning.scanners import Mask

NO_LABEL = -1
MIN_CAPACITY = 1024


class RowTable:
    """The image id, label and state of each row.

    A row is active if its image is neither removed nor damaged, and verified if its feature has been compared with its
    checksum. Ids increase with rows. Only one thread may add images and labels; any may read the table, or call
    `set_active` or `set_verified`.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        active: Mask,
        labels: NDArray[np.int32] | None = None,
        label_numbers: dict[str, int] | None = None,
    ) -> None:
        """A table of images by row, none of them verified. `labels`: numbers in `label_numbers`, or `NO_LABEL`."""
        self._lock = threading.Lock()
        self._label_numbers = {} if label_numbers is None else label_numbers
        self._size = len(ids)
        growth = (0, max(MIN_CAPACITY - self._size, 0))
        self._ids, self._active = np.pad(ids, growth), np.pad(active, growth)
        self._labels = np.full(len(self._ids), NO_LABEL, np.int32)
        if labels is not None:
            self._labels[: self._size] = labels
        self._verified = np.zeros(len(self._ids), np.bool_)

    @classmethod
    def from_groups(cls, groups: Sequence[LabelGroup]) -> RowTable:
        """A table of all images of a catalog."""
        if not groups:
            return cls(np.empty(0, np.int64), np.empty(0, np.bool_))
        ids = np.concatenate([group.ids for group in groups])
        order = np.argsort(ids)
        active = np.concatenate([group.removed == 0 for group in groups])
        names = [group.label for group in groups if group.label is not None]
        numbers = {name: number for number, name in enumerate(names)}
        labels = np.repeat(
            np.array([NO_LABEL if group.label is None else numbers[group.label] for group in groups], np.int32),
            [len(group.ids) for group in groups],
        )
        return cls(ids[order], active[order], labels[order], numbers)

    @classmethod
    def from_records(cls, records: Sequence[RowRecord]) -> RowTable:
        """A table of all images of a catalog, without relying on its SQL indexes."""
        ids, last_id, numbers = np.empty(len(records), np.int64), 0, dict[str, int]()
        labels = np.full(len(records), NO_LABEL, np.int32)
        for record in records:
            last_id = record.id if record.intact else last_id  # a damaged id must not disturb their order
            ids[record.row] = last_id
            if record.label is not None:
                labels[record.row] = numbers.setdefault(record.label, len(numbers))
        active = np.array([record.intact and not record.removed for record in records], np.bool_)
        return cls(ids, active, labels, numbers)

    def __len__(self) -> int:
        return self._size

    @property
    def num_active(self) -> int:
        """Number of images that a search can find."""
        return int(np.count_nonzero(self._active[: self._size]))

    def label_counts(self) -> dict[str, int]:
        """Number of active images per label; labels without any are left out."""
        with self._lock:
            labels, active = self._labels[: self._size], self._active[: self._size]
            counts = np.bincount(labels[active & (labels >= 0)], minlength=len(self._label_numbers))
            return {label: int(counts[number]) for label, number in self._label_numbers.items() if counts[number]}

    @property
    def num_unverified(self) -> int:
        """Number of active rows that haven't been compared with their checksums yet."""
        return int(np.count_nonzero(self._active[: self._size] & ~self._verified[: self._size]))

    def unverified(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `ids` whose rows haven't been compared with their checksums yet. All ids must be known."""
        return ids[~self._verified[self.rows_of(ids)]]

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) rows of images, removed or not; -1 for unknown ids."""
        with self._lock:
            known = self._ids[: self._size]
            rows = np.minimum(np.searchsorted(known, ids), max(self._size - 1, 0))
            return np.where(known[rows] == ids, rows, -1) if self._size else np.full(len(ids), -1)

    def set_verified(self, rows: NDArray[np.int64]) -> None:
        with self._lock:
            self._verified[rows] = True

    def forget_verified(self) -> None:
        """Mark all rows as not verified, so that they are compared with their checksums again."""
        self._verified[:] = False

    def row_of(self, image_id: int) -> int | None:
        """Row of an image, removed or not; None for an unknown id."""
        (row,) = self.rows_of(np.array([image_id], np.int64))
        return None if row < 0 else int(row)

    def ids_from(self, row: int) -> list[int]:
        """The ids of this row and all rows after it."""
        with self._lock:
            return [int(image_id) for image_id in self._ids[row : self._size]]

    def select(self, num_rows: int, label: str | None) -> tuple[NDArray[np.int64], Mask | None]:
        """The ids of the first `num_rows` rows, and a mask of the rows to search (None: all).

        Raises InvalidRequestError if no image, removed or not, has the label.
        """
        with self._lock:
            known = min(num_rows, self._size)
            ids, mask = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.bool_)
            ids[:known], mask[:known] = self._ids[:known], self._active[:known]
            if label is not None:
                number = self._label_numbers.get(label)
                has_label = self._labels[:known] == number
                if number is None or not has_label.any():
                    raise unknown_label_error(label)
                mask[:known] &= has_label
        return ids, None if mask.all() else mask

    def append(self, ids: Sequence[int], labels: Sequence[str | None]) -> None:
        """Add new images in the next rows."""
        with self._lock:
            end = self._size + len(ids)
            if end > len(self._ids):
                growth = (0, 2 * end - len(self._ids))
                self._ids, self._labels = np.pad(self._ids, growth), np.pad(self._labels, growth)
                self._active, self._verified = np.pad(self._active, growth), np.pad(self._verified, growth)
            self._ids[self._size : end] = ids
            self._active[self._size : end] = self._verified[self._size : end] = True
            self._labels[self._size : end] = [self._label_number(label) for label in labels]
            self._size = end

    def set_active(self, image_id: int, active: bool) -> None:
        row = self.row_of(image_id)
        if row is not None:
            with self._lock:
                self._active[row] = active

    def set_label(self, image_id: int, label: str | None) -> None:
        row = self.row_of(image_id)
        if row is not None:
            with self._lock:
                self._labels[row] = self._label_number(label)

    def _label_number(self, label: str | None) -> int:
        return NO_LABEL if label is None else self._label_numbers.setdefault(label, len(self._label_numbers))
