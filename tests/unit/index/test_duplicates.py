"""Near-duplicates of an index."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from index.duplicates import find_duplicates
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError
from tests.helpers.indexes import features_at, make_entry


def test_each_pair_is_found_once(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(4, 9, 5, 7.5), [make_entry(n, label) for n, label in enumerate("aabb")])
    pairs = list(find_duplicates(index, 0.25, 10))
    assert [(pair.first.id, pair.second.id, pair.distance) for pair in pairs] == [(1, 3, 0.25), (2, 4, 0.2)]
    assert [pair.has_two_labels for pair in pairs] == [True, True]
    assert [pair.first.label for pair in find_duplicates(index, 0.2, 10)] == ["a"]
    for wrong in (-1, math.nan):
        with pytest.raises(InvalidRequestError, match="must be 0 or more"):
            list(find_duplicates(index, wrong, 10))
    index.close()


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 1, 2], [3, 2, 1, 0]])
def test_pairs_do_not_depend_on_the_order_of_ids(artifact: Artifact, tmp_path: Path, order: list[int]) -> None:
    """The last image isn't among the two nearest of any other image: those are nearer to one another."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    features = features_at(10, 10.01, 10.02, 10.3)
    index.add(features[order], [make_entry(number, str(number)) for number in order])
    pairs = list(find_duplicates(index, 0.05, 2))
    index.close()
    assert all(pair.first.id < pair.second.id for pair in pairs)
    assert sorted(sorted(f"{pair.first.label}{pair.second.label}") for pair in pairs) == [
        ["0", "1"], ["0", "2"], ["1", "2"], ["1", "3"], ["2", "3"]
    ]  # fmt: skip


def test_pairs_of_several_batches_are_found_once(artifact: Artifact, tmp_path: Path) -> None:
    """Images `n` and `n + 70` are copies."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(*[1.5**n for n in range(70)] * 2), [make_entry(number) for number in range(140)])
    assert [(pair.first.id, pair.second.id) for pair in find_duplicates(index, 0.05, 3)] == [
        (number, number + 70) for number in range(1, 71)
    ]
    index.close()
