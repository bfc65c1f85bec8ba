"""PictureIndex: a folder that holds pictures' features, labels and thumbnails, and finds the nearest.

    INDEX/
      catalog.sqlite   which pictures there are, and the network and views that made their features
      features.f32     one float32 row a picture
      lock             held by the process that adds

An added picture is durable when `add` returns: its row is fsynced, then the catalogue commits.
"""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, Entry, NewEntry
from index.features import FeatureRows, nearest
from model.artifact import Artifact
from model.errors import IndexStoreError, InvalidRequestError, UnknownPictureError
from model.views import CENTRE

CATALOG, FEATURES, LOCK = "catalog.sqlite", "features.f32", "lock"
FORMAT = "1"
MAX_NEIGHBOURS = 1000


@dataclass(frozen=True)
class Neighbour:
    """A picture and its Euclidean distance from the query."""

    entry: Entry
    distance: float


class PictureIndex:
    """An index on disk. Reading is safe from any thread; adding belongs to one process at a time."""

    def __init__(self, path: Path, writable: bool) -> None:
        self.path = path
        with ExitStack() as opened:
            self._lock = opened.enter_context(_lock(path)) if writable else None
            self.catalog = opened.enter_context(closing(Catalog(path / CATALOG, writable)))
            settings = self.catalog.settings()
            if settings.get("format") != FORMAT:
                raise IndexStoreError(f"expected an index of format {FORMAT} at {path}, found {settings.get('format')}")
            try:
                self.network_sha256 = settings["network_sha256"]
                self.views = tuple(int(view) for view in settings["views"].split(","))
                dim = int(settings["feature_dim"])
            except (KeyError, ValueError) as error:
                raise IndexStoreError(f"expected the settings of an index at {path}, found them damaged") from error
            self.rows = FeatureRows(path / FEATURES, dim, self.catalog.count())
            self._opened = opened.pop_all()

    @classmethod
    def open(cls, path: Path) -> PictureIndex:
        """For reading. Raises IndexStoreError."""
        if not (path / CATALOG).is_file():
            raise IndexStoreError(f"expected an index at {path}, found none: build one with `alexnet index`")
        return cls(path, writable=False)

    @classmethod
    def create(cls, path: Path, artifact: Artifact, views: Sequence[int] = CENTRE) -> PictureIndex:
        """For adding: a new index for the features of `artifact`, or the one at `path` if it is of the same network."""
        path.mkdir(parents=True, exist_ok=True)
        with _lock(path), closing(Catalog(path / CATALOG)) as catalog:
            if not catalog.settings():
                catalog.set_settings(
                    {
                        "format": FORMAT,
                        "network_sha256": artifact.network_sha256,
                        "feature_dim": str(artifact.manifest.feature_dim),
                        "views": ",".join(str(view) for view in views),
                    }
                )
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

        if self.rows.dim != artifact.manifest.feature_dim:
            raise IndexStoreError(
                f"expected features of {artifact.manifest.feature_dim} numbers, found {self.rows.dim} at {self.path}"
            )

    def __len__(self) -> int:
        return self.rows.count

    def close(self) -> None:
        self._opened.close()

    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> None:
        """Add pictures with their (N, dim) features; durable when this returns."""
        if self._lock is None:
            raise IndexStoreError(f"expected an index opened for adding, found {self.path} opened for reading")
        if features.shape != (len(entries), self.rows.dim) or not np.isfinite(features).all():
            raise IndexStoreError(
                f"expected finite features of shape {(len(entries), self.rows.dim)}, found {features.shape}"
            )
        self.rows.append(features)
        self.catalog.add(self.rows.count + 1, entries)
        self.rows.commit(len(entries))

    def search(self, feature: NDArray[np.float32], k: int) -> list[Neighbour]:
        """The k nearest pictures of a (dim,) feature, nearest first, ties by id. Raises InvalidRequestError."""
        if feature.shape != (self.rows.dim,) or not np.isfinite(feature).all():
            raise InvalidRequestError(f"expected a finite feature of {self.rows.dim} numbers, found {feature.shape}")
        if not 1 <= k <= MAX_NEIGHBOURS:
            raise InvalidRequestError(f"expected k from 1 to {MAX_NEIGHBOURS}, found {k}")
        numbers, distances = nearest(self.rows.view(), feature, k)
        if not len(numbers):
            return []
        entries = self.catalog.get_many([int(number) + 1 for number in numbers])
        return [Neighbour(entry, float(distance)) for entry, distance in zip(entries, distances, strict=True)]

    def feature(self, picture_id: int) -> NDArray[np.float32]:
        """The stored (dim,) feature of a picture. Raises UnknownPictureError."""
        self.entry(picture_id)
        return np.array(self.rows.view()[picture_id - 1])

    def entry(self, picture_id: int) -> Entry:
        """What the catalogue says of a picture that was there when the index was opened. Raises UnknownPictureError."""
        if picture_id > self.rows.count:
            raise UnknownPictureError(f"expected the id of an indexed picture, found {picture_id}")
        return self.catalog.get(picture_id)


def _lock(path: Path) -> IO[bytes]:
    """Hold the index for adding, until closed or the process ends. Raises IndexStoreError."""
    file = (path / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise IndexStoreError(f"expected to be alone in adding to {path}, found another process that does") from None
    return file
