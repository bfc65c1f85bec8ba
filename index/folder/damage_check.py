"""DamageCheck: finds the damaged images of an index in a folder when it opens, and when it is verified."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from index.catalog.catalog import Catalog
from index.catalog.rows import read_rows
from index.catalog.schema import LABEL_INDEX
from index.folder.search_state import SearchState
from index.folder.verification import BackgroundCheck, find_damaged, find_damaged_thumbnails
from index.row_table import RowTable

MAX_ROWS_VERIFIED_AT_ONCE = 4096
"""An index of at most this many rows is compared with its checksums before it opens (a few tenths of a second), a
larger one in the background."""
LOCK_POLL_SECONDS = 0.1


class DamageCheck:
    """Compares everything in an index with its checksums, and excludes damaged images from searches.

    `write_lock`: held by a thread that changes the index.
    """

    def __init__(self, catalog: Catalog, state: SearchState, write_lock: threading.RLock) -> None:
        self._catalog, self._state, self._write_lock = catalog, state, write_lock
        self._background = BackgroundCheck(self.run)

    def start(self) -> None:
        """Compare all entries and rows: now if the index is small, else in the background."""
        self._state.snapshot.features.accept_changes()
        if len(self._state.snapshot.rows) <= MAX_ROWS_VERIFIED_AT_ONCE:
            self.run()
        else:
            self._background.start()

    @property
    def is_running(self) -> bool:
        """Whether a check runs in the background."""
        return self._background.is_running

    def wait(self) -> None:
        """Wait until the check in the background has ended."""
        self._background.wait()

    def stop(self) -> None:
        """Stop the check in the background, and wait until it has ended."""
        self._background.stop()

    def run(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Compare all entries and rows with their checksums.

        First, the catalog's SQL indexes are compared with its table. The row table was read from one of them, and is
        read again if that one was wrong.
        """
        rebuilt = self._catalog.repair_sql_indexes(is_stopped)
        if LABEL_INDEX in rebuilt and not self.reload_rows(is_stopped):
            return
        snapshot = self._state.snapshot
        damaged = find_damaged(self._catalog, snapshot.features, snapshot.rows, is_stopped)
        if self._state.snapshot.rows is snapshot.rows:  # else the index was compacted meanwhile
            self._state.exclude(damaged)

    def run_on_thumbnails(self) -> None:
        """Compare all thumbnails with their checksums."""
        self._state.exclude(find_damaged_thumbnails(self._catalog))

    def reload_rows(self, is_stopped: Callable[[], bool] = lambda: False) -> bool:
        """Read the row table from the catalog's table instead of its SQL index. Returns False if it was stopped."""
        while not self._write_lock.acquire(timeout=LOCK_POLL_SECONDS):  # the holder may wait for this thread to stop
            if is_stopped():
                return False
        try:
            self._state.swap(replace(self._state.snapshot, rows=RowTable.from_records(read_rows(self._catalog))))
        finally:
            self._write_lock.release()
        return True
