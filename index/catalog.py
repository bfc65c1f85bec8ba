"""Catalog: which images an index holds, in SQLite (WAL). An image is indexed when its row is committed here."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.entries import Entry, NewEntry, StoredId
from model.exceptions import (
    IndexLockedError,
    IndexNotFoundError,
    IndexStoreError,
    InvalidRequestError,
    StorageFullError,
    UnknownImageError,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
    row INTEGER NOT NULL UNIQUE,           -- in the file of features
    checksum INTEGER NOT NULL,             -- CRC-32 of the row's bytes
    sha256 TEXT NOT NULL UNIQUE,           -- of the image's bytes
    key TEXT UNIQUE,                       -- the caller's own name for it
    label TEXT,
    source TEXT NOT NULL,                  -- path of the file when it was added; empty: there was none
    format TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    thumbnail BLOB NOT NULL,               -- JPEG, 128 x 128
    removed INTEGER NOT NULL DEFAULT 0     -- until the index is compacted
);
CREATE INDEX IF NOT EXISTS by_label ON images (label, id);
"""
ENTRY_COLUMNS = "id, key, label, source, format, width, height"
MAX_PARAMETERS = 10_000
"""Parameters per statement; SQLite takes 32,766."""
PAGE_SIZE = 1000
BUSY_TIMEOUT_SECONDS = 5.0
"""How long a change waits for another program that locks the catalog."""


@dataclass(frozen=True)
class RowRecord:
    """What searching needs of an image. `checksum`: CRC-32 of its row of features."""

    id: int
    row: int
    checksum: int
    label: str | None
    removed: bool


