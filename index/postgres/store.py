"""PostgresIndex: an index on PostgreSQL with pgvector, which any number of servers can change and search at once.

Every change is a transaction that is durable when its method returns, and a search sees everything that any server
acknowledged before it. Distances are measured in float64 from the stored features, as for an index in a folder.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from index.base import BaseIndex
from index.bulk_change import BulkChange, BulkResult, Selection
from index.cached_count import CachedCount
from index.codes import code_too_long_error
from index.entries import (
    AddResult,
    Entry,
    NewEntry,
    damaged_image_error,
    thumbnail_fault,
    unknown_image_error,
    unknown_label_error,
)
from index.feature_space import FeatureSpace, RowDType
from index.features import feature_checksums
from index.postgres import schema
from index.postgres.address import PostgresAddress
from index.postgres.catalog import PostgresCatalog, new_values
from index.postgres.codes import PostgresCodes, codes_table
from index.postgres.connections import LOCK_SECONDS, Cursor, Database
from index.postgres.search import CandidateSearch, label_exists
from index.postgres.vectors import to_features, to_vectors
from index.search import (
    SEARCHERS,
    NearestIds,
    Query,
    no_codes_error,
    rank_candidates,
    shortlist_size,
)
from index.write_batch import AddQueue, PendingAdd, WriteBatch
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import IndexLockedError

logger = logging.getLogger(__name__)

INSERT_IMAGE = (
    "INSERT INTO images (sha256, key, label, source, format, width, height, author, author_page, page, license, "
    "feature_checksum, thumbnail_checksum, feature, thumbnail) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"
)
READ_ROWS = 500
"""Rows with features that are read at once: a few megabytes."""


class PostgresIndex(BaseIndex):
    """An index in a schema of a database; see `index.protocol.Index`. All methods may be called from any thread."""

    catalog: PostgresCatalog

    def __init__(self, address: PostgresAddress, space: FeatureSpace, writable: bool) -> None:
        super().__init__(str(address), space, writable)
        self._address = address
        self._database = Database(address)
        self.catalog = PostgresCatalog(self._database)
        self._codes: PostgresCodes | None = None
        self._count = CachedCount(self._count_images)
        self._write_lock = threading.RLock()
        """Held during a change, so that changes waiting for another program's change occupy one connection, not all."""
        self._additions = AddQueue(self._write_lock, self._write)
        self.damaged: Mapping[int, str] = {}

    @classmethod
    def open(cls, address: PostgresAddress, writable: bool = False) -> PostgresIndex:
        """Open an existing index; opening it for writing migrates it to the current schema version.

        Raises IndexNotFoundError, IndexStoreError, or ReadOnlyIndexError.
        """
        space = schema.prepare(address, None) if writable else schema.read_space(address)
        return cls(address, space, writable)

    @classmethod
    def create(
        cls, address: PostgresAddress, artifact: Artifact, crops: Sequence[int], dtype: RowDType
    ) -> PostgresIndex:
        """Open an index for writing; create it if there is none. `dtype`: for a new index.

        Raises IndexStoreError if an existing one belongs to another network, or ReadOnlyIndexError.
        """
        space = schema.prepare(address, FeatureSpace.of(artifact, crops, dtype))
        space.check_compatible(artifact, str(address))
        return cls(address, space, writable=True)

    @staticmethod
    def create_empty(address: PostgresAddress, space: FeatureSpace) -> None:
        """Create an index without images, unless there is one. Raises IndexStoreError."""
        schema.prepare(address, space)

    def close(self) -> None:
        self._database.close()

    def __len__(self) -> int:
        return self._count.value()

    def labels(self) -> dict[str, int]:
        """Number of images per label."""
        with self._database.reading() as cursor:
            return dict(
                cursor.execute(
                    "SELECT label, count(*) FROM images WHERE NOT removed AND label IS NOT NULL GROUP BY label"
                ).fetchall()
            )

    def count(self, label: str | None = None) -> int:
        """Number of images with a label; None: all images."""
        if label is None:
            return len(self)
        with self._database.reading() as cursor:
            rows = cursor.execute("SELECT count(*) FROM images WHERE NOT removed AND label = %s", [label]).fetchall()
        return int(rows[0][0])

    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> list[AddResult]:
        """Like `FolderIndex.add`. Raises IndexUnavailableError if the connection is lost: adding again is safe."""
        self.check_writable()
        addition = PendingAdd(features, entries)
        addition.check(self.dim, self.space.dtype)
        return self._additions.add(addition)

    def change_many(self, selection: Selection, change: BulkChange) -> BulkResult:
        """Remove, restore or relabel images in one transaction."""
        with self._changing() as (cursor, encoder_sha256):
            result = change.plan(selection, PostgresCatalog(self._database, cursor).select(selection))
            if change.relabel:
                values = [change.label, result.changed]
                cursor.execute("UPDATE images SET label = %s WHERE id = ANY(%s)", values)
            if change.removed is not None:
                self._set_removed(cursor, encoder_sha256, result.changed, change.removed)
        return result

    def search_ids(self, queries: Sequence[Query]) -> list[NearestIds]:
        for query in queries:
            query.check(self.dim)
        return [self._search(query) for query in queries]

    def features(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The stored (N, dim) features of images, in the order of `ids`.

        Raises UnknownImageError, also if one is damaged.
        """
        stacked = np.empty((len(ids), self.dim), np.float32)
        for start in range(0, len(ids), READ_ROWS):
            part = ids[start : start + READ_ROWS]
            stored = self.catalog.values(part, "ROW(feature, feature_checksum)")
            for image_id in part:
                if image_id not in stored:
                    raise unknown_image_error(image_id)
            read = to_features([stored[image_id][0] for image_id in part], self.dim, self.space.dtype)
            for image_id, checksum in zip(part, feature_checksums(read, self.space.dtype), strict=True):
                if checksum != stored[image_id][1]:
                    raise damaged_image_error("stored feature", image_id)
            stacked[start : start + len(part)] = read
        return stacked

    def entry(self, image_id: int) -> Entry:
        """The entry of an image. Raises UnknownImageError."""
        return self.catalog.get(image_id)

    @property
    def encoder(self) -> Encoder | None:
        """The encoder of the binary codes, while one is set."""
        return None if self._codes is None else self._codes.encoder

    def set_encoder(self, encoder: Encoder | None) -> None:
        """Search with this encoder's binary codes from now on, or without codes (None).

        A writable index replaces another encoder's codes, and computes missing ones. A read-only index is searched
        without codes if it has none of this encoder. Raises IndexStoreError if the encoder is for features of another
        dimension.
        """
        if encoder is None:
            self._codes = None
            return
        if self.encoder is not None and self.encoder.sha256 == encoder.sha256:
            return
        codes = PostgresCodes(self._database, self.space, encoder)
        if self.writable:
            codes.prepare()
        elif not codes.is_current():
            logger.warning(
                "the index at %s has no binary codes of this encoder; none are made, since it was opened for reading "
                "only",
                self.uri,
            )
            self._codes = None
            return
        self._codes = codes

    @property
    def num_unverified(self) -> int:
        """Always 0: no check runs in the background; `verify` compares all images."""
        return 0

    def wait_until_verified(self) -> Mapping[int, str]:
        """Return `damaged`, as found by the last `verify`."""
        return self.damaged

    def verify(self) -> Mapping[int, str]:
        """Compare features and thumbnails with their checksums. Returns `damaged`."""
        damaged: dict[int, str] = {}
        after = 0
        while rows := self._rows_to_verify(after):
            after = rows[-1][0]
            features = to_features([row[1] for row in rows], self.dim, self.space.dtype)
            checksums = feature_checksums(features, self.space.dtype)
            for checksum, (image_id, _, expected, thumbnail, expected_of_thumbnail) in zip(
                checksums, rows, strict=True
            ):
                if checksum != expected:
                    damaged[image_id] = "its feature doesn't match its checksum"
                elif fault := thumbnail_fault(thumbnail, expected_of_thumbnail):
                    damaged[image_id] = fault
        self.damaged = damaged
        return damaged

    def compact(self) -> int:
        """Delete removed and damaged images for good. Returns how many; PostgreSQL frees their space by itself."""
        self.check_writable()
        damaged = list(self.verify())
        with self._changing(time_limit=False) as (cursor, _):
            cursor.execute("DELETE FROM images WHERE removed OR id = ANY(%s)", [damaged])
            count = cursor.rowcount
        self.damaged = {}
        return count

    def _search(self, query: Query) -> NearestIds:
        if query.label is not None and not label_exists(self._database, query.label):
            raise unknown_label_error(query.label)
        searcher, codes = SEARCHERS[query.mode], self._codes
        if searcher.needs_codes and codes is None:
            raise no_codes_error(query.mode)
        if codes is not None and not searcher.works_with(codes.encoder.bits):
            raise code_too_long_error(codes.encoder.bits)
        shortlist = shortlist_size(len(self), query.num_needed)
        search = CandidateSearch(self._database, self.space, query, codes, shortlist)
        return rank_candidates(query, search.find)

    def _write(self, additions: Sequence[PendingAdd]) -> tuple[WriteBatch, list[int]]:
        """Write additions in one transaction."""
        with self._changing() as (cursor, encoder_sha256):
            batch = WriteBatch(PostgresCatalog(self._database, cursor))
            for addition in additions:
                batch.accept(addition)
            ids = self._insert(cursor, encoder_sha256, list(batch.new.values()))
            self._set_removed(cursor, encoder_sha256, batch.removed_ids, False)
        return batch, ids

    def _insert(
        self, cursor: Cursor, encoder_sha256: str, images: Sequence[tuple[NewEntry, NDArray[np.float32]]]
    ) -> list[int]:
        if not images:
            return []
        features = np.stack([feature for _, feature in images])
        stored, checksums = to_vectors(features, self.space.dtype), feature_checksums(features, self.space.dtype)
        rows = [
            (*new_values(entry), checksum, zlib.crc32(entry.thumbnail), vector, entry.thumbnail)
            for (entry, _), checksum, vector in zip(images, checksums, stored, strict=True)
        ]
        cursor.executemany(INSERT_IMAGE, rows, returning=True)
        ids = [int(result.fetchall()[0][0]) for result in cursor.results()]
        if self._codes is not None and self._codes.encoder.sha256 == encoder_sha256:
            self._codes.insert(cursor, ids, features)
        return ids

    def _set_removed(self, cursor: Cursor, encoder_sha256: str, ids: Sequence[int], removed: bool) -> None:
        """Mark images as removed or not, and their codes as inactive or active."""
        if not ids:
            return
        values = {"ids": list(ids), "removed": removed}
        cursor.execute(
            "UPDATE images SET removed = %(removed)s WHERE id = ANY(%(ids)s) AND removed <> %(removed)s", values
        )
        if encoder_sha256:
            table = codes_table(encoder_sha256)
            cursor.execute(f"UPDATE {table} SET active = NOT %(removed)s WHERE id = ANY(%(ids)s)", values)

    @contextmanager
    def _changing(self, time_limit: bool = True) -> Iterator[tuple[Cursor, str]]:
        """A transaction in which no other program can change the index, and the sha256 of the index's encoder."""
        self.check_writable()
        if not self._write_lock.acquire(timeout=LOCK_SECONDS):
            raise IndexLockedError("another change to the index is taking too long; nothing was changed: try again")
        try:
            with self._database.transaction(time_limit) as cursor:
                yield cursor, schema.lock_for_writing(cursor, self.space, self._address)
        finally:
            self._write_lock.release()
        self._count.invalidate()

    def _count_images(self) -> int:
        with self._database.reading() as cursor:
            return int(cursor.execute("SELECT count(*) FROM images WHERE NOT removed").fetchall()[0][0])

    def _rows_to_verify(self, after: int) -> list[tuple[int, bytes, int, bytes, int]]:
        with self._database.reading() as cursor:
            return cursor.execute(
                "SELECT id, feature, feature_checksum, thumbnail, thumbnail_checksum FROM images WHERE id > %s "
                "ORDER BY id LIMIT %s",
                [after, READ_ROWS],
            ).fetchall()
