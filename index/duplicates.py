"""Find near-duplicate images of an index."""

from __future__ import annotations

import math
from collections.abc import Iterator

from index.protocol import Index, intact_entries
from index.search import Query
from model.exceptions import InvalidRequestError


def find_duplicates(index: Index, max_distance: float, neighbors: int) -> Iterator[tuple[int, int, float]]:
    """Pairs of images at most `max_distance` apart, as (id, larger id, distance).

    `neighbors`: how many of each image are compared. Raises InvalidRequestError.
    """
    if math.isnan(max_distance) or max_distance < 0:
        raise InvalidRequestError(f"the maximum distance must be 0 or more, got {max_distance}")
    for entry in intact_entries(index):
        query = Query(index.feature(entry.id), neighbors + 1, max_distance=max_distance)
        for neighbor in index.search(query):
            if neighbor.entry.id > entry.id:
                yield entry.id, neighbor.entry.id, neighbor.distance
