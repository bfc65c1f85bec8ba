"""What all index backends do alike: a folder, and PostgreSQL and Milvus if they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.backends import IndexUri, open_or_create, open_readonly
from index.bulk_change import BulkChange, Selection
from index.entries import AddResult
from index.merge import MergeReport, merge
from index.protocol import Index, ids_of_keys
from index.search import Position, Query
from model.datasets.attribution import Attribution
from model.exceptions import IndexStoreError, InvalidRequestError, ReadOnlyIndexError, UnknownImageError
from tests.helpers.backends import ZERO, entry, installed_backends, make_artifact, search_ids
from tests.helpers.indexes import DIM, features_at
from tests.helpers.postgres import PostgresServer

STRANGE = 'it\'s "quoted" \\ and größer} or removed == true'


@pytest.fixture(params=installed_backends())
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> IndexUri:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return IndexUri.parse(server.new_index())
    return IndexUri.parse(f"milvus:{tmp_path}/images.db" if request.param == "milvus" else str(tmp_path / "index"))


@pytest.fixture
def index(uri: IndexUri) -> Iterator[Index]:
    created = open_or_create(uri, make_artifact())
    created.add(features_at(1, 2, 3, 4, 5, 6), [entry(n, "ab"[n % 2]) for n in range(6)])
    yield created
    created.close()


@pytest.fixture
def ids(index: Index) -> list[int]:
    """The ids of the six images, nearest first."""
    return search_ids(index)


def test_the_same_bytes_are_the_same_image(index: Index, ids: list[int]) -> None:
    added = index.add(features_at(7, 2, 8, 7), [entry(6), entry(1), entry(7), entry(6)])
    assert [one.status for one in added] == ["added", "exists", "added", "exists"]
    assert added[0].id == added[3].id
    assert added[1].id == ids[1]
    index.remove(ids[1])
    assert index.add(features_at(2), [entry(1)]) == [AddResult(ids[1], "restored")]
    assert search_ids(index) == [*ids, added[0].id, added[2].id]


def test_removed_and_restored(index: Index, ids: list[int]) -> None:
    index.remove(ids[2])
    assert search_ids(index) == [*ids[:2], *ids[3:]]
    assert len(index) == 5
    for method in (index.entry, index.feature, index.catalog.thumbnail, index.catalog.sha256, index.remove):
        with pytest.raises(UnknownImageError):
            method(ids[2])
    with pytest.raises(UnknownImageError, match=str(ids[2])):
        index.features(ids)
    index.restore(ids[2])
    assert search_ids(index) == ids
    np.testing.assert_array_equal(index.features([ids[3], ids[0], ids[3]]), features_at(4, 1, 4))
    assert index.features([]).shape == (0, DIM)
    with pytest.raises(UnknownImageError):
        index.restore(123_456)


def test_many_are_removed_restored_and_relabeled(index: Index, ids: list[int]) -> None:
    by_label, by_ids = Selection(label="a"), Selection(ids=(ids[0], ids[1], 123_456))
    assert index.change_many(by_label, BulkChange(removed=True)) == (sorted(ids[::2]), [], [])
    assert search_ids(index) == ids[1::2]
    assert index.change_many(by_label, BulkChange(removed=True)) == ([], [], [])
    assert index.change_many(by_ids, BulkChange(relabel=True, label="b")) == ([], [ids[0], 123_456], [])
    assert index.change_many(by_ids, BulkChange(removed=False, relabel=True, label=STRANGE)) == (
        sorted(ids[:2]),
        [123_456],
        [],
    )
    assert search_ids(index, label=STRANGE) == ids[:2]
    assert index.change_many(by_label, BulkChange(removed=False)) == (sorted([ids[2], ids[4]]), [], [])
    assert index.labels() == {STRANGE: 2, "a": 2, "b": 2}
    assert index.change_many(Selection(label=STRANGE), BulkChange(relabel=True)).changed == sorted(ids[:2])
    assert index.labels() == {"a": 2, "b": 2}
    assert search_ids(index) == ids
    assert index.change_many(Selection(label="no such label"), BulkChange(removed=True)) == ([], [], [])


def test_images_are_found_and_changed_by_their_keys(index: Index, ids: list[int]) -> None:
    first, second = (one.id for one in index.add(features_at(7, 8), [entry(6, key=STRANGE), entry(7, key="k")]))
    assert ids_of_keys(index, ["k", STRANGE, "k"]) == [second, first, second]
    assert ids_of_keys(index, []) == []
    both = Selection(keys=["k", "unknown", STRANGE, ""])
    assert index.change_many(both, BulkChange(relabel=True, label="new")) == (
        sorted([first, second]),
        [],
        ["unknown", ""],
    )
    assert index.labels() == {"a": 3, "b": 3, "new": 2}
    assert index.change_many(Selection(keys=["k"]), BulkChange(removed=True)) == ([second], [], [])
    assert index.change_many(Selection(keys=["k"]), BulkChange(relabel=True)) == ([], [], ["k"])
    for unknown in ("k", "unknown", ""):  # "k" is a removed image's; "" is no image's key
        with pytest.raises(UnknownImageError, match=f"no indexed image has the key '{unknown}'"):
            ids_of_keys(index, [STRANGE, unknown])
    assert index.change_many(Selection(keys=["k"]), BulkChange(removed=False)) == ([second], [], [])
    assert search_ids(index) == [*ids, first, second]


def test_distances_filters_pages_and_bounds(index: Index, ids: list[int]) -> None:
    assert [n.distance for n in index.search(Query(ZERO, 3))] == [1.0, 2.0, 3.0]
    assert search_ids(index, label="b") == [ids[1], ids[3], ids[5]]
    assert search_ids(index, 2, after=Position(3, 3.0, ids[2])) == ids[3:5]
    assert (index.count(), index.count("b"), index.count("x")) == (6, 3, 0)
    assert search_ids(index, max_distance=2.0) == ids[:2]
    assert search_ids(index, 2, label="a", after=Position(1, 1.0, ids[0]), max_distance=4) == [ids[2]]
    assert index.search_many([Query(ZERO, 2), Query(features_at(6)[0], 1)])[1][0].entry.id == ids[5]
    for query in (Query(ZERO, 0), Query(ZERO, 1002), Query(ZERO, 1, "no such label"), Query(ZERO, mode="binary")):
        with pytest.raises(InvalidRequestError):
            index.search(query)
    with pytest.raises(InvalidRequestError, match="finite numbers"):
        index.search(Query(np.full(DIM, np.nan, np.float32), 1))


def test_ties_are_broken_by_id(index: Index) -> None:
    index.add(features_at(9, 9, 9), [entry(n) for n in (30, 31, 32)])
    tied = [n.entry.id for n in index.search(Query(features_at(9)[0], 3))]
    assert tied == sorted(tied)


def test_labels_of_any_text(index: Index, ids: list[int]) -> None:
    index.update(ids[0], STRANGE)
    assert index.labels() == {STRANGE: 1, "a": 2, "b": 3}
    assert search_ids(index, label=STRANGE) == [ids[0]]
    assert index.entry(ids[0]).label == STRANGE
    index.update(ids[0], None)
    assert index.labels() == {"a": 2, "b": 3}


@pytest.mark.parametrize("label", ["\ud800", "a\0b", ""])
def test_a_label_that_no_index_can_have(index: Index, ids: list[int], label: str) -> None:
    with pytest.raises(InvalidRequestError, match="no image in the index has the label"):
        search_ids(index, label=label)


def test_keys_are_unique(index: Index) -> None:
    (added,) = index.add(features_at(10), [entry(40, key='k"')])
    assert index.entry(added.id).key == 'k"'
    with pytest.raises(InvalidRequestError, match="belongs to another image: keys must be unique"):
        index.add(features_at(11), [entry(41, key='k"')])
    assert index.add(features_at(10), [entry(40, key='k"')]) == [AddResult(added.id, "exists")]
    index.remove(added.id)
    with pytest.raises(InvalidRequestError, match="belongs to a removed image: restore it, or compact the index"):
        index.add(features_at(11), [entry(41, key='k"')])


def test_a_label_that_no_image_has_any_longer(index: Index, uri: IndexUri, ids: list[int]) -> None:
    """It is refused by the open index and by one that is opened later."""
    index.update(ids[0], "once")
    index.update(ids[0], "a")
    with closing(open_readonly(uri)) as reader:
        for searched in (index, reader):
            with pytest.raises(InvalidRequestError, match="no image in the index has the label 'once'"):
                search_ids(searched, label="once")


def test_the_catalog(index: Index, ids: list[int]) -> None:
    first = index.entry(ids[0])
    assert (first.source, first.format, first.width, first.height) == (Path("/a.png"), "PNG", 3, 2)
    assert index.catalog.thumbnail(ids[0]) == b"jpeg"
    assert index.catalog.sha256(ids[0]) == entry(0).sha256
    np.testing.assert_array_equal(index.feature(ids[3]), features_at(4)[0])
    all_ids = [e.id for e in index.catalog.iter_entries()]
    assert all_ids == sorted(ids)
    assert [e.id for e in index.catalog.page(all_ids[1], 2)] == all_ids[2:4]
    assert {e.label for e in index.catalog.iter_entries("b")} == {"b"}


def test_opened_again_and_by_another_network(index: Index, uri: IndexUri, ids: list[int]) -> None:
    with pytest.raises(InvalidRequestError, match="expected features of shape"):
        index.add(features_at(1, 2), [entry(50)])
    index.close()
    reader = open_readonly(uri)
    assert search_ids(reader) == ids
    assert (reader.dim, reader.crops, len(reader)) == (DIM, (4,), 6)
    with pytest.raises(ReadOnlyIndexError):
        reader.remove(ids[0])
    with pytest.raises(IndexStoreError, match="a different network"):
        reader.check_compatible(make_artifact("b" * 64))
    reader.close()


def test_random_features_as_brute_force(index: Index) -> None:
    rows = np.random.default_rng(0).exponential(20, (300, DIM)).astype(np.float32)
    added = index.add(rows, [entry(n) for n in range(100, 400)])
    numbers = {one.id: place for place, one in enumerate(added)}
    query = rows[7] + np.float32(0.5)
    exact = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
    near = [n for n in index.search(Query(query, 10)) if n.entry.id in numbers]
    np.testing.assert_array_equal([numbers[n.entry.id] for n in near], np.argsort(exact)[: len(near)])
    np.testing.assert_allclose([n.distance for n in near], np.sort(exact)[: len(near)], rtol=1e-6)


def test_an_attribution_is_kept(index: Index) -> None:
    attribution = Attribution("Ann", "https://a.example/größer", None, "CC BY 2.0")
    (added,) = index.add(features_at(7), [replace(entry(7), attribution=attribution)])
    index.update(added.id, "new")
    assert index.entry(added.id).attribution == attribution
    assert [one.attribution for one in index.catalog.iter_entries()].count(None) == 6


def test_merged_from_a_folder_and_into_one(uri: IndexUri, tmp_path: Path) -> None:
    """Everything that a folder stores of an image arrives, and comes back unchanged."""
    rows = np.random.default_rng(0).exponential(20, (30, DIM)).astype(np.float32)
    attribution = Attribution("Ann", None, "https://a.example/größer", "CC BY 2.0")
    entries = [replace(entry(n, "ab"[n % 2], f"k{n}"), thumbnail=b"%d" % n, attribution=attribution) for n in range(30)]
    first, back = IndexUri(tmp_path / "first"), IndexUri(tmp_path / "back")
    with closing(open_or_create(first, make_artifact())) as folder:
        folder.add(rows, entries)
        folder.remove(4)
    assert merge(uri, [first]) == MergeReport(29, 29, 0)
    assert merge(uri, [first]) == MergeReport(29, 0, 29)
    assert merge(back, [uri]) == MergeReport(29, 29, 0)
    with closing(open_readonly(back)) as index, closing(open_readonly(first)) as folder:
        for image in index.catalog.iter_entries():
            number = int((image.key or "").removeprefix("k"))
            assert replace(image, id=number + 1) == folder.entry(number + 1)
            assert index.catalog.thumbnail(image.id) == b"%d" % number
            np.testing.assert_array_equal(index.feature(image.id), rows[number])
    with closing(open_or_create(IndexUri(tmp_path / "other"), make_artifact("b" * 64))):
        pass
    with pytest.raises(IndexStoreError, match="differ in network"):
        merge(uri, [IndexUri(tmp_path / "other")])
