"""Which images an index holds: SQLite in WAL mode. An image is in the index when its line is committed here."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.exceptions import IndexLockedError, IndexStoreError, InvalidRequestError, StorageFullError, UnknownImageError

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    row INTEGER NOT NULL UNIQUE,           -- of the file of features
    checksum INTEGER NOT NULL,             -- CRC-32 of the row's bytes
    sha256 TEXT NOT NULL UNIQUE,           -- of the image's bytes
    key TEXT UNIQUE,                       -- the caller's own name for it
    label TEXT,
    source TEXT NOT NULL,                  -- where the file was when it was added; empty: it came without one
    format TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    thumbnail BLOB NOT NULL,               -- JPEG, 128 x 128
    removed INTEGER NOT NULL DEFAULT 0     -- until the index is compacted
);
CREATE INDEX IF NOT EXISTS by_label ON images (label, id);
"""
COLUMNS = "id, key, label, source, format, width, height"
PLACEHOLDERS = 10_000
"""Parameters in one statement; SQLite takes 32,766."""


@dataclass(frozen=True)
class Entry:
    """One image as the catalog keeps it; its checksums, its row and its thumbnail aside."""

    id: int
    key: str | None
    label: str | None
    source: Path | None
    format: str
    width: int
    height: int


@dataclass(frozen=True)
class NewEntry:
    """What is stored of an image that is added."""

    sha256: str
    label: str | None
    source: Path | None
    format: str
    width: int
    height: int
    thumbnail: bytes
    key: str | None = None


@dataclass(frozen=True)
class Line:
    """Of each image what searching needs."""

    id: int
    row: int
    checksum: int
    label: str | None
    removed: bool


