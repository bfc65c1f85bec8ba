"""An index on PostgreSQL: answers equal to a folder's, codes, schema versions, roles. What all indexes do is tested in
tests/contract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.code_training import make_codes
from index.backends import IndexUri, open_for_serving, open_or_create, open_readonly, open_writable
from index.feature_space import RowDType
from index.merge import merge
from index.protocol import Index, SupportsCodes, SupportsCompaction, SupportsGpu, require_codes, require_compaction
from index.search import NearestIds, Position, Query, SearchMode
from model.encoder import Encoder
from model.exceptions import (
    IndexFormatError,
    IndexNotFoundError,
    IndexStoreError,
    IndexUnavailableError,
    InvalidRequestError,
    ReadOnlyIndexError,
    UnknownImageError,
)
from tests.helpers.backends import ZERO, entry, make_artifact, search_ids
from tests.helpers.indexes import DIM, features_at
from tests.helpers.postgres import PostgresServer

psycopg = pytest.importorskip("psycopg", reason="pip install --group postgres-test")
COUNT = 400


@pytest.fixture
def uri(postgres: PostgresServer) -> IndexUri:
    return IndexUri.parse(postgres.new_index())


def schema_of(uri: IndexUri) -> str:
    schema: str = uri.location.schema  # type: ignore[union-attr]
    return schema


def execute(postgres: PostgresServer, uri: IndexUri, statement: str) -> list[Any]:
    """Run a statement as another program would."""
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema_of(uri)}, public")
        cursor = connection.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def features() -> Any:
    """Features like a ReLU's; 20 are repeated exactly, and nearly: from afar, float32 can't tell them apart."""
    rows = np.random.default_rng(0).exponential(20, (COUNT, DIM)).astype(np.float32)
    rows[100:120] = rows[:20]
    rows[120:140] = np.nextafter(rows[:20], np.float32(np.inf))
    return rows


class StubEncoder:
    """Random hyperplanes, in place of an encoder.onnx."""

    def __init__(self, bits: int, seed: int = 0) -> None:
        self.coder, self.bits, self.bytes, self.dim = "planes", bits, (bits + 7) // 8, DIM
        self.sha256 = f"{seed:02d}{bits:062d}"
        self._planes = np.random.default_rng(seed).normal(size=(DIM, bits))

    def encode(self, rows: Any) -> Any:
        return np.packbits((rows - 20) @ self._planes > 0, axis=1)


def encoder(bits: int = 64, seed: int = 0) -> Encoder:
    return StubEncoder(bits, seed)  # type: ignore[return-value]


@pytest.fixture(params=["float32", "float16"])
def pair(request: pytest.FixtureRequest, uri: IndexUri, tmp_path: Path) -> Iterator[tuple[Index, Index]]:
    """The same images in a folder and on PostgreSQL, some of them removed."""
    dtype: RowDType = request.param
    indexes = [open_or_create(one, make_artifact(), dtype) for one in (IndexUri(tmp_path / "index"), uri)]
    for index in indexes:
        index.add(features(), [entry(n, "abc"[n % 3]) for n in range(COUNT)])
        for image_id in (5, 101, 399):
            index.remove(image_id)
    yield indexes[0], indexes[1]
    for index in indexes:
        index.close()


def test_answers_equal_those_of_a_folder(pair: tuple[Index, Index]) -> None:
    folder, postgres = pair
    rows = features()
    queries = [Query(rows[n], 30) for n in (0, 7, 119, 130)] + [Query(rows[3] + 1, 8, "b")]
    queries += [
        Query(ZERO, 401),
        Query(rows[9], 10, max_distance=float(folder.search(Query(rows[9], 9))[-1].distance)),
        Query(rows[2], 10, "a", Position(3, folder.search(Query(rows[2], 3, "a"))[-1].distance, 1)),
    ]
    for query, expected, actual in zip(queries, folder.search_ids(queries), postgres.search_ids(queries), strict=True):
        np.testing.assert_array_equal(actual.ids, expected.ids, str(query))
        np.testing.assert_allclose(actual.distances, expected.distances, rtol=1e-12)
    for image_id in (1, 120, 400):
        np.testing.assert_array_equal(postgres.feature(image_id), folder.feature(image_id))


@pytest.mark.parametrize(("mode", "bits"), [("binary", 64), ("binary", 30), ("hash_lookup", 12)])
def test_codes_find_what_those_of_a_folder_find(pair: tuple[Index, Index], mode: SearchMode, bits: int) -> None:
    """They also find images without a code, added by a program that doesn't know the encoder."""
    for index in pair:
        require_codes(index).set_encoder(encoder(bits))
        index.add(features()[:3] + 1, [entry(n, "b") for n in range(COUNT, COUNT + 3)])
        index.remove(8)
        index.restore(5)
    other = open_writable(IndexUri.parse(pair[1].uri))
    for changed in (pair[0], other):
        changed.add(features()[:3] + 2, [entry(n, "c") for n in range(COUNT + 3, COUNT + 6)])
        changed.remove(7)
    other.close()
    k = 12 if mode == "binary" else 2 * COUNT
    queries = [Query(row, k, label, mode=mode) for row in features()[:6] + 1 for label in (None, "b")]
    results = [index.search_ids(queries) for index in pair]
    for expected, actual in zip(*results, strict=True):
        if mode == "hash_lookup":  # images without a code are always found
            actual = NearestIds(*(column[np.isin(actual.ids, expected.ids)] for column in actual))
        assert len(expected.ids)
        np.testing.assert_array_equal(actual.ids, expected.ids)


