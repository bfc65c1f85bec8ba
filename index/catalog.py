"""Which pictures an index holds: SQLite in WAL mode. A picture is in the index when its row is committed here."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import IndexStoreError, UnknownPictureError

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY,          -- its feature row is id - 1
    sha256 TEXT NOT NULL UNIQUE,     -- of the file's bytes
    label TEXT,
    source TEXT NOT NULL,            -- where the file was when it was added
    format TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    thumbnail BLOB NOT NULL          -- JPEG, 128 x 128
);
"""


@dataclass(frozen=True)
class Entry:
    """One picture as the catalogue keeps it; `sha256` and `thumbnail` aside, what it tells."""

    id: int
    label: str | None
    source: Path
    format: str
    width: int
    height: int


@dataclass(frozen=True)
class NewEntry:
    """What is stored of a picture that is added."""

    sha256: str
    label: str | None
    source: Path
    format: str
    width: int
    height: int
    thumbnail: bytes


class Catalog:
    """One SQLite file, usable from any thread. Raises IndexStoreError if the file is damaged."""

    def __init__(self, path: Path, writable: bool = True) -> None:
        self._path = path
        self._lock = threading.Lock()
        address = path.resolve().as_uri()
        if not writable and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            address += "?immutable=1"  # SQLite can't read a database in WAL mode without writing beside it
        try:
            self._database = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise self._damaged(error) from error
        try:
            if writable:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.executescript(SCHEMA)
            else:
                self._database.execute("PRAGMA query_only = ON")
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise self._damaged(error) from error

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def settings(self) -> dict[str, str]:
        return dict(self._query("SELECT key, value FROM settings"))

    def set_settings(self, settings: dict[str, str]) -> None:
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", settings.items())

    def count(self) -> int:
        """How many pictures; their ids are 1 to that. Raises IndexStoreError if some are missing in between."""
        count, last = self._query("SELECT count(*), coalesce(max(id), 0) FROM pictures")[0]
        if count != last:
            raise IndexStoreError(f"expected {last:,} pictures in {self._path}, found {count:,}: some were taken out")
        return int(count)

    def known(self, sha256s: Sequence[str]) -> set[str]:
        """Those of the checksums whose pictures are here already."""
        marks = ",".join("?" * len(sha256s))
        return {row[0] for row in self._query(f"SELECT sha256 FROM pictures WHERE sha256 IN ({marks})", *sha256s)}

    def add(self, first_id: int, entries: Iterable[NewEntry]) -> None:
        """Commit the entries as ids `first_id`, `first_id` + 1, ..."""
        rows = [
            (first_id + offset, e.sha256, e.label, str(e.source), e.format, e.width, e.height, e.thumbnail)
            for offset, e in enumerate(entries)
        ]
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def get(self, picture_id: int) -> Entry:
        """Raises UnknownPictureError."""
        return self.get_many([picture_id])[0]

    def get_many(self, ids: Sequence[int]) -> list[Entry]:
        """Entries in the order of `ids`. Raises UnknownPictureError for the first id that isn't here."""
        marks = ",".join("?" * len(ids))
        rows = self._query(f"SELECT id, label, source, format, width, height FROM pictures WHERE id IN ({marks})", *ids)
        found = {row[0]: Entry(row[0], row[1], Path(row[2]), row[3], row[4], row[5]) for row in rows}
        for picture_id in ids:
            if picture_id not in found:
                raise UnknownPictureError(f"expected the id of an indexed picture, found {picture_id}")
        return [found[picture_id] for picture_id in ids]

    def thumbnail(self, picture_id: int) -> bytes:
        """JPEG bytes. Raises UnknownPictureError."""
        rows = self._query("SELECT thumbnail FROM pictures WHERE id = ?", picture_id)
        if not rows:
            raise UnknownPictureError(f"expected the id of an indexed picture, found {picture_id}")
        return bytes(rows[0][0])

    def sha256(self, picture_id: int) -> str:
        """Of the bytes that were indexed. Raises UnknownPictureError."""
        rows = self._query("SELECT sha256 FROM pictures WHERE id = ?", picture_id)
        if not rows:
            raise UnknownPictureError(f"expected the id of an indexed picture, found {picture_id}")
        return str(rows[0][0])

    def _query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._database.execute(statement, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> IndexStoreError:
        return IndexStoreError(f"expected an index catalogue at {self._path}, found a damaged file: {error}")
