"""The search worker: searches that wait run together, in the time of a few (see `index.nearest`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from index.protocol import Index
from index.search import Neighbor, Query
from model.exceptions import IndexStoreError
from server.workers.base import BatchWorker, Job

MAX_BATCH_QUERIES = 32


@dataclass(eq=False)
class SearchJob(Job[list[Neighbor]]):
    """A query of an index."""

    index: Index
    query: Query


class SearchWorker(BatchWorker[SearchJob]):
    """Searches indexes in one thread."""

    def __init__(self) -> None:
        super().__init__("search")

    def fits(self, batch: Sequence[SearchJob], job: SearchJob) -> bool:
        return len(batch) < MAX_BATCH_QUERIES and job.index is batch[0].index

    def compute(self, batch: Sequence[SearchJob]) -> list[list[Neighbor]]:
        return batch[0].index.search_many([job.query for job in batch])

    def stopped_error(self) -> Exception:
        return IndexStoreError("the search worker has stopped")
