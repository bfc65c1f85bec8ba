"""SearchState: what searches of an index in a folder read, which changes and checks of the index replace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from index.scanning.scanners import FeatureMatrix
from index.search import Snapshot

logger = logging.getLogger(__name__)


class SearchState:
    """The current snapshot of the index at `path`, and its damaged images: id -> fault. For any thread.

    Only a thread that holds the index's write lock may replace the snapshot.
    """

    def __init__(self, snapshot: Snapshot, path: Path) -> None:
        self.snapshot, self._path = snapshot, path
        self.damaged: Mapping[int, str] = {}
        self._swap_lock = threading.Lock()
        """Held while a search takes its snapshot and matrix, and while a compaction or a repair replaces them."""
        self._damage_lock = threading.Lock()
        """Held while `damaged` is extended."""

    def take(self) -> tuple[Snapshot, FeatureMatrix]:
        """The current snapshot, and its rows as a matrix, which doesn't grow."""
        with self._swap_lock:
            snapshot = self.snapshot
            count, matrix = snapshot.features.count, snapshot.features.matrix()
        if len(matrix) < count:
            self.exclude(dict.fromkeys(snapshot.rows.ids_from(len(matrix)), "its row was cut off"))
        return snapshot, matrix

    def swap(self, snapshot: Snapshot) -> None:
        """Replace the snapshot by one with another row table, in which no images are known to be damaged.

        Closes the file of features unless the new snapshot has the same.
        """
        with self._swap_lock:  # searches wait for it
            before, self.snapshot, self.damaged = self.snapshot, snapshot, {}
            if before.features is not snapshot.features:
                before.features.close()

    def exclude(self, faults: Mapping[int, str]) -> None:
        """Exclude damaged images from searches, and log them once."""
        with self._damage_lock:
            new = {image_id: fault for image_id, fault in faults.items() if image_id not in self.damaged}
            if not new:
                return
            self.damaged = {**self.damaged, **new}
            for image_id in new:
                self.snapshot.rows.set_active(image_id, False)
        image_id, fault = next(iter(new.items()))
        logger.error(
            "%d images of the index at %s are damaged, such as %d (%s): they are left out of searches; delete them "
            "with `alexnet index compact`, and add their files again",
            len(new), self._path, image_id, fault,
        )  # fmt: skip
