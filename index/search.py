"""Queries and how they are run: the search modes, filters, pages and distance limits.

A page begins after a position: the last neighbor that the caller has seen. So no neighbor is repeated or skipped when
images are added or removed between two pages.

A search mode is a name in `SearchMode` and its entry in `SEARCHERS`, which says whether it needs binary codes. A mode
that needs data of its own also needs a field in `Snapshot`, which `FolderIndex` fills and keeps up to date like `codes`
(`FolderIndex.set_encoder`, `_append`, `compact`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from index.codes import MAX_LOOKUP_BITS, Codes
from index.entries import CatalogReader, Entry, can_be_label, unknown_label_error
from index.features import FeatureFile
from index.row_table import RowTable
from index.scanning.distances import NearestRows, nearest_candidates, rerank
from index.scanning.nearest import MIN_BATCH_QUERIES, nearest, nearest_batch
from index.scanning.scanners import FeatureMatrix, GpuScanner, SearchedRows, SearchPool
from model.exceptions import InvalidRequestError

SearchMode = Literal["exact", "binary", "hash_lookup"]
MAX_PAGE_SIZE = 1000
"""Neighbors on a page. The server asks for one more to know whether a next page exists, so a query's k may be 1001."""
MIN_SHORTLIST = 1000
ROWS_PER_SHORTLIST_ENTRY = 100
"""One row in this many is shortlisted by Hamming distance."""
MAX_SHORTLIST = 10_000
"""Reading this many rows from the disk takes a few hundredths of a second."""
SHORTLIST_PER_NEIGHBOR = 4
LOOKUP_RADIUS = 2
"""Maximum number of bits in which a code may differ in hash lookup (Salakhutdinov and Hinton, Semantic Hashing)."""
MAX_EXCLUDED_IN_BATCH = 256
"""Queries are run as one batch only if at most this many rows are removed or damaged."""


def parse_search_mode(name: str) -> SearchMode:
    """Parse the name of a search mode. Raises InvalidRequestError."""
    if name not in get_args(SearchMode):
        raise InvalidRequestError(f"unknown search mode {name!r}: use {', '.join(get_args(SearchMode))}")
    return cast(SearchMode, name)


@dataclass(frozen=True)
class Position:
    """A neighbor in the ranking of a query. `rank`: its rank, from 1, when it was found."""

    rank: int
    distance: float
    image_id: int

    def count_up_to(self, ids: NDArray[np.int64], distances: NDArray[np.float64]) -> int:
        """Number of these neighbors, nearest first, at or before the position, even if its image was removed."""
        (rows,) = np.nonzero(ids == self.image_id)
        if len(rows):
            return int(rows[0]) + 1
        tied = (distances == self.distance) & (ids < self.image_id)
        return int(np.count_nonzero((distances < self.distance) | tied))


@dataclass(frozen=True)
class Query:
    """A query for the k images nearest to a (dim,) float32 `feature`, or the next k `after` a position.

    `label`: only images with this label. `max_distance`: none further away. `mode`: how candidates are found; distances
    are exact in every mode.
    """

    feature: NDArray[np.float32]
    k: int = 6
    label: str | None = None
    after: Position | None = None
    max_distance: float | None = None
    mode: SearchMode = "exact"

    @property
    def num_needed(self) -> int:
        """Number of neighbors to find, including those up to `after`."""
        return self.k + (0 if self.after is None else self.after.rank)

    def page(self, ids: NDArray[np.int64], distances: NDArray[np.float64]) -> slice:
        """The part of these neighbors, nearest first, that the query asks for."""
        start = 0 if self.after is None else self.after.count_up_to(ids, distances)
        return slice(start, start + self.k)

    def widen(self, page: slice, count: int) -> Query | None:
        """A query for more neighbors, or None if the `count` found are enough.

        More are needed if images added before the position push the page beyond the neighbors found. The number is
        doubled until the position is reached.
        """
        if self.after is None or not page.stop > count >= self.num_needed:
            return None
        rank = page.start if page.start < count else 2 * count
        return replace(self, after=replace(self.after, rank=rank))

    def check(self, dim: int) -> None:
        """Raise InvalidRequestError unless the query fits features of `dim` numbers and its label could be stored."""
        if self.feature.shape != (dim,):
            raise InvalidRequestError(f"expected a feature of shape ({dim},), got {self.feature.shape}")
        if not np.isfinite(self.feature).all():
            raise InvalidRequestError("the feature of a query must consist of finite numbers")
        if not 1 <= self.k <= MAX_PAGE_SIZE + 1:
            raise InvalidRequestError(f"k must be from 1 to {MAX_PAGE_SIZE}, got {self.k}")
        if self.label is not None and not can_be_label(self.label):
            raise unknown_label_error(self.label)