def test_codes_that_were_trained_are_made_for_all_readers(uri: IndexUri, monkeypatch: pytest.MonkeyPatch) -> None:
    """`alexnet codes train` makes them; before, only a server did, when it started."""
    monkeypatch.setattr(Encoder, "of", lambda _: encoder())
    with closing(open_or_create(uri, make_artifact())) as index:
        index.add(features()[:8], [entry(n, "a") for n in range(8)])
    assert make_codes(uri, make_artifact())
    with closing(open_readonly(uri)) as reader:
        require_codes(reader).set_encoder(encoder())
        assert require_codes(reader).encoder is not None
        assert len(reader.search_ids([Query(features()[0], 3, mode="binary")])[0].ids) == 3


def test_codes_are_of_the_features_that_are_stored(postgres: PostgresServer) -> None:
    """Also in float16: codes that are made when images are added equal codes that are made later."""
    from index.postgres.codes import codes_table

    codes = []
    for is_set_first in (True, False):
        uri = IndexUri.parse(postgres.new_index())
        index = open_or_create(uri, make_artifact(), "float16")
        if is_set_first:
            require_codes(index).set_encoder(encoder())
        index.add(features(), [entry(n) for n in range(COUNT)])
        require_codes(index).set_encoder(encoder())
        index.close()
        table = codes_table(encoder().sha256)
        codes.append(execute(postgres, uri, f"SELECT id, code::text FROM {table} ORDER BY id"))
    assert len(codes[0]) == COUNT
    assert codes[0] == codes[1]


def test_another_encoder_replaces_the_codes(postgres: PostgresServer, uri: IndexUri) -> None:
    writer, reader = open_or_create(uri, make_artifact()), open_readonly(uri)
    writer.add(features_at(1, 2, 3), [entry(n) for n in range(3)])
    for index in (writer, reader):
        require_codes(index).set_encoder(encoder(16))
    assert search_ids(writer) == [1, 2, 3]
    for index in (writer, reader):
        assert [n.entry.id for n in index.search(Query(ZERO, 2, mode="binary"))] == [1, 2]
        with pytest.raises(InvalidRequestError, match="has the label 'x'"):
            index.search(Query(ZERO, 2, "x", mode="binary"))
    other = open_readonly(uri)
    for bits in (16, 24):
        require_codes(other).set_encoder(encoder(bits))
    with pytest.raises(InvalidRequestError, match="needs binary codes"):
        other.search(Query(ZERO, 2, mode="binary"))
    require_codes(writer).set_encoder(encoder(24, 1))
    assert len(writer.search(Query(ZERO, 2, mode="binary"))) == 2
    with pytest.raises(IndexStoreError, match="open it again"):
        reader.search(Query(ZERO, 2, mode="binary"))
    late = open_readonly(uri)
    require_codes(late).set_encoder(encoder(16))
    with pytest.raises(InvalidRequestError, match="needs binary codes"):
        late.search(Query(ZERO, 2, mode="binary"))
    with pytest.raises(InvalidRequestError, match="needs binary codes"):
        open_and_search(uri)
    tables = execute(postgres, uri, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'codes%' "
                     f"AND schemaname = '{schema_of(uri)}'")  # fmt: skip
    assert tables == [(1,)]
    for index in (writer, reader, other, late):
        index.close()


