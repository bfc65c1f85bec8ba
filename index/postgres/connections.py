"""Database: a bounded pool of connections with time limits, and PostgreSQL's errors as this program's exceptions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg_pool
from psycopg import errors

from index.postgres import vectors
from index.postgres.address import PostgresAddress
from model.exceptions import (
    IndexLockedError,
    IndexReplacedError,
    IndexStoreError,
    IndexUnavailableError,
    InvalidRequestError,
    ReadOnlyIndexError,
    StorageFullError,
)

MAX_CONNECTIONS = 8
WAIT_SECONDS = 3
"""How long a request waits for a connection of the pool, and how long connecting to the database may take."""
LOST_CONNECTION_TIMEOUT_SECONDS = 0.2
"""How long a request waits after another has waited in vain, so that requests don't occupy all threads."""
RECONNECT_SECONDS = 5
"""How long the pool tries to connect before it gives up; the next request then starts another attempt at once."""
DEFAULTS: dict[str, Any] = {
    "application_name": "alexnet",
    "connect_timeout": WAIT_SECONDS,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""Used unless the address sets them; a host that vanishes is noticed within seconds."""
LOCK_SECONDS = 10
"""How long a change waits for another one."""
SESSION_SETTINGS = {
    "statement_timeout": "60s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read committed",  # a change sees what was committed while it waited for its turn
}

Cursor = psycopg.Cursor[Any]
Connection = psycopg.Connection[Any]


class Database:
    """The connections of one index. Any thread may use it. Raises IndexStoreError if there is no connection."""

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self._pool = psycopg_pool.ConnectionPool(
            address.connection_uri,
            kwargs=connection_options(address),
            configure=lambda connection: configure(connection, address.schema),
            min_size=1,
            max_size=MAX_CONNECTIONS,
            timeout=WAIT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            open=True,
        )
        self._is_lost = False

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """A cursor; each statement sees everything that was acknowledged before it."""
        with translate_errors(self.address), self._connection() as connection:
            yield connection.cursor(binary=True)

    @contextmanager
    def transaction(self, time_limit: bool = True) -> Iterator[Cursor]:
        """A cursor in a transaction that is durable when the block ends. Without `time_limit`, it may take long."""
        with translate_errors(self.address), self._connection() as connection, connection.transaction():
            cursor = connection.cursor(binary=True)
            if not time_limit:
                cursor.execute("SET LOCAL statement_timeout = 0")
            yield cursor

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection from the pool that has just answered."""
        try:
            connection = self._take_connection(LOST_CONNECTION_TIMEOUT_SECONDS if self._is_lost else WAIT_SECONDS)
        except psycopg.OperationalError:
            self._is_lost = True
            raise
        self._is_lost = False
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def _take_connection(self, seconds: float) -> Connection:
        """A connection that has just answered. After a restart of the database the whole pool may be dead: the next
        connection is tried at once, whereas the pool's own check would pause."""
        deadline = time.monotonic() + seconds
        while True:
            connection = self._pool.getconn(deadline - time.monotonic())
            try:
                self._pool.check_connection(connection)
            except BaseException as error:
                self._pool.putconn(connection)
                if not isinstance(error, psycopg.OperationalError):
                    raise
            else:
                return connection

    @contextmanager
    def autocommit_connection(self) -> Iterator[Connection]:
        """A separate connection without time limits, for statements that can't run in a transaction."""
        with translate_errors(self.address), connect(self.address) as connection:
            configure(connection, self.address.schema)
            connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
            yield connection

    def close(self) -> None:
        self._pool.close()


def connection_options(address: PostgresAddress) -> dict[str, Any]:
    """Options of a connection; those in the address take precedence. Raises InvalidRequestError."""
    try:
        given = psycopg.conninfo.conninfo_to_dict(address.connection_uri)
    except psycopg.ProgrammingError as error:
        known = "invalid URI query parameter" in str(error)  # other messages could repeat the password
        reason = f": {str(error).strip()}" if known else ", or one of its characters must be written as %XX"
        raise InvalidRequestError(f"invalid index {address}{reason}") from None
    return {name: value for name, value in DEFAULTS.items() if name not in given} | {
        "autocommit": True,
        "prepare_threshold": None,  # no prepared statements: plans see the parameters, poolers keep nothing
    }


def connect(address: PostgresAddress) -> Connection:
    """Connect, without retries. Raises IndexUnavailableError with the reason, or InvalidRequestError."""
    options = connection_options(address)
    try:
        return psycopg.connect(address.connection_uri, **options)
    except psycopg.OperationalError as error:
        raise IndexUnavailableError(f"can't connect to the index at {address}: {_first_line(error)}") from None


def configure(connection: Connection, schema: str) -> None:
    """Set a session's limits and search path, and register how features and codes are sent."""
    settings = dict(SESSION_SETTINGS)
    extension = vectors.register(connection)
    settings["search_path"] = f'"{schema}", "{extension or "public"}", pg_catalog'
    connection.execute("SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(settings)), sum(settings.items(), ()))
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )


@contextmanager
def translate_errors(address: PostgresAddress) -> Iterator[None]:
    """Raise PostgreSQL's errors as this program's exceptions. Their full text goes only to the log, as the cause."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, address) from error


def translate(error: psycopg.Error, address: PostgresAddress) -> Exception:
    """This program's exception for a PostgreSQL error."""
    match error:
        case errors.DiskFull():
            return StorageFullError("the disk of the index's database is full; nothing was changed")
        case errors.LockNotAvailable() | errors.DeadlockDetected() | errors.SerializationFailure():
            return IndexLockedError("another program is changing the index; nothing was changed: try again")
        case errors.ProgramLimitExceeded() | psycopg.DataError():
            return InvalidRequestError(f"the database can't store this: {_first_line(error)}")
        case errors.QueryCanceled():
            return IndexUnavailableError("the index's database took too long: try again later")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return IndexUnavailableError("the index's database does not answer: try again in a moment")
        case errors.InsufficientPrivilege() | errors.ReadOnlySqlTransaction():
            return ReadOnlyIndexError(f"the index can only be read here: {_first_line(error)}")
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.InvalidSchemaName():
            return IndexReplacedError("the index or its codes were replaced: open it again, or reload the server")
        case _:
            return IndexStoreError(f"the index at {address} can't be used: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".;:")
