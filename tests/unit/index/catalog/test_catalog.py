"""The catalog: damage and former formats are refused, and a reader needs no write permission."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.bulk_change import BulkChange
from index.catalog.catalog import Catalog
from index.catalog.schema import FORMAT
from index.entries import AddResult
from index.folder.layout import CATALOG
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts.artifact import Artifact
from model.exceptions import (
    IndexLockedError,
    IndexReplacedError,
    IndexStoreError,
    ReadOnlyIndexError,
    StorageFullError,
    UnknownImageError,
)
from tests.helpers.indexes import execute, features_at, make_entry, set_metadata


def test_a_damaged_catalog_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    FolderIndex.create(tmp_path / "i", artifact).close()
    (tmp_path / "i" / CATALOG).write_bytes(b"no database" * 1000)
    with pytest.raises(IndexStoreError, match="damaged"):
        FolderIndex.open(tmp_path / "i")


@pytest.mark.parametrize("writable", [False, True])
def test_a_former_format_is_rejected_and_left_alone(artifact: Artifact, tmp_path: Path, writable: bool) -> None:
    (tmp_path / "i").mkdir()
    database = sqlite3.connect(tmp_path / "i" / CATALOG)
    database.executescript("CREATE TABLE settings (key TEXT, value TEXT); CREATE TABLE images (id INTEGER);")
    database.close()
    before = (tmp_path / "i" / CATALOG).read_bytes()
    with pytest.raises(IndexStoreError, match="format that is no longer supported: build the index again"):
        FolderIndex.open(tmp_path / "i", writable)
    with pytest.raises(IndexStoreError, match="format that is no longer supported"):
        FolderIndex.create(tmp_path / "i", artifact)
    assert (tmp_path / "i" / CATALOG).read_bytes() == before


def test_a_missing_row_and_damaged_metadata_are_found_when_opening(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((3, 64), np.float32), [make_entry(n) for n in range(3)])
    index.close()
    execute(tmp_path / "i", "UPDATE metadata SET value = '0' WHERE key = 'crops'")
    with pytest.raises(IndexStoreError, match=r"metadata of the index at .* is damaged"):
        FolderIndex.open(tmp_path / "i")
    for changes, message in (
        ({"crops": "4", "feature_dim": "x"}, "metadata of the index at .* is damaged"),
        ({"feature_dim": "-1"}, "metadata of the index at .* is damaged"),
        ({"feature_dim": "999999999999"}, "metadata of the index at .* is damaged"),
        ({"feature_dim": "64", "crops": "4,99"}, "metadata of the index at .* is damaged"),
        ({"crops": "4", "generation": "-1"}, "metadata of the index at .* is damaged"),
        ({"generation": "1", "image_contract": "\33[2J\na"}, r", not '\\x1b\[2J\\na'"),
        (
            {"image_contract": artifact.manifest.image_contract, "feature_dim": "32"},
            "expected features of 64 numbers, got 32",
        ),
        ({"format": "\33[2J\n9"}, r"has format \\x1b\[2J\\n9, but only"),
        ({"feature_dim": "64", "format": "9"}, f"has format 9, but only {FORMAT} is supported"),
    ):
        set_metadata(tmp_path / "i", **changes)
        with pytest.raises(IndexStoreError, match=message):
            FolderIndex.create(tmp_path / "i", artifact)
    set_metadata(tmp_path / "i", format=FORMAT)
    execute(tmp_path / "i", "DELETE FROM images WHERE id = 2")
    with pytest.raises(
        IndexStoreError, match=r"rows are missing from the catalog .* \(the first is 1\): another program has"
    ):
        FolderIndex.open(tmp_path / "i")


def test_a_reader_needs_no_right_to_write(artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((1, 64), np.float32), [make_entry(0)])
    index.close()
    before = sorted(path.name for path in (tmp_path / "i").iterdir())
    monkeypatch.setattr("index.catalog.file.os.access", lambda *_: False)  # simulated: root may write anywhere
    reader = FolderIndex.open(tmp_path / "i")
    assert reader.search(Query(np.ones(64, np.float32), 1))[0].distance == 0
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == before
    reader.close()


def test_more_images_than_a_statement_has_parameters(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.catalog.file.MAX_PARAMETERS", 2)
    index = FolderIndex.create(tmp_path / "i", artifact)
    entries = [make_entry(n, key=f"key {n}") for n in range(5)]
    assert [added.id for added in index.add(np.ones((5, 64), np.float32), entries)] == [1, 2, 3, 4, 5]
    stored = index.catalog.find([entry.sha256 for entry in entries])
    assert [stored[entry.sha256].id for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.key for entry in index.catalog.lookup([5, 1, 9, 3])] == ["key 4", "key 0", "key 2"]
    index.close()


@pytest.fixture
def path(artifact: Artifact, tmp_path: Path) -> Path:
    """A closed index of five images at the distances 1 to 5 from zero, alternately labeled a and b."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1, 2, 3, 4, 5), [make_entry(n, "ab"[n % 2], key=f"key {n}") for n in range(5)])
    index.close()
    return tmp_path / "i"


