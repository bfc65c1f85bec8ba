"""Search quality: precision by label, and each search mode's time per query and recall against exact search."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.protocol import Index
from index.search import MAX_PAGE_SIZE, Query, SearchMode
from model.exceptions import IndexStoreError

BATCH_SIZE = 32
PRECISION_AT = (1, 6, 10)
RECALL_AT = (6, 10)


@dataclass(frozen=True)
class LabeledQuery:
    """A (dim,) feature whose relevant neighbors have `label`.

    `exclude_id`: the id of the query's own image, which doesn't count as a neighbor; 0 if it isn't indexed.
    """

    feature: NDArray[np.float32]
    label: str
    exclude_id: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Search quality over `num_queries` queries, of which `num_indexed` are in the index themselves.

    `num_unmatched`: queries whose label no other image in the index has; their precision is 0. `precision`: k -> share
    of the k nearest with the query's label. `average_precision`: label -> mean over its queries, computed from the
    first 1,000 search results without the query itself. `recall`: search mode -> k -> share of the exact k nearest that
    it finds. `milliseconds`: search mode -> median time per query.
    """

    num_queries: int
    num_indexed: int
    num_unmatched: int
    precision: dict[int, float]
    average_precision: dict[str, float]
    recall: dict[str, dict[int, float]]
    milliseconds: dict[str, float]

    @property
    def mean_average_precision(self) -> float:
        return float(np.mean(list(self.average_precision.values())))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"mean_average_precision": self.mean_average_precision}


def average_precision(relevant: NDArray[np.bool_], num_relevant: int) -> float:
    """AP@K of a ranking: the sum of the precision at each relevant rank, divided by min(`num_relevant`, K); 0 if
    no result is relevant.

    `relevant` (K,): whether each result is relevant. `num_relevant`: number of relevant images in the ranking and
    beyond it, so that a ranking that misses some scores lower.
    """
    ranks = np.flatnonzero(relevant)
    precisions = (1 + np.arange(len(ranks))) / (1 + ranks)
    return float(precisions.sum() / min(num_relevant, len(relevant))) if len(ranks) else 0.0


def evaluate(index: Index, queries: Sequence[LabeledQuery], modes: Sequence[SearchMode]) -> Evaluation:
    """Run all queries with exact search in batches of 32, then one by one with exact search and each of `modes`.

    Raises IndexStoreError if no query has a neighbor.
    """
    labels = {entry.id: entry.label for entry in index.catalog.iter_entries()}
    rankings: list[NDArray[np.int64]] = []
    for start in range(0, len(queries), BATCH_SIZE):
        batch = queries[start : start + BATCH_SIZE]
        results = index.search_ids([Query(query.feature, MAX_PAGE_SIZE) for query in batch])
        rankings += [r.ids[r.ids != query.exclude_id] for r, query in zip(results, batch, strict=True)]
    if not any(len(ids) for ids in rankings):
        raise IndexStoreError("no query has a neighbor other than its own image: index at least two labeled images")
    relevant = [
        np.array([labels.get(int(image_id)) == query.label for image_id in ids], np.bool_)
        for ids, query in zip(rankings, queries, strict=True)
    ]
    counts = Counter(labels.values())
    num_others = [counts[query.label] - (labels.get(query.exclude_id) == query.label) for query in queries]
    by_label: dict[str, list[float]] = {}
    for query, hits, num_relevant in zip(queries, relevant, num_others, strict=True):
        by_label.setdefault(query.label, []).append(average_precision(hits, num_relevant))
    recall: dict[str, dict[int, float]] = {}
    milliseconds: dict[str, float] = {}
    for mode in dict.fromkeys(("exact", *modes)):
        recall[mode], milliseconds[mode] = _measure_mode(index, queries, rankings, mode)
    return Evaluation(
        num_queries=len(queries),
        num_indexed=sum(query.exclude_id > 0 for query in queries),
        num_unmatched=num_others.count(0),
        precision={k: float(np.mean([hits[:k].mean() if len(hits) else 0 for hits in relevant])) for k in PRECISION_AT},
        average_precision={label: float(np.mean(values)) for label, values in sorted(by_label.items())},
        recall=recall,
        milliseconds=milliseconds,
    )


def _measure_mode(
    index: Index, queries: Sequence[LabeledQuery], rankings: Sequence[NDArray[np.int64]], mode: SearchMode
) -> tuple[dict[int, float], float]:
    """Recall at each k of RECALL_AT against the exact `rankings`, and the median time per query."""
    recall: dict[int, list[float]] = {k: [] for k in RECALL_AT}
    times = []
    for query, exact in zip(queries, rankings, strict=True):
        start = time.perf_counter()
        ((ids, _),) = index.search_ids([Query(query.feature, 1 + max(RECALL_AT), mode=mode)])
        times.append(1000 * (time.perf_counter() - start))
        ids = ids[ids != query.exclude_id]
        for k in RECALL_AT:
            if len(exact):
                recall[k].append(len(set(ids[:k].tolist()) & set(exact[:k].tolist())) / min(k, len(exact)))
    return {k: float(np.mean(shares)) for k, shares in recall.items()}, float(np.median(times))


def format_table(result: Evaluation) -> str:
    """The evaluation as text."""
    indexed = f", {result.num_indexed:,} of them in the index" if result.num_indexed else ""
    lines = [
        f"{result.num_queries:,} queries{indexed}; mean average precision at {MAX_PAGE_SIZE:,}, averaged over labels: "
        f"{100 * result.mean_average_precision:.2f} %"
    ]
    if result.num_unmatched:
        lines.append(f"queries whose label no other indexed image has: {result.num_unmatched:,}, counted as 0")
    lines += [f"precision at {k:2}: {100 * share:6.2f} %" for k, share in result.precision.items()]
    columns = [f"  recall at {k}" for k in RECALL_AT]
    lines.append(f"{'search mode':12}{''.join(columns)}  per query")
    for mode, shares in result.recall.items():
        cells = [f"{100 * shares[k]:{len(column) - 2}.2f} %" for k, column in zip(RECALL_AT, columns, strict=True)]
        lines.append(f"{mode:12}{''.join(cells)} {result.milliseconds[mode]:7.1f} ms")
    return "\n".join(lines)
