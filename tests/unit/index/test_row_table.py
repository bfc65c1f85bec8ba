"""RowTable: what a catalog holds, row by row, and what changes while others read it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from index.catalog.rows import LabelGroup, RowRecord
from index.row_table import MIN_CAPACITY, RowTable
from model.exceptions import InvalidRequestError


def make_table() -> RowTable:
    """The images 1 to 4: without a label, and with the labels a, b and a, of which the last is removed."""
    return RowTable.from_groups(
        [LabelGroup.parse(None, "1", "0"), LabelGroup.parse("a", "2,4", "0,1"), LabelGroup.parse("b", "3", "0")]
    )


def test_images_by_label_become_rows_by_id() -> None:
    table = make_table()
    masks = []
    for label in (None, "a", "b"):
        ids, mask = table.select(4, label)
        assert ids.tolist() == [1, 2, 3, 4]
        assert mask is not None
        masks.append(mask.tolist())
    assert masks == [[True, True, True, False], [False, True, False, False], [False, False, True, False]]
    assert table.label_counts() == {"a": 1, "b": 1}


def test_a_label_that_no_image_has_any_longer_is_unknown() -> None:
    table = make_table()
    table.set_label(3, "a")
    with pytest.raises(InvalidRequestError, match="no image in the index has the label 'b'"):
        table.select(4, "b")


def test_an_entry_with_a_damaged_id_hides_no_other_image() -> None:
    records = [RowRecord(1, 0, None, False), RowRecord(99, 1, None, False, intact=False), RowRecord(3, 2, None, False)]
    table = RowTable.from_records(records)
    assert table.rows_of(np.array([1, 3])).tolist() == [0, 2]
    assert table.num_active == 2


def test_an_image_found_damaged_while_others_are_added_stays_inactive(monkeypatch: pytest.MonkeyPatch) -> None:
    table = RowTable(np.arange(1, MIN_CAPACITY + 1), np.ones(MIN_CAPACITY, np.bool_))
    row_of, pad = RowTable.row_of, np.pad
    row_found, copied = threading.Event(), threading.Event()

    def find_row(table: RowTable, image_id: int) -> int | None:
        row = row_of(table, image_id)
        row_found.set()
        copied.wait(10)
        return row

    def pad_with_a_search(array: Any, growth: Any) -> Any:
        padded = pad(array, growth)
        if array.dtype == np.bool_:  # the copy is made, but isn't in its place yet
            copied.set()
            search.join(0.2)
        return padded

    monkeypatch.setattr(RowTable, "row_of", find_row)
    monkeypatch.setattr("index.row_table.np.pad", pad_with_a_search)
    search = threading.Thread(target=table.set_active, args=(7, False))
    search.start()
    assert row_found.wait(10)
    table.append([MIN_CAPACITY + 1], [None])
    search.join()
    assert table.num_active == MIN_CAPACITY


def test_rows_verified_while_others_are_added_stay_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    table = RowTable(np.arange(1, MIN_CAPACITY + 1), np.ones(MIN_CAPACITY, np.bool_))
    check = threading.Thread(target=table.set_verified, args=(np.arange(MIN_CAPACITY),))
    pad = np.pad

    def pad_during_a_check(array: Any, growth: Any) -> Any:
        padded = pad(array, growth)
        if array.dtype == np.bool_ and not array.any():  # verified rows: the copy isn't in its place yet
            check.start()
            check.join(0.2)
        return padded

    monkeypatch.setattr("index.row_table.np.pad", pad_during_a_check)
    table.append([MIN_CAPACITY + 1], [None])
    check.join()
    assert table.num_unverified == 0
