"""Near-duplicate images of an index."""

from __future__ import annotations

from collections.abc import Iterator

from index.search import Query
from index.store import ImageIndex
from model.exceptions import InvalidRequestError


def find_duplicates(index: ImageIndex, max_distance: float, num_neighbors: int) -> Iterator[tuple[int, int, float]]:
    """Pairs of images at most `max_distance` apart: id, larger id, distance. Raises InvalidRequestError.

    The `num_neighbors` nearest of each image are compared with it.
    """
    if not max_distance >= 0:
        raise InvalidRequestError(f"--max-distance must be 0 or more, got {max_distance}")
    for entry in index.catalog.iter_entries():
        if entry.id in index.damaged:
            continue
        for near in index.search(Query(index.feature(entry.id), num_neighbors + 1, max_distance=max_distance)):
            if near.entry.id > entry.id:
                yield entry.id, near.entry.id, near.distance
