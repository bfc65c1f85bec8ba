"""Queries and their answers: exact, by binary code, or by a code as an address; filtered, paged and bounded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from index.catalog import Entry
from index.codes import Codes
from index.features import FeatureFile
from index.nearest import TOGETHER, Found, Rows, nearest, nearest_batch, rank, scan
from index.row_table import RowTable
from model.exceptions import InvalidRequestError

Search = Literal["exact", "binary", "addresses"]
MAX_NEIGHBORS = 1000
SHORTLIST, SHARE, MOST = 1000, 100, 10_000
"""Candidates by Hamming distance that are measured exactly: one row in 100, at least the first number and four for each
neighbor that is asked for, at most the last, whose rows are read in some hundredths of a second."""
RADIUS = 2
"""Bits in which an address may differ (Salakhutdinov and Hinton's semantic hashing)."""
FEW = 256
"""Rows that don't count, up to which queries are still answered together."""


class Present(Protocol):
    """What knows the images of ids."""

    def present(self, ids: Sequence[int]) -> list[Entry]: ...


def parse_search_mode(name: str) -> Search:
    """A way to search by its name. Raises InvalidRequestError."""
    if name not in get_args(Search):
        raise InvalidRequestError(f"expected a search of {', '.join(get_args(Search))}, found {name!r}")
    return cast(Search, name)


@dataclass(frozen=True)
class Query:
    """The k nearest images of a (dim,) float32 `feature` behind the first `offset`.

    `label`: of those with this label only. `max_distance`: none that is further. `search`: `exact`; `binary`, the best
    of a shortlist by Hamming distance; `addresses`, of those whose codes differ in at most two bits, be they fewer
    than k. Distances are exact in all of them.
    """

    feature: NDArray[np.float32]
    k: int = 6
    label: str | None = None
    offset: int = 0
    max_distance: float | None = None
    search: Search = "exact"

    @property
    def last(self) -> int:
        return self.offset + self.k

    def require(self, dim: int) -> None:
        """Raise InvalidRequestError unless it can be asked of features of `dim` numbers."""
        if self.feature.shape != (dim,) or not np.isfinite(self.feature).all():
            raise InvalidRequestError(f"expected a finite feature of {dim} numbers, found {self.feature.shape}")
        if not 1 <= self.k <= MAX_NEIGHBORS or self.offset < 0:
            raise InvalidRequestError(
                f"expected k from 1 to {MAX_NEIGHBORS} and an offset, found {self.k} and {self.offset}"
            )


@dataclass(frozen=True)
class Neighbor:
    """An image and its Euclidean distance from the query."""

    entry: Entry
    distance: float


@dataclass(frozen=True)
class Version:
    """What is searched at one time; compacting replaces it as a whole."""

    rows: FeatureFile
    members: RowTable
    codes: Codes | None = None


def answer(version: Version, rows: Rows, queries: Sequence[Query], pool: ThreadPoolExecutor) -> list[Found]:
    """The ids and distances of each query's images, nearest first, ties by id: the same alone or together.

    `rows`: the version's, as they are now. Raises InvalidRequestError.
    """
    together = [query for query in queries if query.search == "exact" and query.label is None]
    ids, wanted = version.members.select(len(rows), None)
    unwanted = np.empty(0, np.int64) if wanted is None else np.flatnonzero(~wanted)
    found: dict[int, Found] = {}
    if len(together) >= TOGETHER and len(rows) and len(unwanted) <= FEW and version.rows.scan is scan:
        features = np.stack([query.feature for query in together])
        k = max(query.last for query in together)
        answers = nearest_batch(rows, version.rows.norms(rows), features, k, pool, unwanted)
        found = {id(query): one for query, one in zip(together, answers, strict=True)}
    results = []
    for query in queries:
        numbers, distances = found[id(query)] if id(query) in found else _alone(version, rows, query, wanted, pool)
        page = slice(query.offset, query.last)
        numbers, distances = numbers[page], distances[page]
        if query.max_distance is not None:
            numbers, distances = numbers[distances <= query.max_distance], distances[distances <= query.max_distance]
        results.append((ids[numbers], distances))
    return results


def _alone(
    version: Version, rows: Rows, query: Query, wanted: NDArray[np.bool_] | None, pool: ThreadPoolExecutor
) -> Found:
    if query.label is not None:
        wanted = version.members.select(len(rows), query.label)[1]
    if query.search == "exact":
        return nearest(rows, query.feature, query.last, pool, wanted, version.rows.scan)
    codes = version.codes
    if codes is None:
        raise InvalidRequestError(
            f"expected an index with codes for a search by {query.search}, found one without: make them with "
            "`alexnet codes train`"
        )
    if query.search == "binary":
        count = max(SHORTLIST, 4 * query.last, min(MOST, len(codes) // SHARE))
        near = codes.shortlist(query.feature, count, pool, wanted)
    else:
        near = codes.within(query.feature, RADIUS, wanted)
    return rank(rows, near, query.feature, query.last, pool)


def neighbors(found: Sequence[Found], catalog: Present) -> list[list[Neighbor]]:
    """Answers as images; one that was removed meanwhile is left out."""
    ids = sorted({int(number) for numbers, _ in found for number in numbers})
    entries = {entry.id: entry for entry in catalog.present(ids)}
    return [
        [Neighbor(entries[i], d) for i, d in zip(ids.tolist(), ds.tolist(), strict=True) if i in entries]
        for ids, ds in found
    ]