def open_and_search(uri: IndexUri) -> None:
    index = open_readonly(uri)
    try:
        index.search(Query(ZERO, mode="hash_lookup"))
    finally:
        index.close()


def test_verified_and_compacted(postgres: PostgresServer, uri: IndexUri) -> None:
    index = open_or_create(uri, make_artifact(), "float16")
    index.add(features_at(1, 2, 3, 4), [entry(n) for n in range(4)])
    assert require_compaction(index).verify() == {}
    execute(postgres, uri, "UPDATE images SET thumbnail = 'other' WHERE id = 2")
    execute(postgres, uri, "UPDATE images SET feature_checksum = 0 WHERE id = 4")
    for read, what in ((lambda: index.catalog.thumbnail(2), "thumbnail of image 2"), (lambda: index.feature(4), "4")):
        with pytest.raises(UnknownImageError, match=f"{what} is damaged"):
            read()
    assert require_compaction(index).verify() == {
        2: "its thumbnail doesn't match its checksum", 4: "its feature doesn't match its checksum"
    }  # fmt: skip
    index.remove(1)
    assert require_compaction(index).compact() == 3
    assert [e.id for e in index.catalog.iter_entries()] == [3]
    assert index.add(features_at(9), [entry(0)])[0].id == 5  # no id is used twice
    index.close()


def test_damaged_images_are_not_merged(postgres: PostgresServer, uri: IndexUri, tmp_path: Path) -> None:
    """Otherwise, their checksums in the other index would make them look intact."""
    for column in ("feature_checksum", "thumbnail_checksum"):
        with closing(open_or_create(uri, make_artifact())) as index:
            index.add(features_at(1, 2), [entry(n) for n in range(2)])
        execute(postgres, uri, f"UPDATE images SET {column} = {column} + 1 WHERE id = 2")
        with pytest.raises(IndexStoreError, match=f"{re.escape(str(uri))} has 1 damaged image, such as 2"):
            merge(IndexUri(tmp_path / column), [uri])
        assert not (tmp_path / column).exists()
        execute(postgres, uri, f"UPDATE images SET {column} = {column} - 1 WHERE id = 2")


def test_capabilities(uri: IndexUri) -> None:
    index = open_or_create(uri, make_artifact())
    assert isinstance(index, SupportsCodes)
    assert isinstance(index, SupportsCompaction)
    assert not isinstance(index, SupportsGpu)
    index.close()


def test_there_is_no_index(uri: IndexUri, postgres: PostgresServer) -> None:
    for attempt in (open_readonly, open_writable):
        with pytest.raises(IndexNotFoundError, match="no index at postgresql://postgres@/postgres"):
            attempt(uri)
    assert execute(postgres, uri, f"SELECT to_regnamespace('{schema_of(uri)}') IS NULL") == [(True,)]


def test_no_server() -> None:
    with pytest.raises(IndexUnavailableError, match=r"can't connect to the index at postgresql://me:\*\*\*@") as raised:
        open_readonly(IndexUri.parse("postgresql://me:s3cret@/images?host=/nowhere"))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE metadata SET value = '99' WHERE key = 'schema_version'",
            "schema version 99, but this program supports",
        ),
        ("DELETE FROM metadata WHERE key = 'schema_version'", "was not made by `alexnet index add`"),
        ("DELETE FROM metadata WHERE key = 'crops'", "metadata of the index .* is damaged"),
        ("UPDATE metadata SET value = 'old' WHERE key = 'image_contract'", "isn't supported by this version"),
    ],
)
def test_a_schema_that_this_program_does_not_know(
    postgres: PostgresServer, uri: IndexUri, statement: str, message: str
) -> None:
    open_or_create(uri, make_artifact()).close()
    execute(postgres, uri, statement)
    with pytest.raises(IndexStoreError, match=message):
        open_or_create(uri, make_artifact())
    with pytest.raises(IndexStoreError, match=message):
        open_readonly(uri)


