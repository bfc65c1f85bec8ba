"""Queries: filters, pages, distance limits, batches, search modes, and invalid queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from index.folder.store import FolderIndex
from index.search import SEARCHERS, Position, Query, SearchMode, attach_entries, parse_search_mode, shortlist_size
from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError
from tests.helpers.indexes import features_at, make_entry

ZERO = np.zeros(64, np.float32)


@pytest.fixture
def index(artifact: Artifact, tmp_path: Path) -> Iterator[FolderIndex]:
    """Six images at the distances 1 to 6 from zero, alternately labeled a and b."""
    created = FolderIndex.create(tmp_path / "i", artifact)
    created.add(features_at(1, 2, 3, 4, 5, 6), [make_entry(n, "ab"[n % 2]) for n in range(6)])
    yield created
    created.close()


def ids_of(index: FolderIndex, query: Query) -> list[int]:
    return [neighbor.entry.id for neighbor in index.search(query)]


def test_true_distances_with_ties_by_id(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    features = np.zeros((3, 64), np.float32)
    features[1, :2] = 3, 4
    index.add(features, [make_entry(n, "x") for n in range(3)])
    neighbors = index.search(Query(ZERO, 6))
    assert [(neighbor.entry.id, neighbor.distance) for neighbor in neighbors] == [(1, 0.0), (3, 0.0), (2, 5.0)]
    np.testing.assert_array_equal(index.feature(2), features[1])
    index.close()


def test_filters_pages_and_distance_limits(index: FolderIndex) -> None:
    assert ids_of(index, Query(ZERO, 2, label="b")) == [2, 4]
    assert ids_of(index, Query(ZERO, 2, label="b", after=Position(2, 4.0, 4))) == [6]
    assert ids_of(index, Query(ZERO, 2, after=Position(4, 4.0, 4))) == [5, 6]
    assert ids_of(index, Query(ZERO, 2, after=Position(6, 6.0, 6))) == []
    assert (index.count(), index.count("a"), index.count("x")) == (6, 3, 0)
    assert ids_of(index, Query(ZERO, 10, max_distance=3.0)) == [1, 2, 3]
    with pytest.raises(InvalidRequestError, match="has the label 'x'"):
        index.search(Query(ZERO, 1, label="x"))


def test_a_page_continues_after_what_was_seen(index: FolderIndex) -> None:
    """Whatever was added or removed before it, even if that was the last neighbor seen."""
    seen = Position(3, 3.0, 3)
    assert ids_of(index, Query(ZERO, 2, after=seen)) == [4, 5]
    index.add(features_at(0.5, 3.5, 1.5, 2.5), [make_entry(n, "a") for n in range(6, 10)])
    assert ids_of(index, Query(ZERO, 2, after=seen)) == [8, 4]  # three of the four are before `seen`
    assert ids_of(index, Query(ZERO, 1, after=Position(1, 1.0, 1))) == [9]
    for image_id in (1, 2, 3):
        index.remove(image_id)
    assert ids_of(index, Query(ZERO, 4, after=seen)) == [8, 4, 5, 6]
    assert ids_of(index, Query(ZERO, 4, after=Position(0, 3.0, 3))) == [8, 4, 5, 6]


def test_what_was_relabeled_or_removed_since_the_search_is_left_out(index: FolderIndex) -> None:
    queries = [Query(np.zeros(64, np.float32), 3, "a"), Query(np.zeros(64, np.float32), 3)]
    results = index.search_ids(queries)
    index.update(int(results[0].ids[0]), "b")
    index.remove(int(results[0].ids[1]))
    labeled, all_labels = attach_entries(queries, results, index.catalog)
    assert [neighbor.entry.id for neighbor in labeled] == results[0].ids[2:].tolist()
    assert int(results[0].ids[0]) in [neighbor.entry.id for neighbor in all_labels]


def test_a_page_continues_among_ties(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(*[1] * 6), [make_entry(n) for n in range(6)])
    assert ids_of(index, Query(ZERO, 2, after=Position(2, 1.0, 2))) == [3, 4]
    index.remove(2)
    assert ids_of(index, Query(ZERO, 2, after=Position(2, 1.0, 2))) == [3, 4]
    index.close()


def test_a_label_of_many_rows_finds_what_brute_force_finds(artifact: Artifact, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    features = generator.exponential(1, (5000, 64)).astype(np.float32)
    labels = generator.choice(["much", "little", "rare"], 5000, p=[0.8, 0.19, 0.01])
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features, [make_entry(n, label) for n, label in enumerate(labels)])
    for number in range(0, 5000, 7):
        index.remove(number + 1)
    kept = np.arange(5000) % 7 != 0
    for label in ("much", "little", "rare"):
        distances = np.linalg.norm(features.astype(np.float64) - features[3], axis=1)
        distances[~kept | (labels != label)] = np.inf
        neighbors = index.search(Query(features[3], 20, label=label))
        assert [n.entry.id - 1 for n in neighbors] == np.argsort(distances, kind="stable")[:20].tolist()
    index.close()


def test_a_batch_equals_single_queries(artifact: Artifact, tmp_path: Path) -> None:
    """One matrix product for all queries gives single queries' results bit for bit, even with ties and removed rows."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    draw = np.random.default_rng(0)
    features = draw.exponential(1, (3000, 64)).astype(np.float32) * 50
    features[1000:1100] = features[0]  # more ties than extra candidates
    index.add(features, [make_entry(n) for n in range(3000)])
    queries = [Query(features[n] if n % 2 else draw.exponential(50, 64).astype(np.float32), 10 + n) for n in range(12)]
    queries.append(Query(features[0], 60))
    queries.append(Query(features[0], 10, after=Position(20, 0.0, 1020)))
    assert index.search_many(queries) == [index.search(query) for query in queries]
    for image_id in (1, 2, 3, 500, 1050):
        index.remove(image_id)
    assert index.search_many(queries) == [index.search(query) for query in queries]
    assert ids_of(index, Query(features[0], 60)) == [n for n in range(1001, 1062) if n != 1050]
    index.close()


