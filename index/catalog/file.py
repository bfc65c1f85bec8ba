"""CatalogFile: the SQLite file of an index (WAL), opened for reading or writing, locked, and checked."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from index.catalog.schema import FORMAT, SCHEMA, decode_text, expected_schema, find_wrong_sql_indexes, read_schema
from index.files import FileId, check_regular, check_same, file_id
from model.datasets.names import show_text
from model.exceptions import (
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
    IndexReplacedError,
    IndexStoreError,
    ReadOnlyIndexError,
    StorageFullError,
)

logger = logging.getLogger(__name__)

PROGRESS_STEPS = 100_000
"""Steps of SQLite's virtual machine, a few milliseconds, between tests of whether a check is to stop."""
MAX_PARAMETERS = 10_000
"""Maximum parameters per statement; SQLite allows 32,766."""
MIN_FREE_BYTES = 1 << 20
"""With less free disk space, an I/O error of SQLite means that the disk is full."""
BUSY_TIMEOUT_SECONDS = 5.0
"""How long a change waits for another program that locks the catalog."""


class CatalogFile:
    """One SQLite file, usable from any thread. Reads never wait for a write.

    A writable catalog reads the latest commit. A read-only catalog stays at the commit it was opened at, because the
    feature rows were counted then; until it is closed, a writer's WAL file only grows.

    No other code in this process may open the file: closing it would drop SQLite's locks, and another process that
    closes the catalog would then delete the WAL file with the latest commits. A reader never deletes the WAL file of
    another process.

    Raises IndexStoreError if the file is damaged, a link, of another format, or has tables, triggers or views that
    aren't this program's; IndexNotFoundError if it has no tables yet and isn't writable; StorageFullError if the disk
    is full; IndexLockedError if another program locks it; ReadOnlyIndexError if it can't be written.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        self.path, self._wal_path = path, path.with_name(f"{path.name}-wal")
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        for file in (path, self._wal_path, path.with_name(f"{path.name}-shm"), path.with_name(f"{path.name}-journal")):
            check_regular(file)
        self._check_lock = threading.Lock()
        self._writable, uri = writable, path.resolve().as_uri()
        self._immutable_stamp = None
        """State of a file that is read without locks, to detect changes; None if it is read with locks."""
        if not writable and self._wal_path.exists():
            uri += "?mode=ro"  # else SQLite deletes the WAL file when it closes, if the writer's locks were dropped
        elif not writable and not os.access(path.parent, os.W_OK):
            uri += "?immutable=1"  # SQLite can't read a database in WAL mode without writing files next to it
            self._immutable_stamp = _change_stamp(path)
        with ExitStack() as stack:
            try:
                self._writer = self._reader = stack.enter_context(closing(_connect(uri)))
                if not writable:
                    self._reader.execute("BEGIN")  # never ended, so that all reads see the same commit
                self._check_tables(writable)
                if writable:
                    self._open_for_writing()
                    self._reader = stack.enter_context(closing(_connect(uri)))
                self._checker = stack.enter_context(closing(_connect(uri)))
                if not writable:
                    self._checker.execute("BEGIN")
                for connection in (self._reader, self._checker):
                    connection.execute("PRAGMA query_only = ON")
            except sqlite3.Error as error:
                raise self._index_error(error) from error
            self._connections = stack.pop_all()
        self._file_ids = {file: file_id(file) for file in (path, self._wal_path)} if writable else {}

    def close(self) -> None:
        with self._write_lock, self._read_lock, self._check_lock:
            self._connections.close()

    def check_files(self) -> None:
        """Raise IndexReplacedError unless the database and its WAL file are the files that were opened for writing."""
        for file, known in self._file_ids.items():
            check_same(file, known)

    def delete_stale_wal(self) -> None:
        """Delete our WAL file if the catalog was replaced, because SQLite would replay it into the new one."""
        path, wal_path = self.path, self._wal_path
        if file_id(path) != self._file_ids.get(path) and file_id(wal_path) == self._file_ids.get(wal_path):
            for file in (wal_path, path.with_name(f"{path.name}-shm")):
                file.unlink(missing_ok=True)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when the block ends, rolled back if it raises."""
        with self._write_lock:
            try:
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.DatabaseError as error:
                raise self._index_error(error) from error

    def repair_sql_indexes(self, is_stopped: Callable[[], bool] = lambda: False) -> list[str]:
        """Compare the SQL indexes with the table of images; rebuild and log those that differ.

        Returns the names of the rebuilt indexes; none if it was stopped. Raises IndexStoreError if one differs and the
        catalog is read-only.
        """
        with self.checking() as database:
            database.set_progress_handler(is_stopped, PROGRESS_STEPS)
            try:
                wrong = find_wrong_sql_indexes(database)
            except sqlite3.OperationalError:
                if is_stopped():
                    return []
                raise
            finally:
                database.set_progress_handler(None, 0)
        for name in wrong:
            if not self._writable:
                raise self.sql_index_error(name)
            logger.warning("the SQL index %s of the catalog %s was damaged, and is being rebuilt", name, self.path)
            with self.transaction() as database:
                database.execute(f"REINDEX {name}")
        return wrong

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        with self.reading() as database:
            return database.execute(statement, parameters).fetchall()

    def query_in(self, statement: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        """The rows where the column named at the end of `statement` has one of `values`, however many there are."""
        for start in range(0, len(values), MAX_PARAMETERS):
            part = values[start : start + MAX_PARAMETERS]
            yield from self.query(f"{statement} IN ({','.join('?' * len(part))})", *part)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for short reads. Raises IndexReplacedError if a file read without locks has changed."""
        with self._read_lock, self._translated_errors():
            if self._immutable_stamp is not None and self._immutable_stamp != _change_stamp(self.path):
                raise IndexReplacedError(
                    "the index catalog has changed since it was opened, and can't be read alongside its writer, since "
                    "its folder isn't writable: reload the server, or run the command again"
                )
            yield self._reader

    @contextmanager
    def checking(self) -> Iterator[sqlite3.Connection]:
        """The connection for long reads."""
        with self._check_lock, self._translated_errors():
            yield self._checker

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as IndexStoreError."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._index_error(error) from error

    def _check_tables(self, writable: bool) -> None:
        schema = read_schema(self._reader)
        if not schema and not writable:
            raise empty_index_error(self.path.parent)
        if not schema or schema == expected_schema():
            return
        if ("table", "metadata") not in {row[:2] for row in schema}:
            raise IndexFormatError(f"{self.path} has a format that is no longer supported: build the index again")
        stored = dict(self._reader.execute("SELECT key, value FROM metadata WHERE key = 'format'")).get("format")
        if stored != FORMAT:
            raise format_error(stored, self.path.parent)
        raise IndexStoreError(
            f"{self.path} has tables, triggers or views that this program didn't create: don't use it unless you know "
            "where it comes from, and build the index again"
        )

    def _open_for_writing(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        if not read_schema(self._writer):
            self._writer.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT")
        self._writer.execute("BEGIN IMMEDIATE")  # creates the WAL file if there is none
        self._writer.execute("ROLLBACK")

    def sql_index_error(self, name: str) -> IndexStoreError:
        """The error for a SQL index that differs from its table."""
        return IndexStoreError(
            f"the SQL index {name} of the catalog {self.path} is damaged: `alexnet index compact` rebuilds it"
        )

    def _index_error(self, error: sqlite3.Error) -> IndexStoreError:
        if isinstance(error, sqlite3.ProgrammingError):
            return IndexStoreError(f"the index of {self.path} is closed")
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary result code
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._is_disk_full()):
            return StorageFullError("no space left on the index's disk: nothing was changed")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return IndexLockedError("another program has locked the index catalog; nothing was changed: try again")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return ReadOnlyIndexError("the index catalog can't be written: the index can only be read")
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            name = error.sqlite_errorname
            return IndexStoreError(
                f"the index catalog {self.path} can't be read or written ({error}, {name}): check its disk and its "
                "folder's permissions"
            )
        return IndexStoreError(f"the index catalog {self.path} is damaged ({error}): build the index again")

    def _is_disk_full(self) -> bool:
        """Whether the catalog's disk has no space for SQLite's files beside it, which SQLite calls an I/O error."""
        try:
            return shutil.disk_usage(self.path.parent).free < MIN_FREE_BYTES
        except OSError:
            return False


def empty_index_error(path: Path) -> IndexNotFoundError:
    """The error for an index at `path` that was never completely written."""
    return IndexNotFoundError(f"the index at {path} is empty: build it with `alexnet index add`")


def format_error(stored: str | None, path: Path) -> IndexFormatError:
    """The error for an index at `path` whose catalog isn't in this program's format."""
    return IndexFormatError(
        f"the index at {path} has format {show_text(str(stored))}, but only {FORMAT} is supported: build it again"
    )


def _connect(uri: str) -> sqlite3.Connection:
    database = sqlite3.connect(
        uri, timeout=BUSY_TIMEOUT_SECONDS, uri=True, check_same_thread=False, isolation_level=None
    )
    database.text_factory = decode_text
    return database


def _change_stamp(path: Path) -> tuple[FileId, int, int]:
    """A value that changes when another process writes the file."""
    status = path.stat()
    return (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns
