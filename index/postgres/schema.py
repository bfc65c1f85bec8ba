"""The tables of an index on PostgreSQL, their migrations, and the index's feature space."""

from __future__ import annotations

from psycopg import errors

from index.feature_space import FeatureSpace, no_index_error
from index.postgres.address import PostgresAddress
from index.postgres.connections import Connection, Cursor, configure, connect, translate_errors
from index.postgres.vectors import COLUMN_TYPES
from model.exceptions import (
    IndexFormatError,
    IndexStoreError,
    ReadOnlyIndexError,
)

CREATE_TABLES = """
CREATE TABLE metadata (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE images (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 bytea NOT NULL UNIQUE,            -- of the image's bytes
    key text UNIQUE,                         -- the caller's own name for it
    label text,
    source text NOT NULL,                    -- path of the file when it was added; empty: there was none
    format text NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    author text,                             -- attribution, where it is known
    author_page text,
    page text,
    license text,
    removed boolean NOT NULL DEFAULT false,  -- until the index is compacted
    coded boolean NOT NULL DEFAULT false,    -- whether its binary code is stored
    feature_checksum bigint NOT NULL,        -- CRC-32 of the numbers, as an index in a folder has it
    thumbnail_checksum bigint NOT NULL,      -- CRC-32
    feature {vector}({dim}) NOT NULL,
    thumbnail bytea NOT NULL                 -- JPEG, 256 x 256
);
ALTER TABLE images ALTER COLUMN feature SET STORAGE EXTERNAL, ALTER COLUMN thumbnail SET STORAGE EXTERNAL;
CREATE INDEX images_by_label ON images (label, id) WHERE NOT removed;
CREATE INDEX images_without_code ON images (id) WHERE NOT coded;
"""
MIGRATIONS: tuple[str, ...] = (CREATE_TABLES,)
"""The n-th migrates schema version n - 1 to n. A published migration is never changed."""
MIN_PGVECTOR = (0, 8)
LOCKED_ROWS = (
    "SELECT key, value FROM metadata WHERE key IN ('encoder_sha256', 'network_sha256') ORDER BY key FOR UPDATE"
)
"""Locks the index for one writer until its transaction ends."""


def read_space(address: PostgresAddress) -> FeatureSpace:
    """The feature space of an index of the current schema version. Raises IndexNotFoundError, IndexStoreError."""
    with translate_errors(address), connect(address) as connection:
        stored = _read_rows(connection, address.schema)
        if stored is None:
            raise no_index_error(str(address))
        _check_version(stored, address, can_migrate=False)
        _check_extension(connection, address)
        return FeatureSpace.parse(stored, str(address))


def prepare(address: PostgresAddress, new: FeatureSpace | None) -> FeatureSpace:
    """Migrate an index to the current schema version; if there is none, create it for features in `new`.

    Does everything or nothing. Raises IndexNotFoundError if there is none and `new` is None, ReadOnlyIndexError,
    IndexStoreError.
    """
    with translate_errors(address), connect(address) as connection:
        (read_only,) = _one(connection, "SELECT current_setting('transaction_read_only')::boolean")
        if read_only:
            raise ReadOnlyIndexError(f"the database of {address} is read-only")
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"alexnet {address.schema}"])
            stored = _read_rows(connection, address.schema)
            if stored is None:
                if new is None:
                    raise no_index_error(str(address))
                _create_extension(connection, address)
                connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{address.schema}"')
                stored = {"schema_version": "0", **new.to_texts()}
            _check_extension(connection, address)
            configure(connection, address.schema)
            version = _check_version(stored, address, can_migrate=True)
            space = FeatureSpace.parse(stored, str(address))
            if version < len(MIGRATIONS):
                _migrate(connection, version, space, address)
            if version == 0:
                connection.cursor().executemany(
                    "INSERT INTO metadata VALUES (%s, %s)", [*space.to_texts().items(), ("encoder_sha256", "")]
                )
            (writable,) = _one(connection, "SELECT has_table_privilege('images', 'INSERT, UPDATE')")
            if not writable:
                raise ReadOnlyIndexError(f"this role may only read the index at {address}")
            return space


def lock_for_writing(cursor: Cursor, space: FeatureSpace, address: PostgresAddress) -> str:
    """Wait for other writers, and check that the features are still this network's. Returns the encoder's sha256.

    Raises IndexStoreError.
    """
    stored = dict(cursor.execute(LOCKED_ROWS).fetchall())
    if stored.get("network_sha256") != space.network_sha256:
        raise IndexStoreError(f"the index at {address} was replaced by another network's: open it again")
    return str(stored["encoder_sha256"])


def _migrate(connection: Connection, version: int, space: FeatureSpace, address: PostgresAddress) -> None:
    try:
        connection.execute("SET LOCAL statement_timeout = 0")
        for migration in MIGRATIONS[version:]:
            connection.execute(migration.format(vector=COLUMN_TYPES[space.dtype], dim=space.dim))
        connection.execute(
            "INSERT INTO metadata VALUES ('schema_version', %s) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
            [str(len(MIGRATIONS))],
        )
    except errors.DuplicateTable as error:
        raise IndexStoreError(
            f"the schema {address.schema} at {address} has tables of another program: choose another with ?schema=NAME"
        ) from error


def _read_rows(connection: Connection, schema: str) -> dict[str, str] | None:
    """The metadata; None if the schema has no table of metadata."""
    (exists,) = _one(connection, "SELECT to_regclass(%s) IS NOT NULL", [f'"{schema}".metadata'])
    return dict(connection.execute(f'SELECT key, value FROM "{schema}".metadata').fetchall()) if exists else None


def _check_version(stored: dict[str, str], address: PostgresAddress, can_migrate: bool) -> int:
    try:
        version = int(stored["schema_version"])
    except (KeyError, ValueError) as error:
        raise IndexStoreError(
            f"the schema {address.schema} at {address} was not made by `alexnet index add`: choose another with "
            "?schema=NAME"
        ) from error
    if version > len(MIGRATIONS):
        raise IndexFormatError(
            f"the index at {address} has schema version {version}, but this program supports {len(MIGRATIONS)}: use a "
            "newer version of this program"
        )
    if version < len(MIGRATIONS) and not can_migrate:
        raise IndexFormatError(
            f"the index at {address} has schema version {version}, but this program needs {len(MIGRATIONS)}: open it "
            "once for writing, as `alexnet index restore` does"
        )
    return version


def _create_extension(connection: Connection, address: PostgresAddress) -> None:
    try:
        with connection.transaction():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except (errors.UndefinedFile, errors.FeatureNotSupported, errors.InsufficientPrivilege) as error:
        raise _extension_error(address) from error


def _check_extension(connection: Connection, address: PostgresAddress) -> None:
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None:
        raise _extension_error(address)
    if tuple(map(int, row[0].split(".")[:2])) < MIN_PGVECTOR:
        raise IndexStoreError(f"the database of {address} has pgvector {row[0]}: 0.8 or newer is needed")


def _extension_error(address: PostgresAddress) -> IndexStoreError:
    return IndexStoreError(
        f"the database of {address} has no pgvector: install it on the database's host, and have an administrator run "
        "CREATE EXTENSION vector"
    )


def _one(connection: Connection, statement: str, values: list[str] | None = None) -> tuple[bool, ...]:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return tuple(row)
