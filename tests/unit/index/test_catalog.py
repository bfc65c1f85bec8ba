"""The catalog: damage and former formats are refused, and a reader needs no right to write."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from index.search import Query
from index.store import CATALOG, ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError
from tests.helpers.indexes import make_entry


def test_a_damaged_catalog_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    ImageIndex.create(tmp_path / "i", artifact).close()
    (tmp_path / "i" / CATALOG).write_bytes(b"no database" * 1000)
    with pytest.raises(IndexStoreError, match="damaged"):
        ImageIndex.open(tmp_path / "i")


@pytest.mark.parametrize("writable", [False, True])
def test_a_former_format_is_rejected_and_left_alone(artifact: Artifact, tmp_path: Path, writable: bool) -> None:
    (tmp_path / "i").mkdir()
    database = sqlite3.connect(tmp_path / "i" / CATALOG)
    database.executescript("CREATE TABLE settings (key TEXT, value TEXT); CREATE TABLE images (id INTEGER);")
    database.close()
    before = (tmp_path / "i" / CATALOG).read_bytes()
    with pytest.raises(IndexStoreError, match="format that is no longer read: build the index again"):
        ImageIndex.open(tmp_path / "i", writable)
    with pytest.raises(IndexStoreError, match="format that is no longer read"):
        ImageIndex.create(tmp_path / "i", artifact)
    assert (tmp_path / "i" / CATALOG).read_bytes() == before


def test_a_missing_row_and_damaged_metadata_are_found_when_opening(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((3, 64), np.float32), [make_entry(n) for n in range(3)])
    index.close()
    for damage, message in {
        "DELETE FROM metadata WHERE key = 'crops'": "damaged",
        "INSERT OR REPLACE INTO metadata VALUES ('crops', '4'), ('feature_dim', 'x')": "damaged",
        "INSERT OR REPLACE INTO metadata VALUES ('feature_dim', '32')": "expected features of 64 numbers, got 32",
        "INSERT OR REPLACE INTO metadata VALUES ('feature_dim', '64'), ('format', '9')": "only 3 is read",
        "INSERT OR REPLACE INTO metadata VALUES ('format', '3')": "",
        "DELETE FROM images WHERE id = 2": "1 rows are missing",
    }.items():
        database = sqlite3.connect(tmp_path / "i" / CATALOG)
        with database:
            database.execute(damage)
        database.close()
        if message:
            with pytest.raises(IndexStoreError, match=message):
                ImageIndex.create(tmp_path / "i", artifact)


def test_a_reader_needs_no_right_to_write(artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((1, 64), np.float32), [make_entry(0)])
    index.close()
    before = sorted(path.name for path in (tmp_path / "i").iterdir())
    monkeypatch.setattr("index.catalog.os.access", lambda *_: False)  # root may write anywhere, so it is only said
    reader = ImageIndex.open(tmp_path / "i")
    assert reader.search(Query(np.ones(64, np.float32), 1))[0].distance == 0
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == before
    reader.close()


def test_more_images_than_a_statement_has_parameters(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.catalog.MAX_PARAMETERS", 2)
    index = ImageIndex.create(tmp_path / "i", artifact)
    entries = [make_entry(n, key=f"key {n}") for n in range(5)]
    assert [added.id for added in index.add(np.ones((5, 64), np.float32), entries)] == [1, 2, 3, 4, 5]
    stored = index.catalog.find([entry.sha256 for entry in entries])
    assert [stored[entry.sha256].id for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.key for entry in index.catalog.lookup([5, 1, 9, 3])] == ["key 4", "key 0", "key 2"]
    index.close()
