"""An index that changes: added, removed, brought back, labeled, compacted; filtered and paged; damaged and full."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import NewEntry
from index.search import Query
from index.store import CATALOG, ImageIndex
from index.write_batch import AddResult
from model.artifacts.artifact import Artifact
from model.exceptions import (
    IndexLockedError,
    InvalidRequestError,
    ReadOnlyIndexError,
    StorageFullError,
    UnknownImageError,
)

ZERO = np.zeros(64, np.float32)


def entry(number: int, label: str | None = None, key: str | None = None) -> NewEntry:
    return NewEntry(f"{number:064d}", label, None, "PNG", 1, 1, b"jpeg", key)


def at(*distances: float) -> NDArray[np.float32]:
    """Features at these distances from ZERO."""
    rows = np.zeros((len(distances), 64), np.float32)
    rows[:, 0] = distances
    return rows


@pytest.fixture
def index(artifact: Artifact, tmp_path: Path) -> Iterator[ImageIndex]:
    made = ImageIndex.create(tmp_path / "i", artifact)
    made.add(at(1, 2, 3, 4, 5, 6), [entry(n, "ab"[n % 2]) for n in range(6)])
    yield made
    made.close()


def found(index: ImageIndex, k: int = 10, **wish: object) -> list[int]:
    return [n.entry.id for n in index.search(Query(ZERO, k, **wish))]  # type: ignore[arg-type]


def test_the_same_bytes_are_the_same_image(index: ImageIndex) -> None:
    assert index.add(at(7, 2, 8, 7), [entry(6), entry(1), entry(7), entry(6)]) == [
        AddResult(7, "added"), AddResult(2, "exists"), AddResult(8, "added"), AddResult(7, "exists")
    ]  # fmt: skip
    index.remove(2)
    assert index.add(at(2), [entry(1)]) == [AddResult(2, "restored")]
    assert found(index) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_removed_is_not_found_until_it_is_back(index: ImageIndex) -> None:
    index.remove(3)
    assert found(index) == [1, 2, 4, 5, 6]
    assert len(index) == 5
    for ask in (index.entry, index.feature, index.catalog.thumbnail, index.remove):
        with pytest.raises(UnknownImageError):
            ask(3)
    index.restore(3)
    assert found(index) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UnknownImageError):
        index.restore(4711)


def test_filtered_before_ranking_paged_and_bounded(index: ImageIndex) -> None:
    assert found(index, 2, label="b") == [2, 4]
    assert found(index, 2, label="b", offset=2) == [6]
    assert found(index, 2, offset=4) == [5, 6]
    assert found(index, 2, offset=40) == []
    assert found(index, max_distance=3.0) == [1, 2, 3]
    index.relabel(6, "c")
    assert found(index, label="c") == [6]
    assert index.labels() == {"a": 3, "b": 2, "c": 1}
    index.relabel(6, None)
    assert index.labels() == {"a": 3, "b": 2}
    assert found(index, label="c") == []
    with pytest.raises(InvalidRequestError, match="expected a label of the index, found 'x'"):
        index.search(Query(ZERO, 1, label="x"))


def test_a_filter_of_many_rows_finds_what_brute_force_finds(artifact: Artifact, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.exponential(1, (5000, 64)).astype(np.float32)
    labels = generator.choice(["much", "little", "rare"], 5000, p=[0.8, 0.19, 0.01])
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(rows, [entry(n, label) for n, label in enumerate(labels)])
    for number in range(0, 5000, 7):
        index.remove(number + 1)
    here = np.arange(5000) % 7 != 0
    for label in ("much", "little", "rare"):
        distances = np.linalg.norm(rows.astype(np.float64) - rows[3], axis=1)
        distances[~here | (labels != label)] = np.inf
        neighbors = index.search(Query(rows[3], 20, label=label))
        assert [n.entry.id - 1 for n in neighbors] == np.argsort(distances, kind="stable")[:20].tolist()
    index.close()


def test_keys_are_one_image_s(index: ImageIndex) -> None:
    index.add(at(9), [entry(10, key="mine")])
    assert index.entry(7).key == "mine"
    for keys in (["mine"], ["new", "new"]):
        with pytest.raises(InvalidRequestError, match="expected a key that no other image has"):
            index.add(at(*[1.0] * len(keys)), [entry(20 + n, key=key) for n, key in enumerate(keys)])
    assert len(index) == 7


def test_compacting_forgets_and_keeps_ids(index: ImageIndex, artifact: Artifact) -> None:
    for number in (1, 4):
        index.remove(number)
    before = (index.path / "features-1.f32").stat().st_size
    assert index.compact() == 2
    assert (index.path / "features-2.f32").stat().st_size < before
    assert not (index.path / "features-1.f32").exists()
    assert found(index) == [2, 3, 5, 6]
    assert index.add(at(0.5), [entry(0)]) == [AddResult(7, "added")]  # an id is never given twice
    np.testing.assert_array_equal(index.feature(5), at(5)[0])
    index.close()
    again = ImageIndex.create(index.path, artifact)
    assert found(again) == [7, 2, 3, 5, 6]
    again.close()


def test_a_reader_changes_nothing(index: ImageIndex) -> None:
    reader = ImageIndex.open(index.path)
    for change in (lambda: reader.add(at(1), [entry(9)]), lambda: reader.remove(1), reader.compact):
        with pytest.raises(ReadOnlyIndexError, match="opened for reading"):
            change()
    reader.close()


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_a_damaged_row_is_named_and_the_rest_is_served(index: ImageIndex, artifact: Artifact, damage: str) -> None:
    index.close()
    file = index.path / "features-1.f32"
    data = bytearray(file.read_bytes())
    if damage == "bit":
        data[5 * 256 + 2] ^= 1
    file.write_bytes(data if damage == "bit" else data[: 5 * 256 + 100])
    again = ImageIndex.create(index.path, artifact)
    assert list(again.damaged) == [6]
    assert found(again) == [1, 2, 3, 4, 5]
    with pytest.raises(UnknownImageError, match="damaged"):
        again.feature(6)
    again.add(at(0.5), [entry(30)])
    assert found(again) == [7, 1, 2, 3, 4, 5]
    assert again.compact() == 1
    assert again.damaged == {}
    again.close()


def test_a_full_disk_loses_nothing(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = (index.path / "features-1.f32").stat().st_size + 100  # half a row
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(StorageFullError, match="full disk"):
            index.add(at(9), [entry(9)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found(index) == [1, 2, 3, 4, 5, 6]
    assert index.add(at(9), [entry(9)]) == [AddResult(7, "added")]
    assert found(index) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("wrong", [at(1, 2), np.zeros((1, 63), np.float32), np.full((1, 64), np.nan, np.float32)])
def test_wrong_features_are_refused(index: ImageIndex, wrong: NDArray[np.float32]) -> None:
    with pytest.raises(InvalidRequestError, match="expected finite features of shape"):
        index.add(wrong, [entry(9)])
    assert len(index) == 6


def test_searching_goes_on_while_images_come_and_go(index: ImageIndex) -> None:
    failures: list[BaseException] = []
    over = threading.Event()

    def search() -> None:
        try:
            while not over.is_set():
                ids = found(index, 5)
                assert ids[0] == 1
                assert len(set(ids)) == 5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(100, 400):
        (added,) = index.add(at(number), [entry(number)])
        if number % 3 == 0:
            index.remove(added.id)
        if number % 100 == 0:
            index.compact()
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index) == 206


def test_additions_that_wait_are_one_commit(index: ImageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """And have the answers of one after the other; one that is refused is no matter of the others."""
    commits: list[int] = []
    add = index.catalog.add

    def counted(row: int, sums: Sequence[int], entries: Sequence[NewEntry]) -> list[int]:
        commits.append(row)
        return add(row, sums, entries)

    monkeypatch.setattr(index.catalog, "add", counted)
    results: dict[int, list[AddResult] | str] = {}

    def adding(number: int, *entries: NewEntry) -> None:
        try:
            results[number] = index.add(at(*range(20, 20 + len(entries))), entries)
        except InvalidRequestError as error:
            results[number] = str(error)

    wishes = [
        (entry(20, key="k"), entry(21)),
        (entry(21), entry(22), entry(1)),
        (entry(23, key="k"),),
        (entry(20, key="k"),),
        (entry(24),),
    ]
    threads = [threading.Thread(target=adding, args=(n, *wish)) for n, wish in enumerate(wishes)]
    with index._writing:
        for number, thread in enumerate(threads):
            thread.start()
            while len(index._waiting) <= number:
                pass
    for thread in threads:
        thread.join()
    assert commits == [6]
    assert results[0] == [AddResult(7, "added"), AddResult(8, "added")]
    assert results[1] == [AddResult(8, "exists"), AddResult(9, "added"), AddResult(2, "exists")]
    assert results[2] == "expected a key that no other image has, found 'k'"
    assert results[3] == [AddResult(7, "exists")]
    assert results[4] == [AddResult(10, "added")]
    assert sorted(found(index)) == list(range(1, 11))


def test_one_that_can_not_be_stored_fails_alone(index: ImageIndex) -> None:
    """Here a label that is no text; the others of its commit are on the disk."""
    results: dict[int, list[AddResult] | Exception] = {}

    def adding(number: int, one: NewEntry) -> None:
        try:
            results[number] = index.add(at(number), [one])
        except UnicodeEncodeError as error:
            results[number] = error

    entries = [entry(20 + number, "\ud800" if number == 1 else "good") for number in range(4)]
    threads = [threading.Thread(target=adding, args=(number, one)) for number, one in enumerate(entries)]
    with index._writing:
        for thread in threads:
            thread.start()
        while len(index._waiting) < len(threads):
            pass
    for thread in threads:
        thread.join()
    assert isinstance(results[1], UnicodeEncodeError)
    assert sorted(added[0].id for added in results.values() if isinstance(added, list)) == [7, 8, 9]
    assert index.labels() == {"a": 3, "b": 3, "good": 3}


def test_reading_waits_for_no_other_program(index: ImageIndex) -> None:
    """And changing says who is in the way, and does nothing."""
    other = sqlite3.connect(index.path / CATALOG, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    errors: list[Exception] = []

    def relabel() -> None:
        try:
            index.relabel(1, "c")
        except IndexLockedError as error:
            errors.append(error)

    thread = threading.Thread(target=relabel)
    thread.start()
    begun = time.monotonic()
    while thread.is_alive():
        assert index.entry(1).label == "a"
        assert found(index, 1) == [1]
    assert time.monotonic() - begun > 3  # as long as SQLite waits
    assert len(errors) == 1
    other.execute("ROLLBACK")
    other.close()
    index.relabel(1, "c")
    assert found(index, label="c") == [1]