@pytest.mark.parametrize("count", [5, 2048, 7000])
def test_float16_finds_nearly_the_same(artifact: Artifact, tmp_path: Path, count: int) -> None:
    features = np.random.default_rng(0).exponential(50, (count, 64)).astype(np.float32)
    single = FolderIndex.create(tmp_path / "float32", artifact)
    half = FolderIndex.create(tmp_path / "float16", artifact, dtype="float16")
    for index in (single, half):
        index.add(features, [make_entry(n, "ab"[n % 2]) for n in range(count)])
    hits = 0
    for feature in features[: min(count, 50)]:
        for label in (None, "a"):
            query = Query(feature, min(count, 10), label)
            near, other = (index.search(query) for index in (single, half))
            hits += len({n.entry.id for n in near} & {n.entry.id for n in other})
            assert [n.distance for n in near] == pytest.approx([n.distance for n in other], rel=1e-3, abs=0.5)
    assert hits >= 0.99 * 2 * min(count, 50) * (min(count, 10) if count > 10 else 4)
    for index in (single, half):
        index.close()


@pytest.mark.parametrize("feature", [np.zeros(63, np.float32), np.full(64, np.nan, np.float32)])
def test_an_invalid_feature_is_rejected(index: FolderIndex, feature: np.typing.NDArray[np.float32]) -> None:
    with pytest.raises(InvalidRequestError, match=r"expected a feature of shape|finite numbers"):
        index.search(Query(feature, 6))


@pytest.mark.parametrize("k", [0, -1, 1_000_000])
def test_k_has_bounds(index: FolderIndex, k: int) -> None:
    with pytest.raises(InvalidRequestError, match="k must be from 1 to 1000"):
        index.search(Query(ZERO, k))


def test_every_search_mode_has_a_searcher_and_a_help_text() -> None:
    assert tuple(SEARCHERS) == get_args(SearchMode)
    assert all(searcher.help for searcher in SEARCHERS.values())
    assert parse_search_mode("binary") == "binary"
    with pytest.raises(InvalidRequestError, match="unknown search mode 'fast': use exact, binary, hash_lookup"):
        parse_search_mode("fast")


def test_document_and_help_name_the_search_modes() -> None:
    root = Path(__file__).parents[3]
    for mode in SEARCHERS:
        assert f"| `{mode}` |" in (root / "docs" / "retrieval.md").read_text()
        assert mode in (root / "alexnet" / "cli" / "similar.py").read_text()


@pytest.mark.parametrize(
    ("num_images", "num_needed", "size"),
    [(500, 6, 1000), (500_000, 6, 5000), (5_000_000, 6, 10_000), (500, 1001, 4004), (5_000_000, 3000, 12_000)],
)
def test_a_shortlist_grows_with_the_index_and_with_what_is_needed(num_images: int, num_needed: int, size: int) -> None:
    assert shortlist_size(num_images, num_needed) == size


def test_modes_that_need_codes(index: FolderIndex) -> None:
    assert [mode for mode, searcher in SEARCHERS.items() if searcher.works_with(None)] == ["exact"]
    assert [mode for mode, searcher in SEARCHERS.items() if searcher.works_with(64)] == ["exact", "binary"]
    assert [mode for mode, searcher in SEARCHERS.items() if searcher.works_with(32)] == [*SEARCHERS]
    for mode in ("binary", "hash_lookup"):
        with pytest.raises(InvalidRequestError, match=f"the search mode {mode} needs binary codes"):
            index.search(Query(ZERO, mode=parse_search_mode(mode)))
