"""Verification: compares the rows and entries of an index with their checksums.

A thread compares all of them, which takes most of a minute for a million images. A search compares the rows it finds
before it returns them, so a damaged row is never returned. Until the thread has reached a damaged row, a search may
find the row in the wrong place and have to be repeated, or may miss it among the neighbors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.catalog.file import CatalogFile
from index.catalog.schema import CHECKED_COLUMNS, SELECT_IMAGES, THUMBNAIL, is_intact
from index.entries import PAGE_SIZE, thumbnail_fault
from index.features import FeatureFile
from index.row_table import RowTable
from model.exceptions import AlexNetError

logger = logging.getLogger(__name__)


class BackgroundCheck:
    """Runs `check` in a thread, and passes it a function that returns whether to stop.

    Exceptions of `check` are logged.
    """

    def __init__(self, check: Callable[[Callable[[], bool]], None]) -> None:
        self._check = check
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the check; stop a running one first."""
        self.stop()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="verify index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the check, and wait until it has ended."""
        self._stopping.set()
        self.wait()

    def wait(self) -> None:
        """Wait until the check has ended."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._check(self._stopping.is_set)
        except (AlexNetError, OSError) as error:
            logger.error("not all images of the index could be compared with their checksums: %s", error)


class RowChecksum(NamedTuple):
    """CRC-32 of an image's row of features. `intact`: whether the catalog entry also matches its stored checksum."""

    id: int
    checksum: int
    intact: bool


def find_damaged(
    catalog: CatalogFile, features: FeatureFile, rows: RowTable, is_stopped: Callable[[], bool]
) -> dict[int, str]:
    """Compare all entries and rows with their checksums. Returns image id -> what is wrong."""
    damaged: dict[int, str] = {}
    for page in _iter_row_checksums(catalog):
        if is_stopped():
            break
        damaged |= compare(page, features, rows)
    return damaged


def find_damaged_among(
    ids: NDArray[np.int64], catalog: CatalogFile, features: FeatureFile, rows: RowTable
) -> dict[int, str]:
    """Compare those of `ids` that aren't verified yet with their checksums. Returns image id -> what is wrong.

    All of them are compared if another program has changed the file: it may have overwritten verified rows.
    """
    suspect = (ids if features.changed_outside else rows.unverified(ids)).tolist()
    records = catalog.query_in(f"{SELECT_IMAGES} WHERE id", suspect)
    return compare(_to_row_checksums(records), features, rows) if suspect else {}


def find_damaged_thumbnails(catalog: CatalogFile) -> dict[int, str]:
    """Compare all thumbnails with their checksums. Returns image id -> what is wrong. Doesn't block other reads."""
    with catalog.checking() as database:
        rows = database.execute(f"SELECT id, thumbnail_checksum, {THUMBNAIL} FROM images ORDER BY id")
        return {
            image_id: fault
            for image_id, checksum, thumbnail in rows
            if (fault := thumbnail_fault(thumbnail, checksum)) is not None
        }


def compare(images: Sequence[RowChecksum], features: FeatureFile, rows: RowTable) -> dict[int, str]:
    """Compare images with their checksums. Returns image id -> what is wrong.

    Images that `rows` doesn't know were added by another process since the index was opened; only their entries are
    compared.
    """
    damaged, intact = {}, []
    for image, row in zip(images, rows.rows_of(np.array([image.id for image in images], np.int64)), strict=True):
        if not image.intact:
            fault: str | None = "its entry in the catalog doesn't match its checksum"
        else:
            fault = None if row < 0 else features.row_fault(int(row), image.checksum)
        if fault is not None:
            damaged[image.id] = fault
        elif row >= 0:
            intact.append(row)
    rows.set_verified(np.array(intact, np.int64))
    return damaged


def _iter_row_checksums(catalog: CatalogFile) -> Iterator[list[RowChecksum]]:
    """All images by id, including removed ones, page by page. Doesn't block other reads."""
    with catalog.checking() as database, closing(database.cursor()) as cursor:
        cursor.execute(f"{SELECT_IMAGES} NOT INDEXED ORDER BY id")
        while page := cursor.fetchmany(PAGE_SIZE):
            yield _to_row_checksums(page)


def _to_row_checksums(records: Iterable[Sequence[Any]]) -> list[RowChecksum]:
    """The checksums in records of `SELECT_IMAGES`."""
    column = CHECKED_COLUMNS.index("checksum")
    return [RowChecksum(record[0], record[column], is_intact(record)) for record in records]
