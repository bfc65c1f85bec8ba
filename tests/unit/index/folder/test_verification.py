"""A large index opens before its rows are compared with their checksums, but never returns a damaged row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index.catalog.rows import read_rows
from index.export import export_features
from index.folder.layout import CATALOG
from index.folder.store import FolderIndex
from index.folder.verification import BackgroundCheck
from index.search import Query
from model.artifacts.artifact import Artifact
from model.exceptions import UnknownImageError
from tests.helpers.indexes import execute, features_at, make_entry

FEATURES = "features-1.f32"
ROW_BYTES = 64 * 4


@pytest.fixture(autouse=True)
def every_index_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.folder.damage_check.MAX_ROWS_VERIFIED_AT_ONCE", 0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the background check from starting."""
    monkeypatch.setattr(BackgroundCheck, "start", lambda self: None)


@pytest.fixture
def path(artifact: Artifact, tmp_path: Path) -> Path:
    """A closed index of nine images at the distances 1 to 9 from zero."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(*range(1, 10)), [make_entry(n, f"{'ab'[n % 2]} label") for n in range(9)])
    index.close()
    return tmp_path / "i"


def damage_rows(path: Path, *rows: int) -> None:
    """Flip the lowest bit of one number in each of these rows."""
    content = bytearray((path / FEATURES).read_bytes())
    for row in rows:
        content[row * ROW_BYTES + 40] ^= 1
    (path / FEATURES).write_bytes(content)


def search_ids(index: FolderIndex, k: int = 9) -> list[int]:
    return [neighbor.entry.id for neighbor in index.search(Query(np.zeros(64, np.float32), k))]


@pytest.mark.usefixtures("unchecked")
def test_rows_are_verified_before_they_are_first_returned(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage_rows(path, 0, 4, 8)
    execute(path, "UPDATE images SET width = 7 WHERE id = 3")
    index = FolderIndex.open(path)
    assert (index.damaged, index.num_unverified) == ({}, 9)
    assert search_ids(index, 2) == [2, 4]
    assert set(index.damaged) == {1, 3}
    assert index.num_unverified == 5
    assert "images of the index at" in caplog.text
    assert "(its row doesn't match its checksum)" in caplog.text
    with pytest.raises(UnknownImageError, match="the stored feature of image 5 is damaged"):
        index.feature(5)
    assert search_ids(index) == [2, 4, 6, 7, 8]
    assert set(index.damaged) == {1, 3, 5, 9}
    index.close()


@pytest.mark.usefixtures("unchecked")
def test_many_damaged_rows_one_after_the_other(path: Path) -> None:
    damage_rows(path, *range(8))
    index = FolderIndex.open(path)
    assert search_ids(index, 1) == [9]
    index.close()


@pytest.mark.usefixtures("unchecked")
def test_a_batch_of_queries_returns_no_damaged_row(path: Path) -> None:
    damage_rows(path, 1)
    index = FolderIndex.open(path)
    results = index.search_ids([Query(features_at(distance)[0], 1) for distance in (1, 2.1, 3, 4)])
    assert [result.ids.tolist() for result in results] == [[1], [3], [3], [4]]
    index.close()


@pytest.mark.parametrize("writable", [False, True])
def test_the_background_check_names_all_damage(
    path: Path, writable: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    damage_rows(path, 2, 6)
    index = FolderIndex.open(path, writable)
    assert index.wait_until_verified() == dict.fromkeys((3, 7), "its row doesn't match its checksum")
    assert "2 images of the index at" in caplog.text
    assert (len(index), index.num_unverified) == (7, 0)
    assert export_features(index, tmp_path / "all.npz") == 7
    index.close()


def test_rows_changed_by_another_program_are_verified_again(path: Path) -> None:
    index = FolderIndex.open(path, writable=True)
    index.wait_until_verified()
    damage_rows(path, 3)
    index.update(1, "c")
    assert index.wait_until_verified() == {4: "its row doesn't match its checksum"}
    index.close()


def test_compacting_verifies_everything_first(path: Path) -> None:
    damage_rows(path, 2)
    index = FolderIndex.open(path, writable=True)
    assert index.compact() == 1
    assert (index.num_unverified, index.verify(), len(index)) == (0, {}, 8)
    index.close()


def test_searches_wait_for_no_long_read(path: Path) -> None:
    index = FolderIndex.open(path, writable=True)
    with ThreadPoolExecutor(1) as pool, index.catalog.reading():  # as a search reads entries
        assert pool.submit(index.verify).result(10) == {}
        assert len(pool.submit(read_rows, index.catalog).result(10)) == 9
    index.close()


def damage_label_index(path: Path) -> None:
    """Flip a bit of image 4's label in the SQL index, not in the table."""
    content = bytearray((path / CATALOG).read_bytes())
    places = [n for n in range(len(content)) if content.startswith(b"unusual", n)]
    for place in places:
        content[place] ^= 1
        (path / CATALOG).write_bytes(content)
        index = FolderIndex.open(path)
        labels = index.labels()
        index.close()
        if "tnusual" in labels:
            return
        content[place] ^= 1
    raise AssertionError("the SQL index has no copy of the label")


def test_a_wrong_sql_index(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader reports it; a writer rebuilds it and corrects what it has read from it."""
    index = FolderIndex.open(path, writable=True)
    index.update(4, "unusual")
    index.close()
    damage_label_index(path)
    caplog.clear()
    reader = FolderIndex.open(path)
    reader.wait_until_verified()
    reader.close()
    assert "the SQL index by_label of the catalog" in caplog.text
    writer = FolderIndex.open(path, writable=True)
    assert writer.wait_until_verified() == {}
    assert writer.labels() == {"a label": 5, "b label": 3, "unusual": 1}
    writer.close()
    again = FolderIndex.open(path)
    assert again.labels() == {"a label": 5, "b label": 3, "unusual": 1}
    again.close()


def test_closing_stops_the_background_check(path: Path) -> None:
    for _ in range(5):
        FolderIndex.open(path).close()