@pytest.mark.parametrize(
    "change",
    [
        "label = 'b'", "label = NULL", "label = CAST(x'e1' AS TEXT)", "label = CAST('a' AS BLOB)", "key = 'key 9'",
        "sha256 = 'f'", "source = '/other.png'", "format = 'JPEG'", "width = 2", "height = 3", "removed = 1",
        "checksum = checksum + 1", "thumbnail_checksum = 0", "entry_checksum = 0", "row = 9",
    ],
)  # fmt: skip
def test_a_changed_entry_is_named_and_the_rest_is_served(path: Path, artifact: Artifact, change: str) -> None:
    execute(path, f"UPDATE images SET {change} WHERE id = 3")
    index = FolderIndex.create(path, artifact)
    assert index.damaged == {3: "its entry in the catalog doesn't match its checksum"}
    assert [neighbor.entry.id for neighbor in index.search(Query(np.zeros(64, np.float32), 9))] == [1, 2, 4, 5]
    assert [entry.id for entry in index.catalog.iter_entries()] == [1, 2, 4, 5]
    assert index.labels() == {"a": 2, "b": 2}
    for method in (index.entry, index.feature, index.catalog.thumbnail, index.catalog.sha256):
        with pytest.raises(UnknownImageError):
            method(3)
    with pytest.raises(IndexStoreError, match="the entry of image 3 is damaged"):
        index.catalog.change_many([3], BulkChange(relabel=True, label="c"))
    assert index.compact() == 1
    index.close()
    index = FolderIndex.open(path)
    assert index.verify() == {}
    assert [neighbor.entry.id for neighbor in index.search(Query(np.zeros(64, np.float32), 9))] == [1, 2, 4, 5]
    index.close()


@pytest.mark.parametrize("part", ["stored feature", "entry", "thumbnail"])
def test_what_is_damaged_is_replaced_as_its_error_says(path: Path, artifact: Artifact, part: str) -> None:
    if part == "stored feature":
        rows = bytearray((path / "features-1.f32").read_bytes())
        rows[2 * 64 * 4] ^= 1
        (path / "features-1.f32").write_bytes(rows)
    else:
        execute(path, f"UPDATE images SET {'width = 7' if part == 'entry' else 'thumbnail = 0'} WHERE id = 3")
    index = FolderIndex.create(path, artifact)
    read = index.feature if part == "stored feature" else index.catalog.thumbnail
    remedy = "delete it with `alexnet index compact`, then add it again"
    with pytest.raises(UnknownImageError, match=f"the {part} of image 3 is damaged: {remedy}$"):
        read(3)
    assert index.add(features_at(3), [make_entry(2)]) == [AddResult(3, "exists")]  # so it has to be deleted first
    assert index.compact() == 1
    ((image_id, status),) = [(result.id, result.status) for result in index.add(features_at(3), [make_entry(2)])]
    assert status == "added"
    assert index.search(Query(features_at(3)[0], 1))[0].entry.id == image_id
    assert len(read(image_id)) > 0
    assert index.verify() == {}
    index.close()


