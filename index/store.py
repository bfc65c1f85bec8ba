"""ImageIndex: a folder that holds images' features, labels and thumbnails, and finds the nearest.

    INDEX/
      catalog.sqlite    which images there are, and the network and crops that made their features
      features-1.f32    one row an image, float32 or float16; the number grows when the index is compacted
      codes-1-....u8    their binary codes, where the network has an encoder; made again where they are missing
      lock              held by the process that changes it

What `add`, `remove` and the others changed is durable when they return: rows are fsynced before the catalog commits.
Searching never waits for them, and sees an image when its addition has returned.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, Entry, NewEntry
from index.codes import Codes
from index.features import FeatureFile
from index.lock import lock
from index.metadata import Kind, Settings
from index.nearest import Rows, threads
from index.row_table import RowTable
from index.search import Neighbor, Query, Version, answer, neighbors
from index.write_batch import AddResult, PendingAdd, WriteBatch
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import IndexStoreError, InvalidRequestError, ReadOnlyIndexError, UnknownImageError
from model.images.crops import CENTER_CROP

CATALOG = "catalog.sqlite"


class ImageIndex:
    """An index on disk. All methods may be called from any thread; one process at a time may change an index.

    `crops`: those whose mean the features are. `damaged`: images whose rows are cut off or don't have their checksum;
    they aren't found, the others are.
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self.path, self.writable = path, writable
        self._writing, self._swapping = threading.Lock(), threading.Lock()
        with ExitStack() as opened:
            if writable:
                opened.enter_context(lock(path))
            self.catalog = opened.enter_context(closing(Catalog(path / CATALOG, writable)))
            self._settings = Settings.read(self.catalog, path)
            self.dim, self.crops, self._number = self._settings.dim, self._settings.crops, self._settings.features
            lines = self.catalog.lines()
            rows = FeatureFile(self._settings.file(path, self._number), self.dim, len(lines), self._settings.rows)
            self.damaged = rows.damaged(lines)
            self._now = Version(rows, RowTable(lines, self.damaged))
            self._waiting: deque[PendingAdd] = deque()
            self._threads = opened.enter_context(threads())
            self._opened = opened.pop_all()

    @classmethod
    def open(cls, path: Path) -> ImageIndex:
        """For reading. Raises IndexStoreError."""
        if not (path / CATALOG).is_file():
            raise IndexStoreError(f"expected an index at {path}, found none: build one with `alexnet index`")
        return cls(path, writable=False)

    @classmethod
    def create(
        cls, path: Path, artifact: Artifact, crops: Sequence[int] = CENTER_CROP, kind: Kind = "float32"
    ) -> ImageIndex:
        """For changing: a new index for the features of `artifact`, or the one at `path` of the same network.

        `kind`: of the rows of a new one.
        """
        path.mkdir(parents=True, exist_ok=True)
        with lock(path), closing(Catalog(path / CATALOG)) as catalog:
            Settings.begin(catalog, artifact, crops, kind)
            Settings.read(catalog, path).require(artifact, path)
        return cls(path, writable=True)

    def require(self, artifact: Artifact) -> None:
        """Raise IndexStoreError unless the features here are those of this network."""
        self._settings.require(artifact, self.path)

    def __len__(self) -> int:
        return self._now.members.count

    def labels(self) -> dict[str, int]:
        """How many images each label has."""
        return self._now.members.labels()

    @property
    def codes(self) -> Codes | None:
        """Those of all images, while an encoder is in use."""
        return self._now.codes

    def use(self, encoder: Encoder | None) -> None:
        """Keep codes of all images by this encoder, from now on; those that aren't there are made. None: no codes."""
        with self._writing:
            before = self._now.codes
            if encoder is None or before is None or before.encoder.sha256 != encoder.sha256:
                self._now = replace(self._now, codes=None if encoder is None else self._codes(encoder))

    def search_on_gpu(self) -> None:
        """Find candidates on a GPU from now on. Raises DeviceError."""
        self._now.rows.to_gpu()

    def close(self) -> None:
        self._opened.close()
        self._now.rows.close()

    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> list[AddResult]:
        """Add images with their (N, dim) features; durable when this returns. One that was removed is there again.

        Additions that wait for one another are brought to the disk together. Raises InvalidRequestError,
        StorageFullError, or IndexStoreError when the index is open for reading.
        """
        self._require_writable()
        if features.shape != (len(entries), self.dim) or not np.isfinite(features.astype(self._now.rows.type)).all():
            raise InvalidRequestError(
                f"expected finite features of shape {(len(entries), self.dim)}, found {features.shape}"
            )
        addition = PendingAdd(features, entries)
        self._waiting.append(addition)
        with self._writing:
            if not addition.done.done():
                self._add_together([self._waiting.popleft() for _ in range(len(self._waiting))])
        return addition.done.result()

    def _add_together(self, waiting: Sequence[PendingAdd]) -> None:
        """In one commit; where that fails each in its own: what is wrong with one is no matter of the others."""
        together = WriteBatch(self.catalog)
        try:
            for addition in waiting:
                together.take(addition)
            ids = self._append(list(together.fresh.values()))
            self._set_removed(together.removed, False)
        except Exception as error:
            if len(waiting) == 1:
                together.fail(waiting, error)
            for addition in waiting:
                if not addition.done.done():
                    self._add_together([addition])
        else:
            together.finish(ids)

    def _append(self, images: Sequence[tuple[NewEntry, NDArray[np.float32]]]) -> list[int]:
        """New images to the disk, and then to what is searched; their ids."""
        if not images:
            return []
        entries, features = [entry for entry, _ in images], np.stack([feature for _, feature in images])
        rows, members, codes = self._now.rows, self._now.members, self._now.codes
        coded = None if codes is None else codes.encoder.encode(features)
        rows.append(features)
        ids = self.catalog.add(rows.count, rows.checksums(features), entries)  # from here on nothing may fail
        if codes is not None and coded is not None:
            codes.append(coded)
        rows.commit(len(entries))
        members.append(ids, [entry.label for entry in entries])
        return ids

    def remove(self, image_id: int) -> None:
        """Take an image out; `restore` brings it back until the index is compacted. Raises UnknownImageError."""
        self._require_writable()
        with self._writing:
            self.entry(image_id)
            self._set_removed([image_id], True)

    def restore(self, image_id: int) -> None:
        """The other way. Raises UnknownImageError."""
        self._require_writable()
        with self._writing:
            if self._now.members.row_of(image_id) is None:
                raise UnknownImageError(f"expected the id of a removed image, found {image_id}")
            self._set_removed([image_id], False)

    def relabel(self, image_id: int, label: str | None) -> None:
        """Raises UnknownImageError."""
        self._require_writable()
        with self._writing:
            self.entry(image_id)
            self.catalog.set_label(image_id, label)
            self._now.members.relabel(image_id, label)

    def search(self, query: Query) -> list[Neighbor]:
        """The nearest images, nearest first, ties by id. Raises InvalidRequestError."""
        return self.search_many([query])[0]

    def search_many(self, queries: Sequence[Query]) -> list[list[Neighbor]]:
        """The same for several queries, in less time than one by one."""
        return neighbors(self.answers(queries), self.catalog)

    def answers(self, queries: Sequence[Query]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The same as ids and distances alone."""
        for query in queries:
            query.require(self.dim)
        version, rows = self._look()
        return answer(version, rows, queries, self._threads)

    def feature(self, image_id: int) -> NDArray[np.float32]:
        """The stored (dim,) feature of an image. Raises UnknownImageError."""
        self.entry(image_id)
        version, rows = self._look()
        row = version.members.row_of(image_id)
        if row is None or image_id in self.damaged:
            raise UnknownImageError(f"expected a whole feature of image {image_id}, found it damaged")
        return np.array(rows[row], np.float32)

    def entry(self, image_id: int) -> Entry:
        """What the catalog says of an image. Raises UnknownImageError."""
        if self._now.members.row_of(image_id) is None:  # added by another process since this one opened the index
            raise UnknownImageError(f"expected the id of an indexed image, found {image_id}")
        return self.catalog.get(image_id)

    def compact(self) -> int:
        """Forget removed and damaged images for good, and give their room back; how many."""
        self._require_writable()
        with self._writing:
            self._set_removed(list(self.damaged), True)
            lines = self.catalog.lines()
            kept = [line for line in lines if not line.removed]
            before, number = self._now, self._number + 1
            new = before.rows.copied(self._settings.file(self.path, number), [line.row for line in kept])
            self.catalog.compact([(row, line.id) for row, line in enumerate(kept)], number)
            self._number, self.damaged = number, {}
            with self._swapping:
                self._now = Version(new, RowTable(self.catalog.lines(), ()))
                before.rows.close()
            for file in (before.rows.path, *self.path.glob(f"codes-{number - 1}-*")):
                file.unlink(missing_ok=True)
            if before.codes is not None:
                self._now = replace(self._now, codes=self._codes(before.codes.encoder))
        return len(lines) - len(kept)

    def _codes(self, encoder: Encoder) -> Codes:
        if encoder.dim != self.dim:
            raise IndexStoreError(f"expected an encoder of {self.dim} numbers, found one of {encoder.dim}")
        file = self.path / f"codes-{self._number}-{encoder.sha256[:16]}.u8"
        return Codes(encoder, self._now.rows.view(), file if self.writable else None)

    def _look(self) -> tuple[Version, Rows]:
        """What is there now, and stays as it is while it is held."""
        with self._swapping:
            return self._now, self._now.rows.view()

    def _set_removed(self, ids: Sequence[int], removed: bool) -> None:
        if ids:
            self.catalog.set_removed(ids, removed)
        for image_id in ids:
            self._now.members.set_here(image_id, not removed and image_id not in self.damaged)

    def _require_writable(self) -> None:
        if not self.writable:
            raise ReadOnlyIndexError(f"expected an index opened for adding, found {self.path.name} opened for reading")
