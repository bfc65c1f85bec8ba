"""An index on Milvus: many machines, many writers, one interface with the folder's (`index.protocol`).

One collection holds everything about an image: its feature, label, thumbnail and checksum; what the collection was
made for stands in its description. Ids are the first 53 bits of the bytes' sha256 (the next free number, should two
images ever meet there), so that the same bytes are the same image whoever adds them.

Milvus answers squared distances in float32: a few more than were asked for are fetched with their features, measured
again in float64, and ordered by distance and id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Entry, NewEntry
from index.codes import Codes
from index.milvus import collection
from index.milvus.catalog import PAGE, MilvusCatalog
from index.milvus.collection import FIELDS, literal
from index.nearest import OVERFETCH
from index.search import Neighbor, Query, neighbors
from index.write_batch import AddResult
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import DeviceError, IndexStoreError, InvalidRequestError, ReadOnlyIndexError, UnknownImageError

MOST = 16_384
"""Neighbors that Milvus finds at once."""
COUNTED_SECONDS = 1.0


class MilvusIndex:
    """Damage is Milvus's own to find, hence `damaged` is empty. Without codes."""

    def __init__(self, address: Path, writable: bool) -> None:
        self.path, self.writable = address, writable
        self._client, self._name = collection.connect(address)
        try:
            settings = collection.settings(self._client, self._name, address)
        except BaseException:
            self._client.close()
            raise
        self._network_sha256, self.dim, self.crops = settings
        self.catalog = MilvusCatalog(self._client, self._name)
        self.damaged: Mapping[int, str] = {}
        self._counted = (-COUNTED_SECONDS, 0)

    @classmethod
    def create(cls, address: Path, artifact: Artifact, crops: Sequence[int]) -> MilvusIndex:
        """A new collection for the features of `artifact`, or the one that is there, if it is of the same network."""
        collection.make(address, artifact.network_sha256, artifact.manifest.feature_dim, crops)
        index = cls(address, writable=True)
        try:
            index.require(artifact)
        except IndexStoreError:
            index.close()
            raise
        return index

    @property
    def codes(self) -> Codes | None:
        return None

    def use(self, encoder: Encoder | None) -> None:
        """Codes aren't kept on Milvus."""

    def search_on_gpu(self) -> None:
        raise DeviceError("expected an index in a folder to search on a GPU here, found one on Milvus")

    def require(self, artifact: Artifact) -> None:
        if (self._network_sha256, self.dim) != (artifact.network_sha256, artifact.manifest.feature_dim):
            raise IndexStoreError(
                f"expected an index made by {artifact.manifest.name} version {artifact.manifest.version}, found one at "
                f"{self.path} made by another network: their distances mean nothing to each other; build another index"
            )

    def close(self) -> None:
        self._client.close()

    def __len__(self) -> int:
        """Counted once a second: it goes with every answer."""
        when, count = self._counted
        if time.monotonic() - when >= COUNTED_SECONDS:
            (row,) = self.catalog.query("removed == false", ["count(*)"])
            count = int(row["count(*)"])
            self._counted = time.monotonic(), count
        return count

    def labels(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for entry in self.catalog.everything():
            if entry.label is not None:
                counts[entry.label] = counts.get(entry.label, 0) + 1
        return counts

    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> list[AddResult]:
        """As the folder's; but the check of keys and the addition are two steps, between which others may add."""
        self._require_writable()
        if features.shape != (len(entries), self.dim) or not np.isfinite(features).all():
            raise InvalidRequestError(
                f"expected finite features of shape {(len(entries), self.dim)}, found {features.shape}"
            )
        known = self.catalog.known([entry.sha256 for entry in entries])
        fresh: dict[str, tuple[NewEntry, NDArray[np.float32]]] = {}
        for entry, feature in zip(entries, features, strict=True):
            if entry.sha256 not in known:
                fresh.setdefault(entry.sha256, (entry, feature))
        self._require_new_keys([entry.key for entry, _ in fresh.values() if entry.key])
        ids = self._free_ids(list(fresh))
        rows = [collection.row(ids[sha256], entry, feature) for sha256, (entry, feature) in fresh.items()]
        for some in collection.chunks(rows, self.dim):
            self._client.insert(self._name, some)
        self._set_removed([number for number, removed in known.values() if removed], False)
        self._counted = (-COUNTED_SECONDS, 0)
        found, said = [], set[str]()
        for sha256 in (entry.sha256 for entry in entries):
            if sha256 in known:
                found.append(AddResult(known[sha256][0], "restored" if known[sha256][1] else "exists"))
            else:
                found.append(AddResult(ids[sha256], "exists" if sha256 in said else "added"))
                said.add(sha256)
        return found

    def remove(self, image_id: int) -> None:
        self._require_writable()
        self.entry(image_id)
        self._set_removed([image_id], True)

    def restore(self, image_id: int) -> None:
        self._require_writable()
        if not self.catalog.query(f"id == {int(image_id)}", ["id"]):
            raise UnknownImageError(f"expected the id of a removed image, found {image_id}")
        self._set_removed([image_id], False)

    def relabel(self, image_id: int, label: str | None) -> None:
        self._require_writable()
        self.entry(image_id)
        self._change([image_id], {"label": label or ""})

    def search(self, query: Query) -> list[Neighbor]:
        return self.search_many([query])[0]

    def search_many(self, queries: Sequence[Query]) -> list[list[Neighbor]]:
        return neighbors(self.answers(queries), self.catalog)

    def answers(self, queries: Sequence[Query]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        query.require(self.dim)
        if query.search != "exact":
            raise InvalidRequestError(f"expected an index with codes for a search by {query.search}, found one without")
        if query.last + OVERFETCH > MOST:
            raise InvalidRequestError(f"expected at most {MOST - OVERFETCH} neighbors on Milvus, found {query.last}")
        condition = "removed == false"
        if query.label is not None:
            condition += f" and label == {literal(query.label)}"
            if not self.catalog.query(f"label == {literal(query.label)}", ["id"], 1):
                raise InvalidRequestError(f"expected a label of the index, found {query.label[:80]!r}")
        (hits,) = self._client.search(
            self._name, data=[query.feature], limit=query.last + OVERFETCH, anns_field="feature", filter=condition,
            output_fields=["feature"], search_params={"metric_type": "L2"}, consistency_level="Strong",
        )  # fmt: skip
        if not hits:
            return np.empty(0, np.int64), np.empty(0)
        ids = np.array([hit["id"] for hit in hits], np.int64)
        features = np.array([hit["entity"]["feature"] for hit in hits], np.float64)
        distances = np.linalg.norm(features - query.feature, axis=1)
        order = np.lexsort((ids, distances))[query.offset : query.last]
        if query.max_distance is not None:
            order = order[distances[order] <= query.max_distance]
        return ids[order], distances[order]

    def feature(self, image_id: int) -> NDArray[np.float32]:
        return np.array(self.catalog.one(image_id, "feature"), np.float32)

    def entry(self, image_id: int) -> Entry:
        found = self.catalog.entries(f"id == {int(image_id)} and removed == false", 1)
        if not found:
            raise UnknownImageError(f"expected the id of an indexed image, found {image_id}")
        return found[0]

    def _free_ids(self, sha256s: Sequence[str]) -> dict[str, int]:
        """The ids that new images get."""
        ids = {sha256: collection.image_id(sha256) for sha256 in sha256s}
        used: set[int] = set()
        for start in range(0, len(sha256s), PAGE):
            wanted = [ids[sha256] for sha256 in sha256s[start : start + PAGE]]
            used |= {int(row["id"]) for row in self.catalog.query(f"id in {wanted}", ["id"])}
        for sha256 in sha256s:
            while ids[sha256] in used or (ids[sha256] != collection.image_id(sha256) and self._taken(ids[sha256])):
                ids[sha256] += 1
            used.add(ids[sha256])
        return ids

    def _taken(self, image_id: int) -> bool:
        return bool(self.catalog.query(f"id == {image_id}", ["id"]))

    def _require_new_keys(self, keys: Sequence[str]) -> None:
        taken = {row["key"] for row in self.catalog.query(f"key in {literal(list(keys))}", ["key"])} if keys else set()
        for key in keys:
            if key in taken or keys.count(key) > 1:
                raise InvalidRequestError(f"expected a key that no other image has, found {key[:80]!r}")

    def _set_removed(self, ids: Sequence[int], removed: bool) -> None:
        self._change(ids, {"removed": removed})

    def _change(self, ids: Sequence[int], changes: Mapping[str, Any]) -> None:
        """Milvus replaces rows whole."""
        if ids:
            rows = self.catalog.query(f"id in {sorted(map(int, ids))}", list(FIELDS))
            self._client.upsert(self._name, [{name: row[name] for name in FIELDS} | dict(changes) for row in rows])
            self._counted = (-COUNTED_SECONDS, 0)

    def _require_writable(self) -> None:
        if not self.writable:
            raise ReadOnlyIndexError(f"expected an index opened for adding, found {self.path} opened for reading")
