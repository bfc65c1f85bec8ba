"""SQL indexes that differ from the table of images are found and rebuilt."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from index.catalog.catalog import Catalog
from index.folder.layout import CATALOG
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from tests.helpers.indexes import make_entry


def change_without(path: Path, sql_index: str, statement: str) -> None:
    """Change the catalog at `path` as if it had no such SQL index, which so becomes outdated."""
    with closing(sqlite3.connect(path)) as database:
        (definition,) = database.execute("SELECT * FROM sqlite_master WHERE name = ?", (sql_index,))
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_master WHERE name = ?", (sql_index,))
        database.commit()
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.execute("PRAGMA writable_schema = ON")
        database.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", definition)
        database.commit()


@pytest.mark.parametrize(
    ("sql_index", "statement"),
    [
        ("by_label", "UPDATE images SET removed = 1 WHERE id = 2"),
        ("by_label", "UPDATE images SET label = 'b' WHERE id = 2"),
        ("by_label", "DELETE FROM images WHERE id = 2"),
        ("by_sha256", "UPDATE images SET sha256 = 'x' WHERE id = 2"),
        ("by_key", "UPDATE images SET key = 'x' WHERE id = 2"),
    ],
)
def test_an_outdated_sql_index_is_rebuilt(artifact: Artifact, tmp_path: Path, sql_index: str, statement: str) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((3, 64), np.float32), [make_entry(n, "a", f"key {n}") for n in range(3)])
    index.close()
    change_without(tmp_path / "i" / CATALOG, sql_index, statement)
    with closing(Catalog(tmp_path / "i" / CATALOG)) as catalog:
        assert catalog.repair_sql_indexes() == [sql_index]
        assert catalog.repair_sql_indexes() == []
