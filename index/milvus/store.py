"""MilvusIndex: an index on Milvus, for collections on many machines with many writers.

One collection holds everything about an image: its feature, label, thumbnail and checksum. An id is the first 53 bits
of the sha256 of the image's bytes (or the next free number, should two images ever collide), so that the same bytes are
the same image, whoever adds them.

Milvus returns squared distances in float32, so a few more neighbors than k are fetched with their features, measured
again in float64, and ordered by distance and id. Milvus checks its storage for damage and compacts it itself. Binary
codes and GPUs aren't supported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.base import BaseIndex
from index.bulk_change import BulkChange, BulkResult, Selection
from index.cached_count import CachedCount
from index.entries import PAGE_SIZE, AddResult, Entry, NewEntry, unknown_image_error, unknown_label_error
from index.feature_space import FeatureSpace
from index.milvus import collection
from index.milvus.catalog import NOT_REMOVED, MilvusCatalog
from index.milvus.collection import FIELDS, MilvusAddress, quote
from index.scanning.scanners import OVERFETCH
from index.search import NearestIds, Query, rank_candidates
from index.write_batch import PendingAdd, WriteBatch
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError, InvalidRequestError

MAX_CANDIDATES = 16_384
"""Maximum neighbors that Milvus finds at once."""
MAX_ROWS_AT_ONCE = 100
"""Rows with features that are read or rewritten at once: a few megabytes."""


ROUNDING = 1e-4
"""Relative error of a squared distance computed by Milvus."""


class MilvusIndex(BaseIndex):
    """An index in a collection; see `index.protocol.Index`."""

    catalog: MilvusCatalog

    def __init__(self, address: MilvusAddress, writable: bool) -> None:
        self._collection = address.collection
        self._client = collection.connect(address)
        try:
            space = collection.read_space(self._client, address)
        except BaseException:
            self._client.close()
            raise
        super().__init__(str(address), space, writable)
        self.catalog = MilvusCatalog(self._client, self._collection)
        self._count = CachedCount(self._count_images)

    @classmethod
    def create(cls, address: MilvusAddress, artifact: Artifact, crops: Sequence[int]) -> MilvusIndex:
        """Open an index for writing; create its collection if there is none.

        Raises IndexStoreError if an existing one belongs to another network.
        """
        collection.create_collection(address, FeatureSpace.of(artifact, crops, "float32"))
        index = cls(address, writable=True)
        try:
            index.check_compatible(artifact)
        except IndexStoreError:
            index.close()
            raise
        return index

    def close(self) -> None:
        self._client.close()

    def __len__(self) -> int:
        return self._count.value()

    def labels(self) -> dict[str, int]:
        """Number of images per label; reads the whole collection."""
        counts: dict[str, int] = {}
        for entry in self.catalog.iter_entries():
            if entry.label is not None:
                counts[entry.label] = counts.get(entry.label, 0) + 1
        return counts

    def count(self, label: str | None = None) -> int:
        """Number of images with a label; None: all images."""
        if label is None:
            return len(self)
        (row,) = self.catalog.query(f"{NOT_REMOVED} and label == {quote(label)}", ["count(*)"])
        return int(row["count(*)"])

    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> list[AddResult]:
        """Like `FolderIndex.add`, but keys are checked before the insertion, and others may add images in between."""
        self.check_writable()
        addition, batch = PendingAdd(features, entries), WriteBatch(self.catalog)
        addition.check(self.dim)
        batch.accept(addition)
        if not addition.results.done():  # else a key is already used
            ids = self._free_ids(list(batch.new))
            rows = [collection.to_row(ids[sha256], entry, feature) for sha256, (entry, feature) in batch.new.items()]
            for part in collection.split_inserts(rows, self.dim):
                self._client.insert(self._collection, part)
            self._upsert(batch.removed_ids, {"removed": False})
            self._count.invalidate()
            batch.finish([ids[sha256] for sha256 in batch.new])
        return addition.results.result()

    def change_many(self, selection: Selection, change: BulkChange) -> BulkResult:
        """Remove, restore or relabel images, part by part, since Milvus has no transactions."""
        self.check_writable()
        result = change.plan(selection, self.catalog.select(selection))
        changes: dict[str, Any] = {} if change.removed is None else {"removed": change.removed}
        if change.relabel:
            changes["label"] = change.label or ""
        self._upsert(result.changed, changes)
        return result

    def search_ids(self, queries: Sequence[Query]) -> list[NearestIds]:
        return [self._search(query) for query in queries]

    def features(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The stored (N, dim) features of images, in the order of `ids`. Raises UnknownImageError."""
        stacked = np.empty((len(ids), self.dim), np.float32)
        for start in range(0, len(ids), MAX_ROWS_AT_ONCE):
            part = list(map(int, ids[start : start + MAX_ROWS_AT_ONCE]))
            rows = self.catalog.query(f"id in {part} and {NOT_REMOVED}", ["id", "feature"])
            stored = {int(row["id"]): row["feature"] for row in rows}
            for number, image_id in enumerate(part, start):
                if image_id not in stored:
                    raise unknown_image_error(image_id)
                stacked[number] = stored[image_id]
        return stacked

    def entry(self, image_id: int) -> Entry:
        """The entry of an image. Raises UnknownImageError."""
        return self.catalog.get(image_id)

    def _search(self, query: Query) -> NearestIds:
        query.check(self.dim)
        if query.mode != "exact":
            raise InvalidRequestError(
                f"an index on Milvus supports only the search mode exact, not {query.mode}: use exact"
            )
        condition = NOT_REMOVED
        if query.label is not None:
            condition += f" and label == {quote(query.label)}"
            if not self.catalog.query(f"label == {quote(query.label)}", ["id"], 1):
                raise unknown_label_error(query.label)

        def find_candidates(count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            if count + OVERFETCH > MAX_CANDIDATES:
                raise InvalidRequestError(
                    f"an index on Milvus finds at most {MAX_CANDIDATES - OVERFETCH} neighbors, over all pages"
                )
            limit = count + OVERFETCH
            while True:
                (hits,) = self._client.search(
                    self._collection, data=[query.feature], limit=limit, anns_field="feature", filter=condition,
                    output_fields=["feature"], search_params={"metric_type": "L2"}, consistency_level="Strong",
                )  # fmt: skip
                features = np.array([hit["entity"]["feature"] for hit in hits], np.float32).reshape(-1, self.dim)
                squared = np.square(features[[count - 1, -1]] - query.feature).sum(1) if len(hits) == limit else None
                if squared is None or limit == MAX_CANDIDATES or squared[1] > squared[0] * (1 + ROUNDING):
                    break
                limit = min(2 * limit, MAX_CANDIDATES)  # further ones at the same distance may have smaller ids
            return np.array([hit["id"] for hit in hits], np.int64), features

        return rank_candidates(query, find_candidates)

    def _count_images(self) -> int:
        (row,) = self.catalog.query(NOT_REMOVED, ["count(*)"])
        return int(row["count(*)"])

    def _free_ids(self, sha256s: Sequence[str]) -> dict[str, int]:
        """Free ids for new images, by sha256."""
        ids = {sha256: collection.id_from_sha256(sha256) for sha256 in sha256s}
        used: set[int] = set()
        for start in range(0, len(sha256s), PAGE_SIZE):
            part = [ids[sha256] for sha256 in sha256s[start : start + PAGE_SIZE]]
            used |= {int(row["id"]) for row in self.catalog.query(f"id in {part}", ["id"])}
        for sha256 in sha256s:
            first = ids[sha256]
            while ids[sha256] in used or (ids[sha256] != first and self._exists(ids[sha256])):
                ids[sha256] += 1
            used.add(ids[sha256])
        return ids

    def _exists(self, image_id: int) -> bool:
        """Whether an image has this id, removed or not."""
        return bool(self.catalog.query(f"id == {int(image_id)}", ["id"]))

    def _upsert(self, ids: Sequence[int], changes: Mapping[str, Any]) -> None:
        """Change fields of images, part by part; Milvus can only replace whole rows."""
        for start in range(0, len(ids), MAX_ROWS_AT_ONCE):
            part = sorted(map(int, ids[start : start + MAX_ROWS_AT_ONCE]))
            rows = self.catalog.query(f"id in {part}", list(FIELDS))
            self._client.upsert(
                self._collection, [{name: row[name] for name in FIELDS} | dict(changes) for row in rows]
            )
            self._count.invalidate()
