"""Index URIs, and the indexes that they open."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.backends import IndexUri, open_for_serving, open_or_create, open_readonly, open_writable
from index.milvus.collection import MilvusAddress
from index.postgres.address import PostgresAddress
from index.protocol import SupportsCodes, SupportsCompaction, SupportsGpu
from model.artifacts.artifact import Artifact
from model.exceptions import IndexNotFoundError, InvalidRequestError


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("indexes/cats/1", Path("indexes/cats/1")),
        ("/data/milvus", Path("/data/milvus")),
        ("milvus://milvus.example:19530/images", MilvusAddress("http://milvus.example:19530", "images")),
        ("postgresql://host/db", PostgresAddress("postgresql://host/db", "alexnet", "postgresql://host/db")),
        ("postgres:///db?schema=a_1", PostgresAddress("postgres:///db", "a_1", "postgres:///db?schema=a_1")),
        (
            "postgresql://me@a:5433,b/db?sslmode=require&schema=x&host=%2Ftmp",
            PostgresAddress(
                "postgresql://me@a:5433,b/db?sslmode=require&host=%2Ftmp",
                "x",
                "postgresql://me@a:5433,b/db?sslmode=require&schema=x&host=%2Ftmp",
            ),
        ),
        ("milvus:images.db", MilvusAddress("images.db", "images")),
        ("milvus:/data/images.db", MilvusAddress("/data/images.db", "images")),
        ("milvus://host/name.db", MilvusAddress("http://host", "name.db")),
    ],
)
def test_an_index_uri(text: str, location: Path | PostgresAddress | MilvusAddress) -> None:
    uri = IndexUri.parse(text)
    assert uri.location == location
    assert str(uri) == text
    assert uri.folder == (location if isinstance(location, Path) else None)


@pytest.mark.parametrize(
    "text", ["milvus:", "milvus://host:19530", "milvus://host/a/b", "milvus:host/a", "milvus:///a"]
)
def test_an_incomplete_milvus_address(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="give milvus://HOST:PORT/COLLECTION or"):
        IndexUri.parse(text)


@pytest.mark.parametrize(
    "text", ["postgresql://host", "postgresql://host/", "postgresql://host/a/b", "postgresql://h/a?schema=b&schema=c"]
)
def test_an_incomplete_postgresql_address(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="give postgresql://USER@HOST:PORT/DATABASE, with"):
        IndexUri.parse(text)


@pytest.mark.parametrize("schema", ["", "pg_catalog", "A", "a-b", 'a"', "a" * 64])
def test_an_invalid_schema(schema: str) -> None:
    with pytest.raises(InvalidRequestError, match="invalid schema"):
        IndexUri.parse(f"postgresql://host/db?schema={schema}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("milvus://me:s3cr:e@t@host:19530/images", "milvus://me:***@host:19530/images"),
        ("milvus://s3cret@host/images", "milvus://***@host/images"),
        ("postgresql://me:s3cr:e@t@host/images", "postgresql://me:***@host/images"),
    ],
)
def test_a_password_is_never_shown(text: str, shown: str) -> None:
    """Neither in logs and responses, which have the URI, nor in messages."""
    uri = IndexUri.parse(text)
    assert str(uri) == shown
    assert "3cr" not in repr(uri)
    with pytest.raises(InvalidRequestError) as raised:
        IndexUri.parse(text.removesuffix("/images"))
    assert f"invalid index {shown.removesuffix('/images')!r}" in str(raised.value)


def test_a_password_elsewhere_in_an_address_is_never_shown() -> None:
    assert str(IndexUri.parse("postgresql://h/a?password=s3cret&x=1")) == "postgresql://h/a?password=***&x=1"
    with pytest.raises(InvalidRequestError, match=r"invalid index 'postgresql://me:\*\*\*@host/images'"):
        IndexUri.parse("postgresql://me:s3c/ret@host/images")
    with pytest.raises(InvalidRequestError, match=r"invalid index 'milvus://me:\*\*\*@host/images'"):
        IndexUri.parse("milvus://me:s3c/ret@host/images")
    assert str(IndexUri.parse("postgresql://h/a?Password=s3cret")) == "postgresql://h/a?Password=***"
    for name in ("pass%77ord", "%70assword", "ssl%50assword"):
        assert (
            str(IndexUri.parse(f"postgresql://h/a?x=1&{name}=s3=c?ret&y=2")) == f"postgresql://h/a?x=1&{name}=***&y=2"
        )
    assert "s3cret" not in str(IndexUri.parse("postgresql://h/a??x=1?password=s3cret"))


@pytest.mark.parametrize("scheme", ["pgsql", "POSTGRESQL", "postgresql+psycopg", "https", "Milvus"])
def test_an_address_of_an_unknown_kind_is_no_folder(scheme: str) -> None:
    """A folder of that name would show the password in messages and on the disk."""
    with pytest.raises(InvalidRequestError, match=r"unknown kind of index '[a-zA-Z+]+': give a folder") as raised:
        IndexUri.parse(f"{scheme}://me:s3cret@host/images")
    assert "s3cret" not in str(raised.value)


def test_a_missing_index(artifact: Artifact, tmp_path: Path) -> None:
    uri = IndexUri(tmp_path / "none")
    for attempt in (
        lambda: open_readonly(uri),
        lambda: open_writable(uri),
        lambda: open_for_serving(uri, artifact, read_only=False),
        lambda: open_for_serving(uri, artifact, read_only=True),
    ):
        with pytest.raises(IndexNotFoundError, match="no index at"):
            attempt()


def test_serving_an_index_that_another_process_changes(artifact: Artifact, tmp_path: Path) -> None:
    uri = IndexUri(tmp_path / "i")
    writer = open_or_create(uri, artifact)
    index, reason = open_for_serving(uri, artifact, read_only=False)
    assert not index.writable
    assert "another process" in reason
    index.close()
    writer.close()
    for read_only in (False, True):
        index, reason = open_for_serving(uri, artifact, read_only)
        assert (index.writable, reason, index.uri) == (not read_only, "", str(uri))
        index.close()


def test_an_index_in_a_folder_has_all_capabilities(artifact: Artifact, tmp_path: Path) -> None:
    index = open_or_create(IndexUri(tmp_path / "i"), artifact)
    for capability in (SupportsCodes, SupportsGpu, SupportsCompaction):
        assert isinstance(index, capability)
    index.close()
