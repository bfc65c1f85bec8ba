"""Search in PostgreSQL: find candidates by pgvector's float32 distances, to be ranked in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.feature_space import FeatureSpace
from index.postgres.codes import PostgresCodes
from index.postgres.connections import Cursor, Database
from index.postgres.vectors import to_bits, to_features, to_query
from index.scanning.scanners import OVERFETCH, UNIT_ROUNDOFF
from index.search import LOOKUP_RADIUS, Query, SearchMode

MAX_EF_SEARCH = 1000
"""pgvector's limit; beyond it, the graph search continues in steps (`hnsw.iterative_scan`)."""
WITHOUT_CODE = "SELECT id FROM images WHERE NOT coded"
SHORTLISTS: dict[SearchMode, str] = {
    "binary": "(SELECT id FROM {codes} WHERE active ORDER BY code <~> %(code)s LIMIT %(shortlist)s)",
    "hash_lookup": "SELECT id FROM {codes} WHERE active AND code <~> %(code)s <= %(radius)s",
}
SHORTLIST_OF_LABEL = (
    "(SELECT id FROM {codes} JOIN images USING (id) WHERE label = %(label)s AND NOT removed "
    "ORDER BY (code <~> %(code)s) + 0 LIMIT %(shortlist)s)"
)
"""With a label, every code is compared: `+ 0` keeps PostgreSQL from using the graph, which has no labels."""


class CandidateSearch:
    """One query. `codes`: the index's, if its mode needs codes. `shortlist`: number of ids to shortlist by code."""

    def __init__(
        self, database: Database, space: FeatureSpace, query: Query, codes: PostgresCodes | None, shortlist: int
    ) -> None:
        self._database, self._space, self._query, self._shortlist = database, space, query, shortlist
        self._values: dict[str, Any] = {"query": to_query(query.feature), "label": query.label}
        source = "images"
        if query.mode != "exact":
            assert codes is not None
            (self._values["code"],) = to_bits(codes.encoder.encode(query.feature[None]), codes.encoder.bits)
            self._values |= {"shortlist": shortlist, "radius": LOOKUP_RADIUS}
            by_label = query.mode == "binary" and query.label is not None
            template = SHORTLIST_OF_LABEL if by_label else SHORTLISTS[query.mode]
            source = f"({template.format(codes=codes.table)} UNION ALL {WITHOUT_CODE}) AS listed JOIN images USING (id)"
        condition = "NOT removed" + ("" if query.label is None else " AND label = %(label)s")
        column = "feature" if space.dtype == "float32" else "feature::vector"
        self._measured = f"SELECT id, feature, {column} <-> %(query)s AS distance FROM {source} WHERE {condition}"

    def find(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and (N, dim) features of images that include the `count` nearest.

        pgvector sums squares in float32: images that its rounding may have put after the `count`-th are fetched, too.
        """
        limit = count + OVERFETCH
        shortlisted = self._query.mode == "binary"
        with self._database.transaction() if shortlisted else self._database.reading() as cursor:
            if shortlisted:
                self._set_graph_search(cursor)
            rows = self._fetch(cursor, "ORDER BY distance, id LIMIT %(limit)s", limit=limit)
            if len(rows) == limit:
                bound = rows[count - 1][2] * self._rounding_factor()
                if rows[-1][2] <= bound:
                    rows = self._fetch(cursor, "", bound=bound)
        ids = np.array([row[0] for row in rows], np.int64)
        return ids, to_features([row[1] for row in rows], self._space.dim, self._space.dtype)

    def _fetch(self, cursor: Cursor, order: str, **values: float) -> list[Any]:
        statement = f"{self._measured} {order}"
        if "bound" in values:
            statement = f"SELECT * FROM ({self._measured}) AS measured WHERE distance <= %(bound)s"
        return cursor.execute(statement, self._values | values).fetchall()

    def _set_graph_search(self, cursor: Cursor) -> None:
        cursor.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true)",
            [str(min(MAX_EF_SEARCH, self._shortlist))],
        )

    def _rounding_factor(self) -> float:
        """Error factor for distances whose squares are float32 sums of `dim` numbers."""
        return float(np.sqrt(1 + 3 * self._space.dim * UNIT_ROUNDOFF))


def label_exists(database: Database, label: str) -> bool:
    """Whether any image, removed or not, has the label. Those not removed are tried first: they have an SQL index."""
    with database.reading() as cursor:
        rows = cursor.execute(
            "SELECT EXISTS (SELECT FROM images WHERE label = %(label)s AND NOT removed) "
            "OR EXISTS (SELECT FROM images WHERE label = %(label)s)",
            {"label": label},
        ).fetchall()
    return bool(rows[0][0])
