"""Verification: rows and entries of an index are compared with their checksums.

All of them are, in a thread, since an index of a million images takes most of a minute; and those that a search has
found, before they are returned. So a damaged row is never returned, but until the thread has come to it, it may be
found where it doesn't belong, and be searched for again, or be missing among the neighbors.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, RowChecksum
from index.features import FeatureFile
from index.row_table import RowTable
from model.exceptions import AlexNetError

logger = logging.getLogger(__name__)


class BackgroundCheck:
    """Runs `check` in a thread, which can be stopped: it is given the function that says whether it is.

    What it raises is in the log.
    """

    def __init__(self, check: Callable[[Callable[[], bool]], None]) -> None:
        self._check = check
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start, again if it ran before."""
        self.stop()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="verify index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until it has."""
        self._stopping.set()
        self.wait()

    def wait(self) -> None:
        """Wait until everything is checked."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._check(self._stopping.is_set)
        except (AlexNetError, OSError) as error:
            logger.error("not all images of the index could be compared with their checksums: %s", error)


def find_damaged(
    catalog: Catalog, features: FeatureFile, rows: RowTable, is_stopped: Callable[[], bool] = lambda: False
) -> dict[int, str]:
    """Compare all entries and rows with their checksums. Returns image id -> what is wrong."""
    damaged: dict[int, str] = {}
    for page in catalog.iter_row_checksums():
        if is_stopped():
            break
        damaged |= compare(page, features, rows)
    return damaged


def find_damaged_among(
    ids: NDArray[np.int64], catalog: Catalog, features: FeatureFile, rows: RowTable
) -> dict[int, str]:
    """Compare those of these images that aren't verified yet. Returns image id -> what is wrong."""
    unverified = rows.unverified(ids)
    return compare(catalog.row_checksums(unverified.tolist()), features, rows) if len(unverified) else {}


def compare(images: Iterable[RowChecksum], features: FeatureFile, rows: RowTable) -> dict[int, str]:
    """Compare images with their checksums; images that `rows` doesn't know were added since, by another process."""
    damaged, intact = {}, []
    images = list(images)
    for image, row in zip(images, rows.rows_of(np.array([image.id for image in images], np.int64)), strict=True):
        if not image.intact:
            fault: str | None = "its entry in the catalog has another checksum"
        else:
            fault = None if row < 0 else features.row_fault(int(row), image.checksum)
        if fault is not None:
            damaged[image.id] = fault
        elif row >= 0:
            intact.append(row)
    rows.set_verified(np.array(intact, np.int64))
    return damaged