def test_a_page_is_full_although_entries_are_damaged(path: Path) -> None:
    execute(path, "UPDATE images SET width = 7 WHERE id < 4")
    index = FolderIndex.open(path)
    assert [entry.id for entry in index.catalog.page(0, 2)] == [4, 5]
    index.close()


def test_a_damaged_thumbnail_is_found_by_verify_and_never_sent(path: Path, artifact: Artifact) -> None:
    execute(path, "UPDATE images SET thumbnail = 'jpeh' WHERE id = 2")
    index = FolderIndex.create(path, artifact)
    assert index.damaged == {}
    with pytest.raises(UnknownImageError, match="the thumbnail of image 2 is damaged"):
        index.catalog.thumbnail(2)
    with pytest.raises(IndexStoreError, match="the thumbnail of image 2 is damaged"):
        index.catalog.page_to_copy(0, 5)
    assert index.verify() == {2: "its thumbnail doesn't match its checksum"}
    assert index.compact() == 1
    assert index.verify() == {}
    index.close()


def test_a_bit_of_a_lookup_table(path: Path, artifact: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite looks images up in copies of their columns, where a flipped bit is damage, too."""
    content = (path / CATALOG).read_bytes()
    sha256 = f"{3:064d}".encode()
    places = [n for n in range(len(content)) if content.startswith(sha256, n)]
    assert len(places) == 2  # the table and the SQL index
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        (path / CATALOG).write_bytes(damaged)
        with closing(sqlite3.connect(path / CATALOG)) as database:
            table = database.execute("SELECT sha256 FROM images NOT INDEXED WHERE id = 4").fetchone()[0]
        if table != sha256.decode():
            continue
        with pytest.raises(IndexStoreError, match=r"the SQL index by_sha256 of the catalog .* is damaged"):
            FolderIndex.open(path)
        index = FolderIndex.create(path, artifact)
        assert "by_sha256 of the catalog" in caplog.text
        assert index.catalog.find([sha256.decode()])[sha256.decode()].id == 4
        assert index.verify() == {}
        index.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON images BEGIN UPDATE images SET label = 'evil'; END",
        "CREATE VIEW v AS SELECT * FROM images",
        "CREATE TABLE more (a)",
        "DROP INDEX by_label",
        "ALTER TABLE images ADD COLUMN more",
    ],
)
def test_tables_and_triggers_of_others_are_refused(path: Path, statement: str) -> None:
    execute(path, statement)
    for writable in (False, True):
        with pytest.raises(IndexStoreError, match="tables, triggers or views that this program didn't create"):
            FolderIndex.open(path, writable)


def test_a_reader_leaves_the_log_of_a_writer(path: Path, artifact: Artifact) -> None:
    """Even if the writer's process has lost its locks, which reading and closing the open catalog's file drops.

    Otherwise the reader would take itself for the last one and delete the log: the writer's commits would be lost, and
    every other reader in the writer's process would get "disk I/O error".
    """
    index = FolderIndex.create(path, artifact)
    index.add(features_at(6), [make_entry(6)])
    (path / CATALOG).read_bytes()
    code = "import sys; from pathlib import Path; from index.folder.store import FolderIndex as I; "
    code += "i = I.open(Path(sys.argv[1])); print(len(i)); i.close()"
    command = [sys.executable, "-c", code, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "6\n"
    index.add(features_at(7), [make_entry(7)])
    reader = FolderIndex.open(path)
    assert len(reader) == 7
    reader.close()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7\n"
    index.close()


def test_a_deleted_log_is_noticed_before_a_change(path: Path, artifact: Artifact) -> None:
    index = FolderIndex.create(path, artifact)
    (path / f"{CATALOG}-wal").unlink()
    with pytest.raises(IndexReplacedError, match=r"catalog\.sqlite-wal is a different file, or gone"):
        index.update(1, "c")
    index.close()


def test_an_error_of_the_disk_or_its_rights_is_not_called_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(path / CATALOG, writable=False)
    for code, kind in {
        sqlite3.SQLITE_IOERR: IndexStoreError,
        sqlite3.SQLITE_CANTOPEN: IndexStoreError,
        sqlite3.SQLITE_READONLY: ReadOnlyIndexError,
        sqlite3.SQLITE_FULL: StorageFullError,
        sqlite3.SQLITE_BUSY: IndexLockedError,
    }.items():
        error = sqlite3.OperationalError("message")
        error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_X"
        index_error = catalog._index_error(error)
        assert type(index_error) is kind
        assert "damaged" not in str(index_error)
        assert (str(path) in str(index_error)) == (kind is IndexStoreError)  # a server's clients see the others
    usage = shutil.disk_usage(path)
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = 4874, "SQLITE_IOERR_SHMSIZE"
    for free, kind in ((10_000, StorageFullError), (1 << 30, IndexStoreError)):
        monkeypatch.setattr("index.catalog.file.shutil.disk_usage", lambda _, free=free: usage._replace(free=free))
        assert type(catalog._index_error(error)) is kind
    catalog.close()


def test_a_catalog_on_a_read_only_disk_is_not_read_beside_its_writer(
    path: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.catalog.file.os.access", lambda *_: False)
    reader = FolderIndex.open(path)
    assert reader.entry(1).label == "a"
    writer = FolderIndex.create(path, artifact)
    writer.update(1, "c")
    writer.close()
    with pytest.raises(IndexReplacedError, match=r"the index catalog has changed since it was opened"):
        reader.entry(1)
    reader.close()


def test_a_thumbnail_that_is_gone_is_damage(path: Path) -> None:
    """A flipped bit in a record's types can make it NULL."""
    with closing(sqlite3.connect(path / CATALOG, isolation_level=None)) as database:
        (schema,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'images'").fetchone()

        def set_schema(sql: str) -> None:
            database.execute("PRAGMA writable_schema = ON")
            database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'images'", (sql,))
            database.execute("PRAGMA writable_schema = RESET")

        set_schema(schema.replace("thumbnail BLOB NOT NULL", "thumbnail BLOB"))
        database.execute("UPDATE images SET thumbnail = NULL WHERE id = 2")
        set_schema(schema)
    index = FolderIndex.open(path)
    with pytest.raises(UnknownImageError, match="the thumbnail of image 2 is damaged"):
        index.catalog.thumbnail(2)
    assert index.verify() == {2: "its thumbnail doesn't match its checksum"}
    index.close()


def test_a_page_shorter_than_its_limit_repeats_no_image(artifact: Artifact, tmp_path: Path) -> None:
    with closing(FolderIndex.create(tmp_path / "i", artifact)) as index:
        index.add(np.ones((6, 64), np.float32), [make_entry(n) for n in range(6)])
        for image_id in range(1, 5):
            index.remove(image_id)
        assert [entry.id for entry in index.catalog.page(0, 3)] == [5, 6]


def test_a_compaction_that_would_leave_an_image_without_a_row_changes_nothing(
    artifact: Artifact, tmp_path: Path
) -> None:
    with closing(FolderIndex.create(tmp_path / "i", artifact)) as index:
        index.add(np.ones((3, 64), np.float32), [make_entry(n) for n in range(3)])
        with pytest.raises(IndexStoreError, match="is damaged: build the index again"):
            index.catalog.compact([1], [(0, 3)], 2)
        assert [entry.id for entry in index.catalog.page(0, 5)] == [1, 2, 3]
        assert index.catalog.metadata()["generation"] == "1"