def test_migrated_when_opened_for_writing(uri: IndexUri, monkeypatch: pytest.MonkeyPatch) -> None:
    from index.postgres import schema

    index = open_or_create(uri, make_artifact())
    index.add(features_at(1), [entry(0)])
    index.close()
    later = (*schema.MIGRATIONS, "ALTER TABLE images ADD COLUMN rating integer; CREATE INDEX ON images (rating)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*later, "SELECT 1 / 0"))
    with pytest.raises(IndexFormatError, match="has schema version 1, but this program needs 3"):
        open_readonly(uri)
    with pytest.raises(InvalidRequestError, match="division by zero"):
        open_writable(uri)
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    index = open_writable(uri)
    assert search_ids(index) == [1]
    index.close()
    open_readonly(uri).close()
    monkeypatch.undo()
    with pytest.raises(IndexFormatError, match="schema version 2, but this program supports 1"):
        open_writable(uri)


def test_tables_of_another_program(postgres: PostgresServer, uri: IndexUri) -> None:
    execute(postgres, uri, f"CREATE SCHEMA {schema_of(uri)}; CREATE TABLE {schema_of(uri)}.images (id int)")
    with pytest.raises(IndexStoreError, match="has tables of another program: choose another"):
        open_or_create(uri, make_artifact())
    assert execute(postgres, uri, "SELECT count(*) FROM images") == [(0,)]


def test_a_role_that_may_only_read(postgres: PostgresServer, uri: IndexUri) -> None:
    index = open_or_create(uri, make_artifact())
    index.add(features_at(1, 2), [entry(0), entry(1)])
    schema = schema_of(uri)
    execute(postgres, uri, f"CREATE ROLE r{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO r{schema};"
                           f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO r{schema}")  # fmt: skip
    reading = IndexUri.parse(str(uri).replace("postgres@", f"r{schema}@"))
    with pytest.raises(ReadOnlyIndexError, match="may only read"):
        open_writable(reading)
    served, reason = open_for_serving(reading, make_artifact(), read_only=False)
    assert (served.writable, search_ids(served)) == (False, [1, 2])
    assert "may only read" in reason
    new = IndexUri.parse(postgres.new_index().replace("postgres@", f"r{schema}@"))
    with pytest.raises(ReadOnlyIndexError, match="permission denied"):
        open_or_create(new, make_artifact())
    for one in (index, served):
        one.close()


def test_a_database_without_pgvector(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
        connection.execute("CREATE ROLE visitor LOGIN")
    uri = postgres.new_index().replace("/postgres?", "/bare?").replace("postgres@", "visitor@")
    with pytest.raises(IndexStoreError, match=r"has no pgvector: install it .* CREATE EXTENSION vector"):
        open_or_create(IndexUri.parse(uri), make_artifact())


def test_replaced_by_another_network_while_it_is_open(postgres: PostgresServer, uri: IndexUri) -> None:
    index = open_or_create(uri, make_artifact())
    execute(postgres, uri, f"DROP SCHEMA {schema_of(uri)} CASCADE")
    with pytest.raises(ReadOnlyIndexError, match="open it again"):
        index.add(features_at(1), [entry(0)])
    other = open_or_create(uri, make_artifact("b" * 64))
    with pytest.raises(IndexStoreError, match="another network"):
        index.add(features_at(1), [entry(0)])
    with pytest.raises(IndexStoreError, match="a different network"):
        open_or_create(uri, make_artifact())
    assert len(other) == 0
    for one in (index, other):
        one.close()


def test_text_that_postgres_does_not_take(uri: IndexUri) -> None:
    """Such an image is refused, and the next one is added."""
    index = open_or_create(uri, make_artifact())
    for bad in ("a\0b", "ö" * 200_000):
        with pytest.raises(InvalidRequestError, match="can't store this"):
            index.add(features_at(1), [replace(entry(0), label=bad)])
    assert index.add(features_at(1), [entry(0, "good")])[0].status == "added"
    index.close()
