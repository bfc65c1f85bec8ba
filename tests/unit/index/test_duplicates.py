"""Near-duplicates of an index."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from index.duplicates import find_duplicates
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import InvalidRequestError
from tests.helpers.indexes import features_at, make_entry


def test_each_pair_is_found_once(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(features_at(4, 9, 5, 7.5), [make_entry(n, label) for n, label in enumerate("aabb")])
    pairs = list(find_duplicates(index, 0.25, 10))
    assert [(pair.first.id, pair.second.id, pair.distance) for pair in pairs] == [(1, 3, 0.25), (2, 4, 0.2)]
    assert [pair.has_two_labels for pair in pairs] == [True, True]
    assert [pair.first.label for pair in find_duplicates(index, 0.2, 10)] == ["a"]
    for wrong in (-1, math.nan):
        with pytest.raises(InvalidRequestError, match="must be 0 or more"):
            list(find_duplicates(index, wrong, 10))
    index.close()
