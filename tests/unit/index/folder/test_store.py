"""FolderIndex: adding, removing, restoring, labeling, compacting; durability, restarts, one writer at a time."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.entries import AddResult, NewEntry
from index.folder.layout import CATALOG
from index.folder.store import FolderIndex
from index.protocol import page_of_intact
from index.row_table import RowTable
from index.search import Query
from model.artifacts.artifact import Artifact, FileRecord
from model.exceptions import (
    IndexLockedError,
    IndexNotFoundError,
    IndexReplacedError,
    IndexStoreError,
    InvalidRequestError,
    ReadOnlyIndexError,
    StorageFullError,
    UnknownImageError,
)
from tests.helpers.indexes import execute, features_at, make_entry, num_waiting
from tests.helpers.polling import wait_until

ZERO = np.zeros(64, np.float32)
ONES = np.ones((3, 64), np.float32)


@pytest.fixture
def index(artifact: Artifact, tmp_path: Path) -> Iterator[FolderIndex]:
    """Six images at the distances 1 to 6 from zero, alternately labeled a and b."""
    created = FolderIndex.create(tmp_path / "i", artifact)
    created.add(features_at(1, 2, 3, 4, 5, 6), [make_entry(n, "ab"[n % 2]) for n in range(6)])
    yield created
    created.close()


def search_ids(index: FolderIndex, k: int = 10, label: str | None = None) -> list[int]:
    return [neighbor.entry.id for neighbor in index.search(Query(ZERO, k, label))]


def test_the_same_bytes_are_the_same_image(index: FolderIndex) -> None:
    entries = [make_entry(number) for number in (6, 1, 7, 6)]
    assert index.add(features_at(7, 2, 8, 7), entries) == [
        AddResult(7, "added"), AddResult(2, "exists"), AddResult(8, "added"), AddResult(7, "exists")
    ]  # fmt: skip
    index.remove(2)
    label = index.entry(1).label
    index.remove(1)
    assert index.add(features_at(2, 1), [make_entry(1), make_entry(0, "other")]) == [
        AddResult(2, "restored"), AddResult(1, "restored")
    ]  # fmt: skip
    assert index.entry(1).label == label != "other"
    assert search_ids(index) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_removed_image_is_not_found_until_it_is_restored(index: FolderIndex) -> None:
    index.remove(3)
    assert search_ids(index) == [1, 2, 4, 5, 6]
    assert len(index) == 5
    for method in (index.entry, index.feature, index.catalog.thumbnail, index.remove):
        with pytest.raises(UnknownImageError):
            method(3)
    index.restore(3)
    assert search_ids(index) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UnknownImageError):
        index.restore(4711)


def test_labels_are_updated(index: FolderIndex) -> None:
    index.update(6, "c")
    assert search_ids(index, label="c") == [6]
    assert index.labels() == {"a": 3, "b": 2, "c": 1}
    index.update(6, None)
    assert index.labels() == {"a": 3, "b": 2}
    with pytest.raises(InvalidRequestError, match="no image in the index has the label 'c'"):
        search_ids(index, label="c")


def test_keys_are_unique(index: FolderIndex) -> None:
    index.add(features_at(9), [make_entry(10, key="mine")])
    assert index.entry(7).key == "mine"
    for keys in (["mine"], ["new", "new"]):
        with pytest.raises(InvalidRequestError, match="belongs to another image: keys must be unique"):
            index.add(features_at(*[1.0] * len(keys)), [make_entry(20 + n, key=key) for n, key in enumerate(keys)])
    assert len(index) == 7


def test_compacting_deletes_images_and_keeps_ids(index: FolderIndex, artifact: Artifact) -> None:
    for image_id in (1, 4):
        index.remove(image_id)
    before = (index.path / "features-1.f32").stat().st_size
    assert index.compact() == 2
    assert (index.path / "features-2.f32").stat().st_size < before
    assert not (index.path / "features-1.f32").exists()
    assert search_ids(index) == [2, 3, 5, 6]
    assert index.add(features_at(0.5), [make_entry(0)]) == [AddResult(7, "added")]  # an id is never used twice
    np.testing.assert_array_equal(index.feature(5), features_at(5)[0])
    index.close()
    again = FolderIndex.create(index.path, artifact)
    assert search_ids(again) == [7, 2, 3, 5, 6]
    again.close()


def test_compacting_deletes_what_a_killed_compaction_left(index: FolderIndex) -> None:
    old = ("features-1.f32", "codes-1-0123456789abcdef.u8")
    for compactions in (1, 2):
        for name in old:
            (index.path / name).touch()
        (index.path / "features-1.txt").touch()
        index.remove(compactions)
        assert index.compact() == 1
        assert not any((index.path / name).exists() for name in old)
    assert search_ids(index) == [3, 4, 5, 6]
    assert (index.path / "features-1.txt").exists()  # not this program's


def test_an_index_that_is_compacted_while_it_is_opened(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    read = RowTable.from_groups

    def compact_meanwhile(groups: Any) -> RowTable:
        rows = read(groups)
        monkeypatch.undo()
        index.remove(1)
        index.compact()
        return rows

    monkeypatch.setattr(RowTable, "from_groups", compact_meanwhile)
    reader = FolderIndex.open(index.path)
    assert dict(reader.damaged) == {}
    assert search_ids(reader) == [2, 3, 4, 5, 6]
    reader.close()


def test_a_reader_changes_nothing(index: FolderIndex) -> None:
    reader = FolderIndex.open(index.path)
    for change in (lambda: reader.add(features_at(1), [make_entry(9)]), lambda: reader.remove(1), reader.compact):
        with pytest.raises(ReadOnlyIndexError, match="open for reading only"):
            change()
    reader.close()


def test_a_reader_sees_the_index_as_it_was_opened(index: FolderIndex) -> None:
    reader = FolderIndex.open(index.path)
    index.add(features_at(0), [make_entry(9)])
    index.remove(1)
    index.update(2, "c")
    index.compact()
    for method in (reader.entry, reader.feature, reader.catalog.thumbnail, reader.catalog.sha256):
        with pytest.raises(UnknownImageError):
            method(7)
    assert search_ids(reader) == [entry.id for entry in reader.catalog.page(0, 10)] == [1, 2, 3, 4, 5, 6]
    assert search_ids(reader, label="b") == [entry.id for entry in reader.catalog.page(0, 10, "b")] == [2, 4, 6]
    reader.close()


def test_a_copy_made_while_images_are_added_is_intact(index: FolderIndex, tmp_path: Path) -> None:
    """In the order of docs/retrieval.md: first the catalog, by SQLite in another process, then the features."""
    copy = tmp_path / "copy"
    copy.mkdir()
    backup = "import sqlite3, sys; a, b = map(sqlite3.connect, sys.argv[1:]); a.backup(b)"
    subprocess.run([sys.executable, "-c", backup, index.path / CATALOG, copy / CATALOG], check=True)
    index.add(features_at(7), [make_entry(7)])
    index.remove(1)
    for file in index.path.glob("features-*"):
        shutil.copy(file, copy)
    with closing(FolderIndex.open(copy, writable=True)) as copied:
        assert copied.verify() == {}
        assert search_ids(copied) == [1, 2, 3, 4, 5, 6]
        assert copied.add(features_at(8), [make_entry(8)]) == [AddResult(7, "added")]
        assert search_ids(copied) == [1, 2, 3, 4, 5, 6, 7]


def test_an_unknown_id(index: FolderIndex) -> None:
    for method in (index.catalog.get, index.catalog.thumbnail, index.catalog.sha256, index.feature):
        with pytest.raises(UnknownImageError, match="no indexed image has the id 4711"):
            method(4711)


@pytest.mark.parametrize(
    "features", [features_at(1, 2), np.zeros((1, 63), np.float32), np.full((1, 64), np.nan, np.float32)]
)
def test_wrong_features_are_rejected(index: FolderIndex, features: NDArray[np.float32]) -> None:
    with pytest.raises(InvalidRequestError, match=r"expected features of shape|must be finite"):
        index.add(features, [make_entry(9)])
    assert len(index) == 6


def test_features_that_float16_cannot_hold_are_rejected(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact, dtype="float16")
    with pytest.raises(InvalidRequestError, match="must be finite in float16, but some aren't"):
        index.add(features_at(1e6), [make_entry(0)])
    index.close()


def test_float16_rows_take_half_the_space(artifact: Artifact, tmp_path: Path) -> None:
    features = np.random.default_rng(0).exponential(50, (7, 64)).astype(np.float32)
    index = FolderIndex.create(tmp_path / "i", artifact, dtype="float16")
    index.add(features, [make_entry(n) for n in range(7)])
    assert (index.path / "features-1.f16").stat().st_size == 7 * 64 * 2
    index.close()
    again = FolderIndex.open(index.path)
    assert again.damaged == {}
    np.testing.assert_array_equal(again.feature(1), features[0].astype(np.float16).astype(np.float32))
    again.close()


# Durability


def test_images_are_durable_and_a_torn_row_is_overwritten(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    features = np.random.default_rng(0).random((4, 64), np.float32)
    index.add(features[:3], [make_entry(n) for n in range(3)])
    index.close()
    with (tmp_path / "i" / "features-1.f32").open("ab") as file:
        file.write(b"torn row")  # as if killed between row and commit
    again = FolderIndex.create(tmp_path / "i", artifact)
    again.add(features[3:], [make_entry(3)])
    again.close()
    reader = FolderIndex.open(tmp_path / "i")
    assert len(reader) == 4
    for number in range(4):
        assert reader.search(Query(features[number], 1))[0].entry.id == number + 1
    reader.close()


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_a_damaged_row_is_named_and_the_rest_is_served(index: FolderIndex, artifact: Artifact, damage: str) -> None:
    index.close()
    file = index.path / "features-1.f32"
    data = bytearray(file.read_bytes())
    if damage == "bit":
        data[5 * 256 + 2] ^= 1
    file.write_bytes(data if damage == "bit" else data[: 5 * 256 + 100])
    again = FolderIndex.create(index.path, artifact)
    assert list(again.damaged) == [6]
    assert search_ids(again) == [1, 2, 3, 4, 5]
    with pytest.raises(UnknownImageError, match="damaged"):
        again.feature(6)
    again.remove(6)
    again.restore(6)
    assert len(again) == 5
    again.add(features_at(0.5), [make_entry(30)])
    assert search_ids(again) == [7, 1, 2, 3, 4, 5]
    assert again.compact() == 1
    assert again.damaged == {}
    again.close()


def test_a_file_cut_in_its_first_row(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(ONES, [make_entry(n) for n in range(3)])
    index.close()
    with (tmp_path / "i" / "features-1.f32").open("r+b") as file:
        file.truncate(100)
    reader = FolderIndex.open(tmp_path / "i")
    assert list(reader.damaged) == [1, 2, 3]
    assert reader.search(Query(ONES[0], 3)) == []
    reader.close()


def test_a_row_damaged_after_opening_is_never_a_neighbor(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(ONES, [make_entry(n) for n in range(3)])
    with (tmp_path / "i" / "features-1.f32").open("r+b") as file:
        file.write(b"\xff" * 64 * 4)
    assert [neighbor.entry.id for neighbor in index.search(Query(ONES[0], 6))] == [2, 3]
    index.close()


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("content", [np.float32(0.5), np.float32("nan")])
def test_a_verified_row_that_is_overwritten_is_never_returned(
    index: FolderIndex, artifact: Artifact, writable: bool, content: np.float32
) -> None:
    """Nor is it a query."""
    index.close()
    again = FolderIndex.create(index.path, artifact) if writable else FolderIndex.open(index.path)
    assert search_ids(again) == [1, 2, 3, 4, 5, 6]
    with (index.path / "features-1.f32").open("r+b") as file:
        file.seek(2 * 64 * 4)
        file.write(np.full(64, content).tobytes())
    with pytest.raises(UnknownImageError, match="the stored feature of image 3 is damaged"):
        again.feature(3)
    with (index.path / "features-1.f32").open("r+b") as file:
        file.seek(3 * 64 * 4)
        file.write(np.full(64, content).tobytes())
    assert search_ids(again) == [1, 2, 5, 6]
    assert set(again.damaged) >= {3}
    assert [entry.id for entry in page_of_intact(again, 1, 2)] == ([2, 5] if 4 in again.damaged else [2, 4])
    again.close()


def test_a_full_disk_loses_nothing(index: FolderIndex) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = (index.path / "features-1.f32").stat().st_size + 100  # less than a row
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageFullError, match="no space left"):
            index.add(features_at(9), [make_entry(9)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert search_ids(index) == [1, 2, 3, 4, 5, 6]
    assert index.add(features_at(9), [make_entry(9)]) == [AddResult(7, "added")]
    assert search_ids(index) == [1, 2, 3, 4, 5, 6, 7]


def test_an_index_killed_before_its_metadata_is_created_again(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    sqlite3.connect(tmp_path / "i" / CATALOG).close()
    (tmp_path / "i" / CATALOG).touch()
    with pytest.raises(IndexNotFoundError, match="is empty"):
        FolderIndex.open(tmp_path / "i")
    FolderIndex.create(tmp_path / "i", artifact).close()
    execute(tmp_path / "i", "DELETE FROM metadata")  # metadata is committed after the tables
    for writable in (False, True):
        with pytest.raises(IndexNotFoundError, match="is empty: build it"):
            FolderIndex.open(tmp_path / "i", writable)
    FolderIndex.create(tmp_path / "i", artifact).close()
    FolderIndex.open(tmp_path / "i").close()


# Opening


def test_no_index(tmp_path: Path) -> None:
    for writable in (False, True):
        with pytest.raises(IndexNotFoundError, match=r"no index at .*: build one"):
            FolderIndex.open(tmp_path / "none", writable)


def test_an_index_of_another_version_is_named(artifact: Artifact, tmp_path: Path) -> None:
    other = tmp_path / "shapes" / "1"
    FolderIndex.create(other, artifact).close()
    named = f"no index at {tmp_path / 'shapes' / '3'} (indexes of other versions or precisions: {other}): build one"
    with pytest.raises(IndexNotFoundError, match=re.escape(named)):
        FolderIndex.open(tmp_path / "shapes" / "3")


def test_one_writer_at_a_time(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    with pytest.raises(ReadOnlyIndexError, match="another process"):
        FolderIndex.create(tmp_path / "i", artifact)
    with pytest.raises(ReadOnlyIndexError, match="another process"):
        FolderIndex.open(tmp_path / "i", writable=True)
    FolderIndex.open(tmp_path / "i").close()
    thread = threading.Thread(target=index.close)  # a server closes its index in another thread
    thread.start()
    thread.join()
    FolderIndex.create(tmp_path / "i", artifact).close()


def test_the_index_of_another_network_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    FolderIndex.create(tmp_path / "i", artifact).close()
    files = artifact.manifest.files | {"network.onnx": FileRecord(bytes=1, sha256="0" * 64)}
    other = replace(artifact, manifest=artifact.manifest.model_copy(update={"files": files}))
    with pytest.raises(IndexStoreError, match="a different network"):
        FolderIndex.create(tmp_path / "i", other)


# Concurrency


def test_searching_while_images_are_added_and_removed(index: FolderIndex) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                ids = search_ids(index, 5)
                assert ids[0] == 1
                assert len(set(ids)) == 5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(100, 400):
        (added,) = index.add(features_at(number), [make_entry(number)])
        if number % 3 == 0:
            index.remove(added.id)
        if number % 100 == 0:
            index.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index) == 206


class BlockedWriter:
    """Blocks an index's first commit until all other additions wait behind it. `commits`: each commit's first row."""

    def __init__(self, index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
        self._index, self.commits = index, list[int]()
        self._waiting, self._add = threading.Event(), index.catalog.add
        monkeypatch.setattr(index.catalog, "add", self._blocked_add)
        self._first = threading.Thread(target=index.add, args=(features_at(7), [make_entry(7, "blocked")]))
        self._first.start()
        wait_until(lambda: len(self.commits) == 1)

    def _blocked_add(
        self, row: int, checksums: Sequence[int], entries: Sequence[NewEntry], restored: Sequence[int]
    ) -> list[int]:
        self.commits.append(row)
        assert self._waiting.wait(30)
        return self._add(row, checksums, entries, restored)

    def run(self, threads: Sequence[threading.Thread]) -> None:
        """Start the threads in this order, each adding to the index, then let all of them commit."""
        for number, thread in enumerate(threads, 1):
            thread.start()
            wait_until(lambda expected=number: num_waiting(self._index) == expected)  # type: ignore[misc]
        self._waiting.set()
        for thread in (self._first, *threads):
            thread.join(30)
            assert not thread.is_alive()


def test_additions_that_wait_are_one_commit(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their results are as if added one by one; a rejected addition doesn't affect the others."""
    writer = BlockedWriter(index, monkeypatch)
    results: dict[int, list[AddResult] | str] = {}

    def add(number: int, *entries: NewEntry) -> None:
        try:
            results[number] = index.add(features_at(*range(20, 20 + len(entries))), entries)
        except InvalidRequestError as error:
            results[number] = str(error)

    additions = [
        (make_entry(20, key="k"), make_entry(21)),
        (make_entry(21), make_entry(22), make_entry(1)),
        (make_entry(23, key="k"),),
        (make_entry(20, key="k"),),
        (make_entry(24),),
    ]
    writer.run([threading.Thread(target=add, args=(n, *entries)) for n, entries in enumerate(additions)])
    assert writer.commits == [6, 7]
    assert results[0] == [AddResult(8, "added"), AddResult(9, "added")]
    assert results[1] == [AddResult(9, "exists"), AddResult(10, "added"), AddResult(2, "exists")]
    assert results[2] == "the key 'k' belongs to another image: keys must be unique"
    assert results[3] == [AddResult(8, "exists")]
    assert results[4] == [AddResult(11, "added")]
    assert num_waiting(index) == 0
    assert sorted(search_ids(index, 20)) == list(range(1, 12))


