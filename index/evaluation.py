"""How good the answers of an index are: by label, and of its faster searches against the exact one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.protocol import Index
from index.search import MAX_NEIGHBORS, Query, Search

TOGETHER = 32
PRECISION_AT, RECALL_AT = (1, 6, 10), (6, 10)


@dataclass(frozen=True)
class LabeledQuery:
    """A (dim,) feature whose right neighbors have `label`. `itself`: the id of the image that it is, which is no
    answer; 0 if it isn't indexed."""

    feature: NDArray[np.float32]
    label: str
    itself: int = 0


@dataclass(frozen=True)
class Evaluation:
    """`precision`: k -> the share of the k nearest with the query's label. `average_precision`: label -> the mean over
    its queries, of the first 1000. `recall`: search -> k -> the share of the exact k nearest that it finds.
    `milliseconds`: search -> of one query, the median."""

    queries: int
    precision: dict[int, float]
    average_precision: dict[str, float]
    recall: dict[str, dict[int, float]]
    milliseconds: dict[str, float]

    @property
    def mean_average_precision(self) -> float:
        return float(np.mean(list(self.average_precision.values())))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"mean_average_precision": self.mean_average_precision}


def average_precision(right: NDArray[np.bool_]) -> float:
    """Of one ranked answer: the mean of the precision at each right place; 0 without any."""
    places = np.flatnonzero(right)
    return float(((1 + np.arange(len(places))) / (1 + places)).mean()) if len(places) else 0.0


def evaluate(index: Index, asked: Sequence[LabeledQuery], searches: Sequence[Search]) -> Evaluation:
    """Ask everything by the exact search, 32 at once, and by each of `searches`."""
    labels = {entry.id: entry.label for entry in index.catalog.everything()}
    ranked: list[NDArray[np.int64]] = []
    for start in range(0, len(asked), TOGETHER):
        some = asked[start : start + TOGETHER]
        found = index.answers([Query(one.feature, MAX_NEIGHBORS) for one in some])
        ranked += [ids[ids != one.itself] for (ids, _), one in zip(found, some, strict=True)]
    right = [
        np.array([labels.get(int(i)) == one.label for i in ids], np.bool_)
        for ids, one in zip(ranked, asked, strict=True)
    ]
    by_label: dict[str, list[float]] = {}
    for one, hits in zip(asked, right, strict=True):
        by_label.setdefault(one.label, []).append(average_precision(hits))
    recall: dict[str, dict[int, float]] = {}
    milliseconds: dict[str, float] = {}
    for search in dict.fromkeys(("exact", *searches)):
        recall[search], milliseconds[search] = _against(index, asked, ranked, search)
    return Evaluation(
        len(asked),
        {k: float(np.mean([hits[:k].mean() if len(hits) else 0 for hits in right])) for k in PRECISION_AT},
        {label: float(np.mean(values)) for label, values in sorted(by_label.items())},
        recall,
        milliseconds,
    )


def _against(
    index: Index, asked: Sequence[LabeledQuery], ranked: Sequence[NDArray[np.int64]], search: Search
) -> tuple[dict[int, float], float]:
    """Recall at each k of RECALL_AT, and the median time."""
    hits: dict[int, list[float]] = {k: [] for k in RECALL_AT}
    times = []
    for one, exact in zip(asked, ranked, strict=True):
        begun = time.perf_counter()
        ((ids, _),) = index.answers([Query(one.feature, 1 + max(RECALL_AT), search=search)])
        times.append(1000 * (time.perf_counter() - begun))
        ids = ids[ids != one.itself]
        for k in RECALL_AT:
            if len(exact):
                hits[k].append(len(set(ids[:k].tolist()) & set(exact[:k].tolist())) / min(k, len(exact)))
    return {k: float(np.mean(shares)) for k, shares in hits.items()}, float(np.median(times))


def table(found: Evaluation) -> str:
    """For people."""
    lines = [f"{found.queries:,} queries; mean average precision by label {100 * found.mean_average_precision:.2f} %"]
    lines += [f"precision at {k:2}: {100 * share:6.2f} %" for k, share in found.precision.items()]
    lines.append(f"{'search':10} {'recall at 6':>12} {'recall at 10':>13} {'a query':>10}")
    for search, shares in found.recall.items():
        six, ten = (100 * shares[k] for k in RECALL_AT)
        lines.append(f"{search:10} {six:10.2f} % {ten:11.2f} % {found.milliseconds[search]:7.1f} ms")
    return "\n".join(lines)


def plot(found: Evaluation, path: Path) -> None:
    """Average precision of each label, worst first, and precision by k, as an image. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 3))
    left.bar([str(k) for k in found.precision], [100 * share for share in found.precision.values()], color="#2563a8")
    left.set(xlabel="k nearest", ylabel="with the same label, %", ylim=(0, 100))
    values = sorted(found.average_precision.items(), key=lambda item: item[1])
    right.bar(range(len(values)), [100 * value for _, value in values], color="#2563a8")
    right.set(ylabel="average precision, %", ylim=(0, 100))
    if len(values) <= 100:
        right.set_xticks(range(len(values)), [label for label, _ in values], rotation=90, fontsize=6)
    figure.savefig(path, dpi=150)
