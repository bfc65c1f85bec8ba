"""What may happen between two steps of a change: another index in its place, a killed compaction, a full disk."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index.entries import AddResult
from index.folder.store import FolderIndex
from index.search import Query
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import AlexNetError, IndexReplacedError, IndexStoreError, InvalidRequestError, StorageFullError
from tests.helpers.indexes import features_at, make_entry, num_waiting
from tests.helpers.polling import wait_until
from tests.unit.index.test_codes import make_encoder

FEATURES = np.random.default_rng(0).random((10, 64), np.float32)


@pytest.fixture
def index(artifact: Artifact, tmp_path: Path) -> Iterator[FolderIndex]:
    created = FolderIndex.create(tmp_path / "i", artifact)
    created.add(FEATURES, [make_entry(number) for number in range(10)])
    yield created
    created.close()


def names(index: FolderIndex) -> set[str]:
    return {file.name for file in index.path.iterdir() if file.name.startswith(("features-", "codes-"))}


@pytest.mark.parametrize("num_before", [0, 2], ids=["empty", "of two images"])
def test_an_addition_that_waits_while_the_index_is_replaced_is_not_acknowledged(
    artifact: Artifact, tmp_path: Path, num_before: int
) -> None:
    """As at a reload: another folder takes the index's place, and the old index gives up its lock."""
    new, old = (FolderIndex.create(tmp_path / name, artifact) for name in ("new", "old"))
    new.add(features_at(1, 2, 3, 4, 5), [make_entry(number) for number in range(5)])
    new.close()
    if num_before:
        old.add(features_at(*range(num_before)), [make_entry(10 + number) for number in range(num_before)])
    outcome: list[list[AddResult] | AlexNetError] = []

    def add() -> None:
        try:
            outcome.append(old.add(features_at(9), [make_entry(77)]))
        except AlexNetError as error:
            outcome.append(error)

    with old._write_lock:
        thread = threading.Thread(target=add)
        thread.start()
        wait_until(lambda: num_waiting(old) == 1)
        shutil.rmtree(old.path)
        shutil.copytree(new.path, old.path)
        old.stop_writing()
    thread.join(30)
    assert isinstance(outcome[0], AlexNetError)
    old.close()
    reopened = FolderIndex.open(old.path)
    assert (len(reopened), reopened.verify()) == (5, {})
    reopened.close()


def test_features_that_appeared_since_the_index_was_opened_are_not_overwritten(
    artifact: Artifact, tmp_path: Path
) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    other = index.path / "features-1.f32"
    other.write_bytes(b"another index's")
    with pytest.raises(IndexReplacedError, match=r"there is now a features-1\.f32"):
        index.add(features_at(1), [make_entry(1)])
    assert other.read_bytes() == b"another index's"
    index.close()


def test_codes_of_a_compaction_that_was_killed_are_not_those_of_the_next(index: FolderIndex, tmp_path: Path) -> None:
    encoder: Encoder = make_encoder(tmp_path / "e.onnx", 32, 64)
    index.remove(1)
    index.set_encoder(encoder)
    (codes,) = index.path.glob("codes-1-*")
    shutil.copy(codes, str(codes).replace("codes-1", "codes-2"))  # other rows than the next compaction's
    index.set_encoder(None)
    index.remove(2)
    index.compact()
    index.set_encoder(encoder)
    (neighbor,) = index.search(Query(FEATURES[7], 1, mode="hash_lookup"))
    assert (neighbor.entry.id, neighbor.distance) == (8, 0)
    assert index.codes is not None
    np.testing.assert_array_equal(index.codes.matrix(), encoder.encode(FEATURES[2:]))


def test_a_compaction_that_fills_the_disk_leaves_nothing(index: FolderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(index)
    index.remove(1)

    def fill(*_: object) -> None:
        raise StorageFullError("no space left")

    monkeypatch.setattr(index.catalog, "compact", fill)
    with pytest.raises(StorageFullError):
        index.compact()
    assert names(index) == before
    monkeypatch.undo()
    monkeypatch.setattr("index.features.FeatureFile.append", fill)
    with pytest.raises(StorageFullError):
        index.compact()
    assert names(index) == before
    monkeypatch.undo()
    assert index.compact() == 1
    assert names(index) == {"features-2.f32"}


def test_the_name_of_compacted_features_is_on_the_disk_before_the_catalog_names_it(
    index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    compact = index.catalog.compact
    monkeypatch.setattr("index.folder.store.fsync", lambda path: order.append(f"fsync {os.path.basename(path)}"))  # noqa: PTH119

    def note(*arguments: object) -> None:
        order.append("catalog")
        compact(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(index.catalog, "compact", note)
    index.compact()
    assert order == ["fsync i", "catalog"]


def test_the_source_of_an_image_that_was_compacted_meanwhile_is_left_out(index: FolderIndex) -> None:
    index.remove(1)
    index.compact()
    index.move([(1, "/gone.jpg", None), (2, "/there.jpg", "a")])
    assert (str(index.entry(2).source), index.entry(2).label) == ("/there.jpg", "a")


def test_a_closed_index_is_not_called_damaged(index: FolderIndex) -> None:
    index.close()
    with pytest.raises(IndexStoreError, match=r"the index of .* is closed"):
        index.entry(1)


def test_features_whose_distances_cannot_be_computed_are_refused(index: FolderIndex) -> None:
    for size in (1e25, 1e18):
        with pytest.raises(InvalidRequestError, match="norms below 1e18"):
            index.add(np.full((1, 64), size, np.float32), [make_entry(77)])
    index.add(np.full((1, 64), 1e17, np.float32), [make_entry(78)])
    assert [n.entry.id for n in index.search(Query(np.full(64, 1e17, np.float32), 1))] == [11]


def test_a_commit_waits_for_the_disk(index: FolderIndex) -> None:
    (synchronous,) = index.catalog._writer.execute("PRAGMA synchronous").fetchone()
    assert synchronous == 2  # FULL


def test_an_id_is_never_given_again(index: FolderIndex) -> None:
    index.remove(10)
    assert index.compact() == 1
    assert index.add(features_at(7), [make_entry(77)]) == [AddResult(11, "added")]


def test_codes_of_a_new_image_are_looked_up(index: FolderIndex, tmp_path: Path) -> None:
    index.set_encoder(make_encoder(tmp_path / "e.onnx", 32, 64))
    new = np.random.default_rng(1).random((1, 64), np.float32)
    index.search(Query(new[0], 1, mode="hash_lookup"))
    index.add(new, [make_entry(77)])
    (neighbor,) = index.search(Query(new[0], 1, mode="hash_lookup"))
    assert (neighbor.entry.id, neighbor.distance) == (11, 0)
