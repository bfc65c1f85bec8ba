"""The tables of a catalog, and the checksums that show whether they are as this program wrote them."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import Any

FORMAT = "7"
SCHEMA = """
CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
    row INTEGER NOT NULL,                  -- in the file of features; rows grow with ids, without gaps
    checksum INTEGER NOT NULL,             -- CRC-32 of the row's bytes
    sha256 TEXT NOT NULL,                  -- of the image's bytes
    key TEXT,                              -- the caller's own name for it
    label TEXT,
    source TEXT NOT NULL,                  -- path of the file when it was added; empty: there was none
    format TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    author TEXT,                           -- attribution, where it is known
    author_page TEXT,                      -- web address
    page TEXT,                             -- web address of the image
    license TEXT,
    removed INTEGER NOT NULL,              -- 1 until the index is compacted
    thumbnail_checksum INTEGER NOT NULL,   -- CRC-32 of the thumbnail's bytes
    entry_checksum INTEGER NOT NULL,       -- CRC-32 of all columns above
    thumbnail BLOB NOT NULL                -- JPEG, 256 x 256; last, so that the others are read without it
);
CREATE TABLE files (
    path TEXT PRIMARY KEY,                 -- of a file that was read, to find out what has changed since
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    label TEXT,
    entry_checksum INTEGER NOT NULL        -- CRC-32 of all columns above
);
CREATE UNIQUE INDEX by_sha256 ON images (sha256);
CREATE UNIQUE INDEX by_key ON images (key);
CREATE INDEX by_label ON images (label, id, removed);
"""
CHECKED_COLUMNS = (
    "id", "row", "checksum", "sha256", "key", "label", "source", "format", "width", "height", "author", "author_page",
    "page", "license", "removed", "thumbnail_checksum",
)  # fmt: skip
"""The columns that `entry_checksum` covers, in order."""
COLUMNS = ", ".join(CHECKED_COLUMNS)
SELECT_IMAGES = f"SELECT {COLUMNS}, entry_checksum FROM images"
"""Selects records for `is_intact` and `parse_image`."""
THUMBNAIL = "CAST(ifnull(thumbnail, '') AS BLOB)"
"""Always bytes, even if a damaged record has another type."""
LABEL_INDEX = "by_label"
"""The SQL index from which the rows are read when an index is opened."""
SQL_INDEXES = {"by_sha256": ("sha256",), "by_key": ("key",), LABEL_INDEX: ("label", "removed")}
"""SQL index -> the columns it holds a sorted copy of, besides the id."""
METADATA_CHECKSUM = "checksum"

_encoder = json.JSONEncoder(default=repr)


def entry_checksum(values: Sequence[object]) -> int:
    """CRC-32 of a record's values and their types, such as the `CHECKED_COLUMNS` of an image."""
    return zlib.crc32(_encoder.encode(list(values)).encode())


def is_intact(record: Sequence[Any]) -> bool:
    """Whether a record matches its checksum, which is its last value."""
    return bool(entry_checksum(record[:-1]) == record[-1])


def parse_image(record: Sequence[Any]) -> tuple[dict[str, Any], bool]:
    """The checked columns of a record of `SELECT_IMAGES`, and whether they match their checksum."""
    return dict(zip(CHECKED_COLUMNS, record[:-1], strict=True)), is_intact(record)


def intact_images(records: Iterable[Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The checked columns of those records of `SELECT_IMAGES` that match their checksum."""
    return (image for image, intact in map(parse_image, records) if intact)


def metadata_checksum(metadata: Mapping[str, str]) -> str:
    """CRC-32 of all metadata except the checksum itself."""
    items = sorted((key, value) for key, value in metadata.items() if key != METADATA_CHECKSUM)
    return str(zlib.crc32(_encoder.encode(items).encode()))


def decode_text(content: bytes) -> str:
    """Text of a column. Bytes that aren't UTF-8 are kept as surrogates: the row's checksum shows the damage."""
    return content.decode("utf-8", "surrogateescape")


def read_schema(database: sqlite3.Connection) -> set[tuple[str, ...]]:
    """All tables, indexes, triggers and views, without SQLite's statistics."""
    statement = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE NOT (type = 'table' AND name GLOB ?)"
    return set(database.execute(statement, ("sqlite_stat*",)))


@cache
def expected_schema() -> frozenset[tuple[str, ...]]:
    """What `read_schema` gives for a catalog of this format."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(SCHEMA)
        return frozenset(read_schema(database))


def find_wrong_sql_indexes(database: sqlite3.Connection) -> list[str]:
    """The names of the SQL indexes that differ from the table of images, even by one bit."""
    wrong = []
    (rows,) = database.execute("SELECT count(*) FROM images NOT INDEXED").fetchone()
    for name, columns in SQL_INDEXES.items():
        # not count(*): SQLite then counts the entries of whichever index is smallest, whatever INDEXED BY says
        (entries,) = database.execute(f"SELECT total(1) FROM images INDEXED BY {name}").fetchone()
        equal = " AND ".join(f"entry.{column} IS image.{column}" for column in columns)
        (same,) = database.execute(
            f"SELECT count(*) FROM images AS image NOT INDEXED CROSS JOIN images AS entry INDEXED BY {name} "
            f"WHERE {equal} AND entry.id = image.id"
        ).fetchone()
        if not rows == entries == same:
            wrong.append(name)
    return wrong