class Catalog:
    """One SQLite file, usable from any thread. What is read is what was committed last, without waiting for a change.

    Raises IndexStoreError if the file is damaged, StorageFullError if the disk is full, IndexLockedError if another
    program holds it.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        self._path = path
        self._lock, self._asking = threading.RLock(), threading.RLock()
        address = path.resolve().as_uri()
        if not writable and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            address += "?immutable=1"  # SQLite can't read a database in WAL mode without writing beside it
        with ExitStack() as opened:
            try:
                self._database = self._readable = opened.enter_context(closing(_connected(address)))
                if writable:
                    self._database.execute("PRAGMA journal_mode = WAL")
                    self._database.execute("PRAGMA synchronous = FULL")
                    self._database.executescript(SCHEMA)
                    self._readable = opened.enter_context(closing(_connected(address)))
                self._readable.execute("PRAGMA query_only = ON")
            except sqlite3.Error as error:
                raise self._fault(error) from error
            self._opened = opened.pop_all()

    def close(self) -> None:
        with self._lock, self._asking:
            self._opened.close()

    def settings(self) -> dict[str, str]:
        return dict(self._query("SELECT key, value FROM settings"))

    def set_settings(self, settings: dict[str, str]) -> None:
        with self.change() as database:
            database.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", settings.items())

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk when it ends, undone when it fails."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                self._database.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise self._fault(error) from error

    def lines(self) -> list[Line]:
        """All images, the removed ones too, by their rows, which have no gaps. Raises IndexStoreError."""
        rows = self._query("SELECT id, row, checksum, label, removed FROM images ORDER BY row")
        if rows and rows[-1][1] != len(rows) - 1:
            raise IndexStoreError(
                f"expected {rows[-1][1] + 1:,} images in {self._path}, found {len(rows):,}: some were taken out"
            )
        return [Line(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]

    def known(self, sha256s: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """Those of the checksums whose images are here: their ids, and whether they are removed."""
        marks = ",".join("?" * len(sha256s))
        found = self._query(f"SELECT sha256, id, removed FROM images WHERE sha256 IN ({marks})", *sha256s)
        return {sha256: (number, bool(removed)) for sha256, number, removed in found}

    def require_new_keys(self, keys: Sequence[str]) -> None:
        """Raise InvalidRequestError when an image has one of the callers' keys, or two are to have the same."""
        for key in keys:
            if keys.count(key) > 1 or self._query("SELECT id FROM images WHERE key = ?", key):
                raise InvalidRequestError(f"expected a key that no other image has, found {key[:80]!r}")

    def add(self, first_row: int, checksums: Sequence[int], entries: Iterable[NewEntry]) -> list[int]:
        """Commit the entries with the rows `first_row`, `first_row` + 1, ...; their ids."""
        statement = (
            "INSERT INTO images (row, checksum, sha256, key, label, source, format, width, height, thumbnail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        ids = []
        with self.change() as database:
            for offset, (checksum, e) in enumerate(zip(checksums, entries, strict=True)):
                source = "" if e.source is None else str(e.source)
                values = (checksum, e.sha256, e.key, e.label, source, e.format, e.width, e.height, e.thumbnail)
                ids.append(int(database.execute(statement, (first_row + offset, *values)).lastrowid or 0))
        return ids

    def compact(self, rows: Sequence[tuple[int, int]], features: int) -> None:
        """Forget the removed images; the others' rows by (new row, id), in the file with the number `features`."""
        with self.change() as database:
            database.execute("DELETE FROM images WHERE removed")
            database.execute("UPDATE images SET row = -row - 1")  # out of the way: a row is one image's
            database.executemany("UPDATE images SET row = ? WHERE id = ?", rows)
            database.execute("UPDATE settings SET value = ? WHERE key = 'features'", (str(features),))

    def set_removed(self, ids: Sequence[int], removed: bool) -> None:
        with self.change() as database:
            database.executemany("UPDATE images SET removed = ? WHERE id = ?", [(removed, number) for number in ids])

    def set_label(self, image_id: int, label: str | None) -> None:
        with self.change() as database:
            database.execute("UPDATE images SET label = ? WHERE id = ?", (label, image_id))

    def get(self, image_id: int) -> Entry:
        """Raises UnknownImageError."""
        return self.get_many([image_id])[0]

    def get_many(self, ids: Sequence[int]) -> list[Entry]:
        """Entries in the order of `ids`. Raises UnknownImageError for an id that isn't here, or is removed."""
        found = self.present(ids)
        if missing := set(ids) - {entry.id for entry in found}:
            raise UnknownImageError(f"expected the id of an indexed image, found {min(missing)}")
        return found

    def present(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those that are here, in the order of `ids`."""
        found: dict[int, Entry] = {}
        for start in range(0, len(ids), PLACEHOLDERS):
            some = ids[start : start + PLACEHOLDERS]
            marks = ",".join("?" * len(some))
            rows = self._query(f"SELECT {COLUMNS} FROM images WHERE NOT removed AND id IN ({marks})", *some)
            found |= {row[0]: _entry(row) for row in rows}
        return [found[image_id] for image_id in ids if image_id in found]

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """The next images by id, of a label if one is given."""
        condition, values = ("AND label = ?", [label]) if label is not None else ("", [])
        statement = f"SELECT {COLUMNS} FROM images WHERE NOT removed AND id > ? {condition} ORDER BY id LIMIT ?"
        return [_entry(row) for row in self._query(statement, after, *values, limit)]

    def stored(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images by id with all that is kept of them, as another index would keep it."""
        columns = "id, sha256, label, source, format, width, height, thumbnail, key"
        statement = f"SELECT {columns} FROM images WHERE NOT removed AND id > ? ORDER BY id LIMIT ?"
        return [
            (number, NewEntry(sha256, label, Path(source) if source else None, *rest))
            for number, sha256, label, source, *rest in self._query(statement, after, limit)
        ]

    def everything(self, label: str | None = None) -> Iterator[Entry]:
        """All images, or those of a label, by id."""
        after = 0
        while some := self.page(after, 1000, label):
            yield from some
            after = some[-1].id

    def thumbnail(self, image_id: int) -> bytes:
        """JPEG bytes. Raises UnknownImageError."""
        return bytes(self._one("thumbnail", image_id))

    def sha256(self, image_id: int) -> str:
        """Of the bytes that were indexed. Raises UnknownImageError."""
        return str(self._one("sha256", image_id))

    def _one(self, column: str, image_id: int) -> Any:
        rows = self._query(f"SELECT {column} FROM images WHERE NOT removed AND id = ?", image_id)
        if not rows:
            raise UnknownImageError(f"expected the id of an indexed image, found {image_id}")
        return rows[0][0]

    def _query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            with self._asking:
                return self._readable.execute(statement, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._fault(error) from error

    def _fault(self, error: sqlite3.Error) -> IndexStoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to it
        if code == sqlite3.SQLITE_FULL:
            return StorageFullError("expected room for the catalog, found a full disk: nothing was changed")
        if code == sqlite3.SQLITE_BUSY:
            return IndexLockedError("expected to change the catalog, found another program holding it: try again")
        return IndexStoreError(f"expected an index catalog at {self._path}, found a damaged file: {error}")


def _connected(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(row[0], row[1], row[2], Path(row[3]) if row[3] else None, row[4], row[5], row[6])
