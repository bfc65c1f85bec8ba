"""PictureIndex: a folder that holds pictures' features, labels and thumbnails, and finds the nearest.

    INDEX/
      catalog.sqlite    which pictures there are, and the network and views that made their features
      features-1.f32    one float32 row a picture; the number grows when the index is compacted
      lock              held by the process that changes it

What `add`, `remove` and the others changed is durable when they return: rows are fsynced before the catalogue commits.
Searching never waits for them, and sees a picture when its addition has returned.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, Entry, NewEntry
from index.features import FeatureRows, checksums, nearest
from index.lock import lock
from index.membership import Membership
from model.artifact import Artifact
from model.errors import IndexStoreError, InvalidRequestError, ReadOnlyIndexError, UnknownPictureError
from model.runtime import available_cpus
from model.views import CENTRE

CATALOG = "catalog.sqlite"
FORMAT = "2"
MAX_NEIGHBOURS = 1000

Rows = NDArray[np.float32]
Status = Literal["added", "exists", "restored"]


@dataclass(frozen=True)
class Neighbour:
    """A picture and its Euclidean distance from the query."""

    entry: Entry
    distance: float


@dataclass(frozen=True)
class Added:
    """What became of a picture that was to be added: the same bytes have the same id."""

    id: int
    status: Status


class PictureIndex:
    """An index on disk. All methods may be called from any thread; one process at a time may change an index.

    `damaged`: pictures whose rows are cut off or don't have their checksum; they aren't found, the others are.
    """

    def __init__(self, path: Path, writable: bool) -> None:
        self.path, self._writing, self._swapping = path, threading.Lock(), threading.Lock()
        with ExitStack() as opened:
            self._lock = opened.enter_context(lock(path)) if writable else None
            self.catalog = opened.enter_context(closing(Catalog(path / CATALOG, writable)))
            settings = self.catalog.settings()
            if settings.get("format") != FORMAT:
                raise IndexStoreError(f"expected an index of format {FORMAT} at {path}, found {settings.get('format')}")
            try:
                self.network_sha256 = settings["network_sha256"]
                self.views = tuple(int(view) for view in settings["views"].split(","))
                dim, self._number = int(settings["feature_dim"]), int(settings["features"])
            except (KeyError, ValueError) as error:
                raise IndexStoreError(f"expected the settings of an index at {path}, found them damaged") from error
            lines = self.catalog.lines()
            rows = FeatureRows(path / f"features-{self._number}.f32", dim, len(lines))
            self.dim, self.damaged = dim, rows.damaged(lines)
            self._now = rows, Membership(lines, self.damaged)  # together, for compacting replaces both
            self._threads = opened.enter_context(ThreadPoolExecutor(available_cpus(), thread_name_prefix="nearest"))
            self._opened = opened.pop_all()

    @classmethod
    def open(cls, path: Path) -> PictureIndex:
        """For reading. Raises IndexStoreError."""
        if not (path / CATALOG).is_file():
            raise IndexStoreError(f"expected an index at {path}, found none: build one with `alexnet index`")
        return cls(path, writable=False)

    @classmethod
    def create(cls, path: Path, artifact: Artifact, views: Sequence[int] = CENTRE) -> PictureIndex:
        """For changing: a new index for the features of `artifact`, or the one at `path` of the same network."""
        path.mkdir(parents=True, exist_ok=True)
        with lock(path), closing(Catalog(path / CATALOG)) as catalog:
            if not catalog.settings():
                views_and_dim = {"views": ",".join(map(str, views)), "feature_dim": str(artifact.manifest.feature_dim)}
                made_by = {"network_sha256": artifact.network_sha256}
                catalog.set_settings({"format": FORMAT, "features": "1"} | made_by | views_and_dim)
        index = cls(path, writable=True)
        try:
            index.require(artifact)
        except IndexStoreError:
            index.close()
            raise
        return index

    def require(self, artifact: Artifact) -> None:
        """Raise IndexStoreError unless the features here are those of this network."""
        if self.network_sha256 != artifact.network_sha256:
            raise IndexStoreError(
                f"expected an index made by {artifact.manifest.name} version {artifact.manifest.version}, found one at "
                f"{self.path} made by another network: their distances mean nothing to each other; build another index"
            )
        if self.dim != artifact.manifest.feature_dim:
            raise IndexStoreError(
                f"expected features of {artifact.manifest.feature_dim} numbers, found {self.dim} at {self.path}"
            )

    def __len__(self) -> int:
        return self._now[1].count

    def labels(self) -> dict[str, int]:
        """How many pictures each label has."""
        return self._now[1].labels()

    @property
    def writable(self) -> bool:
        return self._lock is not None

    def close(self) -> None:
        self._opened.close()
        self._now[0].close()

    def add(self, features: Rows, entries: Sequence[NewEntry]) -> list[Added]:
        """Add pictures with their (N, dim) features; durable when this returns. One that was removed is there again.

        Raises InvalidRequestError, StorageFullError, or IndexStoreError when the index is open for reading.
        """
        self._require_writable()
        if features.shape != (len(entries), self.dim) or not np.isfinite(features).all():
            raise InvalidRequestError(
                f"expected finite features of shape {(len(entries), self.dim)}, found {features.shape}"
            )
        with self._writing:
            known = self.catalog.known([entry.sha256 for entry in entries])
            fresh = {e.sha256: n for n, e in reversed(list(enumerate(entries))) if e.sha256 not in known}
            places = sorted(fresh.values())
            ids = dict(zip(places, self._append(features[places], [entries[n] for n in places]), strict=True))
            back = sorted({number for number, removed in known.values() if removed})
            self._set_removed(back, False)
        return [
            Added(ids[fresh[e.sha256]], "added" if fresh[e.sha256] == place else "exists")
            if e.sha256 in fresh
            else Added(known[e.sha256][0], "restored" if known[e.sha256][1] else "exists")
            for place, e in enumerate(entries)
        ]

    def _append(self, features: Rows, entries: Sequence[NewEntry]) -> list[int]:
        if not entries:
            return []
        self.catalog.require_new_keys([entry.key for entry in entries if entry.key is not None])
        rows, members = self._now
        rows.append(features)
        ids = self.catalog.add(rows.count, checksums(features), entries)
        rows.commit(len(entries))
        members.append(ids, [entry.label for entry in entries])
        return ids

    def remove(self, picture_id: int) -> None:
        """Take a picture out; `restore` brings it back until the index is compacted. Raises UnknownPictureError."""
        self._require_writable()
        with self._writing:
            self.entry(picture_id)
            self._set_removed([picture_id], True)

    def restore(self, picture_id: int) -> None:
        """The other way. Raises UnknownPictureError."""
        self._require_writable()
        with self._writing:
            if self._now[1].row_of(picture_id) is None:
                raise UnknownPictureError(f"expected the id of a removed picture, found {picture_id}")
            self._set_removed([picture_id], False)

    def relabel(self, picture_id: int, label: str | None) -> None:
        """Raises UnknownPictureError."""
        self._require_writable()
        with self._writing:
            self.entry(picture_id)
            self.catalog.set_label(picture_id, label)
            self._now[1].relabel(picture_id, label)

    def search(
        self, feature: Rows, k: int, *, label: str | None = None, offset: int = 0, max_distance: float | None = None
    ) -> list[Neighbour]:
        """The k nearest pictures of a (dim,) feature behind the first `offset`, nearest first, ties by id.

        `label`: of those with this label only. `max_distance`: none that is further. Raises InvalidRequestError.
        """
        if feature.shape != (self.dim,) or not np.isfinite(feature).all():
            raise InvalidRequestError(f"expected a finite feature of {self.dim} numbers, found {feature.shape}")
        if not 1 <= k <= MAX_NEIGHBOURS or offset < 0:
            raise InvalidRequestError(f"expected k from 1 to {MAX_NEIGHBOURS} and an offset, found {k} and {offset}")
        rows, members = self._look()
        ids, wanted = members.select(len(rows), label)
        found, distances = nearest(rows, feature, offset + k, self._threads, wanted)
        order = np.lexsort((ids[found], distances))[offset:]
        if max_distance is not None:
            order = order[distances[order] <= max_distance]
        near = {int(ids[found[place]]): float(distances[place]) for place in order}
        return [Neighbour(entry, near[entry.id]) for entry in self.catalog.present(list(near))]

    def feature(self, picture_id: int) -> Rows:
        """The stored (dim,) feature of a picture. Raises UnknownPictureError."""
        self.entry(picture_id)
        rows, members = self._look()
        row = members.row_of(picture_id)
        if row is None or picture_id in self.damaged:
            raise UnknownPictureError(f"expected a whole feature of picture {picture_id}, found it damaged")
        return np.array(rows[row])

    def entry(self, picture_id: int) -> Entry:
        """What the catalogue says of a picture. Raises UnknownPictureError."""
        if self._now[1].row_of(picture_id) is None:  # added by another process since this one opened the index
            raise UnknownPictureError(f"expected the id of an indexed picture, found {picture_id}")
        return self.catalog.get(picture_id)

    def compact(self) -> int:
        """Forget removed and damaged pictures for good, and give their room back; how many."""
        self._require_writable()
        with self._writing:
            self._set_removed(list(self.damaged), True)
            lines = self.catalog.lines()
            kept = [line for line in lines if not line.removed]
            before = self._now[0]
            new = before.copied(self.path / f"features-{self._number + 1}.f32", [line.row for line in kept])
            self.catalog.compact([(row, line.id) for row, line in enumerate(kept)], self._number + 1)
            self._number, self.damaged = self._number + 1, {}
            with self._swapping:
                self._now = new, Membership(self.catalog.lines(), ())
                before.close()
            before.path.unlink(missing_ok=True)
        return len(lines) - len(kept)

    def _look(self) -> tuple[Rows, Membership]:
        """What is there now, and stays as it is while it is held."""
        with self._swapping:
            return self._now[0].view(), self._now[1]

    def _set_removed(self, ids: Sequence[int], removed: bool) -> None:
        if ids:
            self.catalog.set_removed(ids, removed)
        for picture_id in ids:
            self._now[1].set_here(picture_id, not removed and picture_id not in self.damaged)

    def _require_writable(self) -> None:
        if self._lock is None:
            raise ReadOnlyIndexError(f"expected an index opened for adding, found {self.path.name} opened for reading")