@dataclass(frozen=True)
class Neighbor:
    """An image and its Euclidean distance from the query."""

    entry: Entry
    distance: float


class NearestIds(NamedTuple):
    """(k,) int64 image ids and their (k,) float64 Euclidean distances, nearest first."""

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class Snapshot:
    """Immutable references to the features, rows and codes of an index, for use by one search.

    Compaction, repairs and a change of the encoder replace the snapshot. Additions are appended to its parts.
    """

    features: FeatureFile
    rows: RowTable
    codes: Codes | None = None


@dataclass(frozen=True)
class Searcher:
    """A search mode.

    `run`: runs one query over rows of `snapshot.features`. It is passed these rows, because others may be appended
    during the search. `needs_codes`: whether it needs binary codes. `max_code_bits`: the
    maximum length of a code in bits.
    """

    help: str
    run: Callable[[Snapshot, SearchedRows, Query], NearestRows]
    needs_codes: bool = False
    max_code_bits: int | None = None

    def works_with(self, code_bits: int | None) -> bool:
        """Whether this mode can search an index with codes of `code_bits` bits; None: an index without codes."""
        if code_bits is None:
            return not self.needs_codes
        return self.max_code_bits is None or code_bits <= self.max_code_bits


def _search_exact(snapshot: Snapshot, searched: SearchedRows, query: Query) -> NearestRows:
    file = snapshot.features
    return nearest(searched, query.feature, query.num_needed, file.scanner, file.copies)


def _search_binary(snapshot: Snapshot, searched: SearchedRows, query: Query) -> NearestRows:
    codes, (matrix, pool, mask) = _require_codes(snapshot, query), searched
    count = shortlist_size(len(matrix), query.num_needed)
    rows = codes.shortlist(query.feature, count, len(matrix), pool, mask)
    return rerank(matrix, rows, query.feature, query.num_needed, pool)


