"""RowTable: what changes while others read it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from index.row_table import MIN_CAPACITY, RowTable


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
