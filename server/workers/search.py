"""The search worker: waiting searches run together, in the time of a few (see `index.scanning.nearest`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from index.protocol import Index
from index.search import NearestIds, Neighbor, Position, Query, attach_entries
from model.exceptions import IndexStoreError
from server.workers.base import BatchWorker, Job

MAX_BATCH_QUERIES = 32


@dataclass(frozen=True)
class SearchResult:
    """The neighbors of one page. `last`: the position after which the next page begins; None on the last page.
    `total`: number of images in the index, or with the label. `index_size`: number of images in the index."""

    neighbors: list[Neighbor]
    last: Position | None
    total: int
    index_size: int


@dataclass(eq=False)
class SearchJob(Job[SearchResult]):
    """A query of an index."""

    index: Index
    query: Query


class SearchWorker(BatchWorker[SearchJob]):
    """Searches indexes in one thread."""

    def __init__(self) -> None:
        super().__init__("search")

    def fits(self, batch: Sequence[SearchJob], job: SearchJob) -> bool:
        return len(batch) < MAX_BATCH_QUERIES and job.index is batch[0].index

    def compute(self, batch: Sequence[SearchJob]) -> list[SearchResult]:
        index, queries = batch[0].index, [job.query for job in batch]
        nearest = index.search_ids([replace(query, k=query.k + 1) for query in queries])  # one more: is there a next?
        pages = [NearestIds(n.ids[: q.k], n.distances[: q.k]) for n, q in zip(nearest, queries, strict=True)]
        neighbors = attach_entries(queries, pages, index.catalog)
        totals = {label: index.count(label) for label in {None, *(query.label for query in queries)}}
        return [
            SearchResult(page, _last_position(query, ids), totals[query.label], totals[None])
            for page, ids, query in zip(neighbors, nearest, queries, strict=True)
        ]

    def stopped_error(self) -> Exception:
        return IndexStoreError("the search worker has stopped")


def _last_position(query: Query, nearest: NearestIds) -> Position | None:
    """The position of the k-th of k + 1 neighbors; None if there are at most k. The neighbor itself may be missing on
    the page, if it has been removed or relabeled."""
    if len(nearest.ids) <= query.k:
        return None
    rank = query.k + (query.after.rank if query.after else 0)
    return Position(rank, float(nearest.distances[query.k - 1]), int(nearest.ids[query.k - 1]))