def shortlist_size(num_images: int, num_needed: int) -> int:
    """Number of images to shortlist by Hamming distance."""
    scaled = min(MAX_SHORTLIST, num_images // ROWS_PER_SHORTLIST_ENTRY)
    return max(MIN_SHORTLIST, SHORTLIST_PER_NEIGHBOR * num_needed, scaled)


def _search_by_lookup(snapshot: Snapshot, searched: SearchedRows, query: Query) -> NearestRows:
    matrix, pool, mask = searched
    rows = _require_codes(snapshot, query).radius_search(query.feature, LOOKUP_RADIUS, len(matrix), mask)
    return rerank(matrix, rows, query.feature, query.num_needed, pool)


SEARCHERS: dict[SearchMode, Searcher] = {
    "exact": Searcher("compares the query with every image", _search_exact),
    "binary": Searcher(
        "shortlists by Hamming distance of binary codes, then reranks by exact distance",
        _search_binary,
        needs_codes=True,
    ),
    "hash_lookup": Searcher(
        f"looks up binary codes within {LOOKUP_RADIUS} bits of the query's code, for codes of up to {MAX_LOOKUP_BITS} "
        "bits; may find fewer than k",
        _search_by_lookup,
        needs_codes=True,
        max_code_bits=MAX_LOOKUP_BITS,
    ),
}
SEARCH_MODE_HELP = "; ".join(f"{mode}: {searcher.help}" for mode, searcher in SEARCHERS.items()) + "."
"""Help text for an option or parameter that takes a search mode."""


def run_queries(
    snapshot: Snapshot, matrix: FeatureMatrix, queries: Sequence[Query], pool: SearchPool
) -> list[NearestIds]:
    """The nearest images of each query, ties by id. A query has the same result alone and in a batch.

    `matrix`: the snapshot's rows when the search begins. Raises InvalidRequestError.
    """
    ids, mask = snapshot.rows.select(len(matrix), None)
    all_rows = SearchedRows(matrix, pool, mask)
    batched = _run_batch(snapshot, all_rows, queries)
    results = []
    for number, query in enumerate(queries):
        result = batched.get(number)
        searched = all_rows
        if query.label is not None:
            searched = all_rows._replace(mask=snapshot.rows.select(len(matrix), query.label)[1])

        def search(current: Query, searched: SearchedRows = searched) -> NearestIds:
            rows, distances = SEARCHERS[current.mode].run(snapshot, searched, current)
            return NearestIds(ids[rows], distances)

        first = search(query) if result is None else NearestIds(ids[result.rows], result.distances)
        results.append(take_page(query, first, search))
    return results


def take_page(query: Query, nearest_ids: NearestIds, search: Callable[[Query], NearestIds]) -> NearestIds:
    """The page of a query from the neighbors found so far; `search` finds more if these are too few."""
    page = query.page(*nearest_ids)
    while wider := query.widen(page, len(nearest_ids.ids)):
        query, nearest_ids = wider, search(wider)
        page = query.page(*nearest_ids)
    ids, distances = nearest_ids.ids[page], nearest_ids.distances[page]
    if query.max_distance is not None:
        near = distances <= query.max_distance
        ids, distances = ids[near], distances[near]
    return NearestIds(ids, distances)


def rank_candidates(
    query: Query, find_candidates: Callable[[int], tuple[NDArray[np.int64], NDArray[np.float32]]]
) -> NearestIds:
    """The nearest of the candidates that a database finds, measured in float64, nearest first, ties by id.

    `find_candidates`: given n, returns the ids and (N, dim) features of a superset of the n nearest images.
    """

    def search(current: Query) -> NearestIds:
        ids, features = find_candidates(current.num_needed)
        order = np.argsort(ids)
        rows, distances = nearest_candidates(features[order], np.arange(len(ids)), current.feature, current.num_needed)
        return NearestIds(ids[order][rows], distances)

    return take_page(query, search(query), search)


def attach_entries(
    queries: Sequence[Query], results: Sequence[NearestIds], catalog: CatalogReader
) -> list[list[Neighbor]]:
    """Neighbors with their entries. Images that were removed since the search, or whose label no longer matches the
    query, are left out."""
    ids = sorted({int(image_id) for result in results for image_id in result.ids})
    entries = {entry.id: entry for entry in catalog.lookup(ids)}
    return [
        [
            Neighbor(entries[image_id], distance)
            for image_id, distance in zip(result.ids.tolist(), result.distances.tolist(), strict=True)
            if image_id in entries and query.label in (None, entries[image_id].label)
        ]
        for query, result in zip(queries, results, strict=True)
    ]


def _run_batch(snapshot: Snapshot, searched: SearchedRows, queries: Sequence[Query]) -> dict[int, NearestRows]:
    """Run the exact queries without a label in one pass, if that is faster. Returns query number -> result."""
    numbers = [number for number, query in enumerate(queries) if query.mode == "exact" and query.label is None]
    features = searched.features
    if (
        len(numbers) < MIN_BATCH_QUERIES
        or not len(features)
        or len(features) - searched.num_selected > MAX_EXCLUDED_IN_BATCH
        or features.dtype != np.float32
        or isinstance(snapshot.features.scanner, GpuScanner)
    ):
        return {}
    stacked = np.stack([queries[number].feature for number in numbers])
    k = max(queries[number].num_needed for number in numbers)
    file = snapshot.features
    results = nearest_batch(searched, file.squared_norms, stacked, k, file.copies)
    return dict(zip(numbers, results, strict=True))


def _require_codes(snapshot: Snapshot, query: Query) -> Codes:
    if snapshot.codes is None:
        raise no_codes_error(query.mode)
    return snapshot.codes


def no_codes_error(mode: SearchMode) -> InvalidRequestError:
    return InvalidRequestError(
        f"the search mode {mode} needs binary codes, and this index has none: make them with `alexnet codes train`"
    )
