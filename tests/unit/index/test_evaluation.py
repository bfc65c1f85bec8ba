"""Search quality: precision, average precision and recall of small rankings that can be computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.evaluation import LabeledQuery, average_precision, evaluate, format_table
from index.folder.store import FolderIndex
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError
from tests.helpers.indexes import features_at, make_entry


def test_average_precision() -> None:
    assert average_precision(np.array([True, False, True]), 2) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision(np.zeros(3, np.bool_), 2) == 0.0
    assert average_precision(np.array([True] + [False] * 999), 500) == 1 / 500  # the other 499 are missed
    assert average_precision(np.array([True, True]), 500) == 1.0  # two results can't find more


def test_an_index_is_evaluated(artifact: Artifact, tmp_path: Path) -> None:
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1, 2, 3, 4), [make_entry(n, label) for n, label in enumerate("abab")])
    queries = [LabeledQuery(features_at(1)[0], "a", exclude_id=1), LabeledQuery(features_at(5)[0], "b")]
    result = evaluate(index, queries, [])
    index.close()
    assert (result.num_queries, result.num_indexed) == (2, 1)
    assert result.precision[1] == pytest.approx((0 + 1) / 2)  # the query itself is left out
    assert result.average_precision == pytest.approx({"a": 1 / 2, "b": (1 / 1 + 2 / 3) / 2})
    assert result.recall == {"exact": {6: 1.0, 10: 1.0}}
    assert result.to_dict()["mean_average_precision"] == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert "2 queries, 1 of them in the index; mean average precision at 1,000, averaged over" in format_table(result)


def test_queries_whose_label_no_other_image_has_are_counted(artifact: Artifact, tmp_path: Path) -> None:
    """One query is the only image of its label; another has a label that the index doesn't know."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1, 2, 3), [make_entry(n, label) for n, label in enumerate("aab")])
    feature = features_at(1)[0]
    queries = [LabeledQuery(feature, "a", 1), LabeledQuery(feature, "b", 3), LabeledQuery(feature, "c")]
    result = evaluate(index, queries, [])
    matched = evaluate(index, queries[:1], [])
    index.close()
    assert (result.num_unmatched, result.average_precision) == (2, {"a": 1.0, "b": 0.0, "c": 0.0})
    assert "queries whose label no other indexed image has: 2, counted as 0\n" in format_table(result)
    assert matched.num_unmatched == 0
    assert "no other indexed image" not in format_table(matched)


def test_queries_without_neighbors(artifact: Artifact, tmp_path: Path) -> None:
    """A query without neighbors is left out of the recall; if no query has any, there is nothing to measure."""
    index = FolderIndex.create(tmp_path / "i", artifact)
    index.add(features_at(1), [make_entry(0, "a")])
    itself, other = LabeledQuery(features_at(1)[0], "a", exclude_id=1), LabeledQuery(features_at(2)[0], "a")
    with pytest.raises(
        IndexStoreError, match="no query has a neighbor other than its own image: index at least two labeled images"
    ):
        evaluate(index, [itself], [])
    result = evaluate(index, [itself, other], [])
    index.close()
    assert (result.precision[1], result.recall) == (1 / 2, {"exact": {6: 1.0, 10: 1.0}})