class Catalog:
    """One SQLite file, usable from any thread. Reads see the last commit and never wait for a write.

    Raises IndexStoreError if the file is damaged or of another format, IndexNotFoundError if it has no tables yet and
    isn't writable, StorageFullError if the disk is full, IndexLockedError if another program locks it.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        self._path = path
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        uri = path.resolve().as_uri()
        if not writable and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            uri += "?immutable=1"  # SQLite can't read a database in WAL mode without writing beside it
        with ExitStack() as stack:
            try:
                self._writer = self._reader = stack.enter_context(closing(_connect(uri)))
                self._check_tables(writable)
                if writable:
                    self._writer.execute("PRAGMA journal_mode = WAL")
                    self._writer.execute("PRAGMA synchronous = FULL")
                    self._writer.executescript(SCHEMA)
                    self._reader = stack.enter_context(closing(_connect(uri)))
                self._reader.execute("PRAGMA query_only = ON")
            except sqlite3.Error as error:
                raise self._index_error(error) from error
            self._connections = stack.pop_all()

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._connections.close()

    def metadata(self) -> dict[str, str]:
        return dict(self._query("SELECT key, value FROM metadata"))

    def set_metadata(self, metadata: dict[str, str]) -> None:
        with self.transaction() as database:
            database.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?)", metadata.items())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that are durable when the block ends, and rolled back when it raises."""
        with self._write_lock:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                except BaseException:
                    self._writer.execute("ROLLBACK")
                    raise
                self._writer.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise self._index_error(error) from error

    def rows(self) -> list[RowRecord]:
        """All images, removed ones included, by row. Raises IndexStoreError where a row is missing."""
        records = self._query("SELECT id, row, checksum, label, removed FROM images ORDER BY row")
        if records and records[-1][1] != len(records) - 1:
            raise IndexStoreError(
                f"{records[-1][1] + 1 - len(records):,} rows are missing from the catalog {self._path}: "
                "it was changed by another program; build the index again"
            )
        return [RowRecord(id_, row, checksum, label, bool(removed)) for id_, row, checksum, label, removed in records]

    def find(self, sha256s: Sequence[str]) -> dict[str, StoredId]:
        """The images with these checksums that the index holds, removed ones included, by checksum."""
        stored: dict[str, StoredId] = {}
        for part, marks in _batches(sha256s):
            for sha256, image_id, removed in self._query(
                f"SELECT sha256, id, removed FROM images WHERE sha256 IN ({marks})", *part
            ):
                stored[sha256] = StoredId(image_id, bool(removed))
        return stored

    def check_new_keys(self, keys: Sequence[str]) -> None:
        """Raise InvalidRequestError if an image has one of the keys already, or two new ones share a key."""
        used: set[str] = set()
        for part, marks in _batches(keys):
            used |= {key for (key,) in self._query(f"SELECT key FROM images WHERE key IN ({marks})", *part)}
        raise_for_used_keys(keys, used)

    def add(self, first_row: int, checksums: Sequence[int], entries: Iterable[NewEntry]) -> list[int]:
        """Commit entries in the rows `first_row`, `first_row` + 1, ... Returns their ids."""
        statement = (
            "INSERT INTO images (row, checksum, sha256, key, label, source, format, width, height, thumbnail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        ids = []
        with self.transaction() as database:
            for row, (checksum, e) in enumerate(zip(checksums, entries, strict=True), first_row):
                source = "" if e.source is None else str(e.source)
                values = (row, checksum, e.sha256, e.key, e.label, source, e.format, e.width, e.height, e.thumbnail)
                ids.append(int(database.execute(statement, values).lastrowid or 0))
        return ids

    def compact(self, rows: Sequence[tuple[int, int]], generation: int) -> None:
        """Delete removed images. `rows`: (new row, id) of the others, in the file of features `generation`."""
        with self.transaction() as database:
            database.execute("DELETE FROM images WHERE removed")
            database.execute("UPDATE images SET row = -row - 1")  # out of the way: rows are unique
            database.executemany("UPDATE images SET row = ? WHERE id = ?", rows)
            database.execute("UPDATE metadata SET value = ? WHERE key = 'generation'", (str(generation),))

    def set_removed(self, ids: Sequence[int], removed: bool) -> None:
        with self.transaction() as database:
            database.executemany("UPDATE images SET removed = ? WHERE id = ?", [(removed, id_) for id_ in ids])

    def set_label(self, image_id: int, label: str | None) -> None:
        with self.transaction() as database:
            database.execute("UPDATE images SET label = ? WHERE id = ?", (label, image_id))

    def get(self, image_id: int) -> Entry:
        """Raises UnknownImageError for an id that isn't indexed, or is removed."""
        entries = self.lookup([image_id])
        if not entries:
            raise unknown_image_error(image_id)
        return entries[0]

    def lookup(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those ids that exist and aren't removed, in the order of `ids`."""
        entries: dict[int, Entry] = {}
        for part, marks in _batches(ids):
            rows = self._query(f"SELECT {ENTRY_COLUMNS} FROM images WHERE NOT removed AND id IN ({marks})", *part)
            entries |= {row[0]: _entry(row) for row in rows}
        return [entries[image_id] for image_id in ids if image_id in entries]

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """The next entries by id, `after` excluded; with a label, those that have it."""
        condition, values = ("AND label = ?", [label]) if label is not None else ("", [])
        statement = f"SELECT {ENTRY_COLUMNS} FROM images WHERE NOT removed AND id > ? {condition} ORDER BY id LIMIT ?"
        return [_entry(row) for row in self._query(statement, after, *values, limit)]

    def iter_entries(self, label: str | None = None) -> Iterator[Entry]:
        """All entries by id; with a label, those that have it."""
        after = 0
        while page := self.page(after, PAGE_SIZE, label):
            yield from page
            after = page[-1].id

    def page_to_copy(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images as (id, everything that another index would store of them), by id."""
        columns = "id, sha256, label, source, format, width, height, thumbnail, key"
        statement = f"SELECT {columns} FROM images WHERE NOT removed AND id > ? ORDER BY id LIMIT ?"
        return [
            (image_id, NewEntry(sha256, label, Path(source) if source else None, *rest))
            for image_id, sha256, label, source, *rest in self._query(statement, after, limit)
        ]

    def thumbnail(self, image_id: int) -> bytes:
        """JPEG bytes. Raises UnknownImageError."""
        return bytes(self._value("thumbnail", image_id))

    def sha256(self, image_id: int) -> str:
        """Checksum of the bytes that were indexed. Raises UnknownImageError."""
        return str(self._value("sha256", image_id))

    def _check_tables(self, writable: bool) -> None:
        tables = {name for (name,) in self._reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "metadata" not in tables:
            raise IndexStoreError(f"{self._path} is of a format that is no longer read: build the index again")
        if not tables and not writable:
            raise IndexNotFoundError(f"{self._path} is empty: build the index with `alexnet index add`")

    def _value(self, column: str, image_id: int) -> Any:
        rows = self._query(f"SELECT {column} FROM images WHERE NOT removed AND id = ?", image_id)
        if not rows:
            raise unknown_image_error(image_id)
        return rows[0][0]

    def _query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            with self._read_lock:
                return self._reader.execute(statement, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._index_error(error) from error

    def _index_error(self, error: sqlite3.Error) -> IndexStoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary result code
        if code == sqlite3.SQLITE_FULL:
            return StorageFullError("no space left on the index's disk: nothing was changed")
        if code == sqlite3.SQLITE_BUSY:
            return IndexLockedError("another program locks the index catalog, nothing was changed: try again")
        if code == sqlite3.SQLITE_IOERR:
            name = error.sqlite_errorname
            return IndexStoreError(f"the index catalog {self._path} can't be read or written ({error}, {name}): look at its disk")
        return IndexStoreError(f"the index catalog {self._path} is damaged ({error}): build the index again")


def raise_for_used_keys(keys: Sequence[str], used: set[str]) -> None:
    """Raise InvalidRequestError if one of the keys is in `used`, or occurs twice."""
    for key, count in Counter(keys).items():
        if key in used or count > 1:
            raise InvalidRequestError(f"the key {key[:80]!r} belongs to another image: keys are unique")


def unknown_image_error(image_id: int) -> UnknownImageError:
    return UnknownImageError(f"no indexed image has the id {image_id}")


def _batches(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """Parts of at most `MAX_PARAMETERS` values, with the placeholders for them."""
    for start in range(0, len(values), MAX_PARAMETERS):
        part = values[start : start + MAX_PARAMETERS]
        yield part, ",".join("?" * len(part))


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, BUSY_TIMEOUT_SECONDS, uri=True, check_same_thread=False, isolation_level=None)


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(row[0], row[1], row[2], Path(row[3]) if row[3] else None, row[4], row[5], row[6])