def test_new_and_restored_images_are_one_commit(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fills up halfway, nothing is changed."""
    index.remove(2)
    entries, before = [make_entry(20), make_entry(1)], len(index)

    def fail(*args: object, **columns: object) -> None:
        raise StorageFullError("no space left")

    with monkeypatch.context() as full:
        full.setattr(index.catalog, "_change", fail)
        with pytest.raises(StorageFullError):
            index.add(features_at(20, 1), entries)
    assert len(index) == before
    assert index.catalog.find([entries[0].sha256]) == {}
    results = index.add(features_at(20, 1), entries)
    assert [result.status for result in results] == ["added", "restored"]
    assert len(index) == before + 2
    assert {result.id for result in results} <= set(search_ids(index, 20))


def test_an_entry_that_cannot_be_stored_fails_alone(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here its label isn't valid text; the other entries of the commit are stored."""
    writer = BlockedWriter(index, monkeypatch)
    results: dict[int, list[AddResult] | Exception] = {}

    def add(number: int, entry: NewEntry) -> None:
        try:
            results[number] = index.add(features_at(number), [entry])
        except UnicodeEncodeError as error:
            results[number] = error

    entries = [make_entry(20 + number, "\ud800" if number == 1 else "good") for number in range(4)]
    writer.run([threading.Thread(target=add, args=(number, entry)) for number, entry in enumerate(entries)])
    assert isinstance(results[1], UnicodeEncodeError)
    assert sorted(added[0].id for added in results.values() if isinstance(added, list)) == [8, 9, 10]
    assert index.labels() == {"a": 3, "b": 3, "blocked": 1, "good": 3}


def interrupt_after(index: FolderIndex, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate Ctrl-C, once, while the catalog's method `name` commits: Python raises it after the commit."""
    commit = getattr(index.catalog, name)

    def commit_and_raise(*arguments: object) -> None:
        monkeypatch.setattr(index.catalog, name, commit)
        commit(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(index.catalog, name, commit_and_raise)


def test_an_addition_that_is_interrupted_damages_nothing(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the catalog has committed keeps its row and is found from the next change on."""
    interrupt_after(index, "add", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        index.add(features_at(7), [make_entry(7, "c")])
    assert index.add(features_at(8), [make_entry(8)]) == [AddResult(8, "added")]
    assert index.add(features_at(7), [make_entry(7)]) == [AddResult(7, "exists")]
    assert search_ids(index) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert search_ids(index, label="c") == [7]
    index.close()
    reader = FolderIndex.open(index.path)
    assert (len(reader), reader.damaged) == (8, {})
    reader.close()


def test_a_row_that_was_written_in_vain_is_no_change_by_another_program(
    index: FolderIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index.add(features_at(7), [make_entry(7)])
    assert index.add(features_at(8), [make_entry(8)]) == [AddResult(7, "added")]
    assert caplog.messages == []
    assert search_ids(index) == [1, 2, 3, 4, 5, 6, 7]


def test_changes_that_are_interrupted_are_seen_from_the_next_on(
    index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after(index, "change_many", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        index.remove(1)
    interrupt_after(index, "change_many", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        index.update(2, "c")
    index.remove(3)
    assert search_ids(index) == [2, 4, 5, 6]
    assert index.labels() == {"a": 1, "b": 2, "c": 1}


def test_nothing_is_added_after_a_compaction_that_was_interrupted(
    index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.remove(1)
    interrupt_after(index, "compact", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        index.compact()
    with pytest.raises(IndexReplacedError, match="a compaction of the index was interrupted"):
        index.add(features_at(7), [make_entry(7)])
    index.close()
    opened = FolderIndex.open(index.path, writable=True)
    assert opened.add(features_at(7), [make_entry(7)]) == [AddResult(7, "added")]
    assert search_ids(opened) == [2, 3, 4, 5, 6, 7]
    opened.close()


def test_an_interrupted_addition_leaves_the_others_that_wait(
    index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the thread that writes for all is interrupted, the others write their own additions."""
    writer = BlockedWriter(index, monkeypatch)
    results: dict[int, list[AddResult] | str] = {}

    def add(number: int) -> None:
        try:
            results[number] = index.add(features_at(number), [make_entry(number)])
        except KeyboardInterrupt:
            results[number] = "interrupted"

    interrupt_after(index, "find", monkeypatch)
    writer.run([threading.Thread(target=add, args=(number,), daemon=True) for number in range(20, 24)])
    assert list(results.values()).count("interrupted") == 1
    assert (num_waiting(index), len(index)) == (0, 10)


def test_reads_never_wait_for_another_program(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change raises IndexLockedError and does nothing."""
    monkeypatch.setattr("index.catalog.file.BUSY_TIMEOUT_SECONDS", 0.5)
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1), [make_entry(1, "a")])
    other = sqlite3.connect(index.path / CATALOG, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    errors: list[Exception] = []

    def update() -> None:
        try:
            index.update(1, "c")
        except IndexLockedError as error:
            errors.append(error)

    thread = threading.Thread(target=update)
    start = time.monotonic()
    thread.start()
    reads = 0
    while thread.is_alive():
        assert index.entry(1).label == "a"
        assert search_ids(index, 1) == [1]
        reads += 1
    assert time.monotonic() - start > 0.4  # SQLite waits that long
    assert reads > 5
    assert len(errors) == 1
    other.execute("ROLLBACK")
    other.close()
    index.update(1, "c")
    assert search_ids(index, label="c") == [1]
    index.close()
