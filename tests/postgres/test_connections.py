"""Connections that die or wait, and indexes of codes whose build was disturbed: requests are still answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from index.backends import IndexUri, open_or_create, open_writable
from index.protocol import require_codes
from index.search import Query
from tests.helpers.backends import ZERO, entry, make_artifact
from tests.helpers.indexes import features_at
from tests.helpers.polling import wait_until
from tests.helpers.postgres import PostgresServer
from tests.postgres.test_postgres import COUNT, encoder, execute, features

psycopg = pytest.importorskip("psycopg", reason="pip install --group postgres-test")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'alexnet' AND wait_event_type = 'Lock'"


@pytest.fixture
def uri(postgres: PostgresServer) -> IndexUri:
    uri = IndexUri.parse(postgres.new_index())
    with closing(open_or_create(uri, make_artifact())) as index:
        index.add(features_at(1, 2, 3), [entry(n, "a") for n in range(3)])
    return uri


@contextmanager
def another_program(postgres: PostgresServer, uri: IndexUri, statement: str) -> Iterator[None]:
    """A transaction of another program, open until the block ends."""
    with psycopg.connect(postgres.uri) as connection:
        connection.execute(f"SET search_path = {uri.location.schema}, public")  # type: ignore[union-attr]
        connection.commit()
        connection.execute(statement)
        yield
        connection.rollback()


def num_waiting(postgres: PostgresServer, uri: IndexUri) -> int:
    return int(execute(postgres, uri, WAITING)[0][0])


def test_all_connections_have_died(postgres: PostgresServer, uri: IndexUri) -> None:
    """As after a database restart: the first request is answered all the same."""
    with closing(open_writable(uri)) as index, ThreadPoolExecutor(8) as pool:
        with another_program(postgres, uri, "LOCK TABLE images"):
            answers = [pool.submit(index.labels) for _ in range(8)]
            wait_until(lambda: num_waiting(postgres, uri) == 8)
        assert [answer.result() for answer in answers] == [{"a": 3}] * 8
        execute(
            postgres, uri, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'alexnet'"
        )
        began = time.monotonic()
        assert index.labels() == {"a": 3}
        assert time.monotonic() - began < 2


def test_changes_that_wait_leave_connections_for_searches(postgres: PostgresServer, uri: IndexUri) -> None:
    with closing(open_writable(uri)) as index, ThreadPoolExecutor(10) as pool:
        with another_program(postgres, uri, "SELECT FROM metadata FOR UPDATE"):
            changes = [pool.submit(index.update, 1 + n % 3, f"new {n}") for n in range(10)]
            wait_until(lambda: num_waiting(postgres, uri) > 0)
            for _ in range(8):
                assert len(index.search(Query(ZERO, 3))) == 3
                time.sleep(0.05)
        for change in changes:
            change.result()


def test_a_change_sees_what_was_committed_while_it_waited(postgres: PostgresServer, uri: IndexUri) -> None:
    """Also if the default isolation level of transactions is repeatable read."""
    strict = "options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    location: Any = uri.location
    given = IndexUri.parse(f"{location.connection_uri}&{strict}&schema={location.schema}")
    with closing(open_writable(given)) as first, closing(open_writable(given)) as second, ThreadPoolExecutor(2) as pool:
        with another_program(postgres, uri, "SELECT FROM metadata FOR UPDATE"):
            added = [pool.submit(index.add, features_at(4), [entry(9)]) for index in (first, second)]
            wait_until(lambda: num_waiting(postgres, uri) == 2)
        statuses = [result.status for future in added for result in future.result()]
        assert sorted(statuses) == ["added", "exists"]


def index_is_valid(postgres: PostgresServer, uri: IndexUri) -> bool:
    statement = (
        "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        f"WHERE relname LIKE 'codes%hnsw' AND relnamespace = '{uri.location.schema}'::regnamespace"  # type: ignore[union-attr]
    )
    return execute(postgres, uri, statement) == [(True,)]


def test_servers_that_start_at_the_same_time_build_one_index_of_codes(postgres: PostgresServer, uri: IndexUri) -> None:
    with ExitStack() as stack:
        indexes = [stack.enter_context(closing(open_writable(uri))) for _ in range(4)]
        indexes[0].add(features(), [entry(n) for n in range(100, 100 + COUNT)])
        pool = stack.enter_context(ThreadPoolExecutor(4))
        for done in [pool.submit(require_codes(index).set_encoder, encoder()) for index in indexes]:
            done.result()
        assert index_is_valid(postgres, uri)
        for index in indexes:
            assert len(index.search(Query(ZERO, 3, mode="binary"))) == 3


def test_an_index_of_codes_whose_build_was_interrupted_is_built_again(postgres: PostgresServer, uri: IndexUri) -> None:
    for is_interrupted in (True, False):
        with closing(open_writable(uri)) as index:
            require_codes(index).set_encoder(encoder())
        assert index_is_valid(postgres, uri)
        if is_interrupted:
            execute(
                postgres,
                uri,
                "UPDATE pg_index SET indisvalid = false FROM pg_class "
                "WHERE pg_class.oid = indexrelid AND relname LIKE 'codes%hnsw'",
            )
            assert not index_is_valid(postgres, uri)
