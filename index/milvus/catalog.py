"""MilvusCatalog: which images a Milvus collection holds; the counterpart of `index.catalog.catalog`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from index.bulk_change import ImageState, Selection
from index.entries import PAGE_SIZE, CatalogReader, Entry, FoundImage, NewEntry, unknown_image_error
from index.milvus.collection import DETAILS, quote, to_entry, to_new_entry

if TYPE_CHECKING:
    from pymilvus import MilvusClient

NOT_REMOVED = "removed == false"
NO_KEY = ""
"""Value of the field `key` for an image without a key; never a key itself."""


class MilvusCatalog(CatalogReader):
    """Reads a collection in its latest state."""

    def __init__(self, client: MilvusClient, collection: str) -> None:
        self._client, self._collection = client, collection

    def find(self, sha256s: Sequence[str]) -> dict[str, FoundImage]:
        """The collection's images with these checksums, including removed ones, by checksum."""
        stored: dict[str, FoundImage] = {}
        for start in range(0, len(sha256s), PAGE_SIZE):
            condition = f"sha256 in {quote(list(sha256s[start : start + PAGE_SIZE]))}"
            for row in self.query(condition, ["id", "sha256", "removed"]):
                stored[row["sha256"]] = FoundImage(int(row["id"]), bool(row["removed"]))
        return stored

    def find_keys(self, keys: Sequence[str]) -> dict[str, FoundImage]:
        """The collection's images with these keys, including removed ones, by key."""
        stored: dict[str, FoundImage] = {}
        keys = [key for key in keys if key != NO_KEY]
        for start in range(0, len(keys), PAGE_SIZE):
            condition = f"key in {quote(keys[start : start + PAGE_SIZE])}"
            for row in self.query(condition, ["id", "key", "removed"]):
                stored[row["key"]] = FoundImage(int(row["id"]), bool(row["removed"]))
        return stored

    def select(self, selection: Selection) -> list[ImageState]:
        """The selected images by id, including removed ones."""
        if selection.ids is not None:
            ids = sorted(set(selection.ids))
            parts = (ids[start : start + PAGE_SIZE] for start in range(0, len(ids), PAGE_SIZE))
            conditions = [f"id in {list(map(int, part))}" for part in parts]
        elif selection.keys is not None:
            keys = sorted({*selection.keys} - {NO_KEY})
            key_parts = (keys[start : start + PAGE_SIZE] for start in range(0, len(keys), PAGE_SIZE))
            conditions = [f"key in {quote(part)}" for part in key_parts]
        else:
            conditions = [f"label == {quote(selection.label or '')}"]
        rows = [row for condition in conditions for row in self.query(condition, ["id", "label", "removed", "key"])]
        states = (ImageState(int(row["id"]), row["label"] or None, row["removed"], row["key"] or None) for row in rows)
        return sorted(states, key=lambda image: image.id)

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """Up to `limit` entries with ids greater than `after`, by id; with a label, only those that have it."""
        condition = f"{NOT_REMOVED} and id > {int(after)}"
        if label is not None:
            condition += f" and label == {quote(label)}"
        return sorted(self.entries(condition, limit), key=lambda entry: entry.id)

    def lookup(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those `ids` that exist and aren't removed."""
        entries: list[Entry] = []
        for start in range(0, len(ids), PAGE_SIZE):
            part = list(map(int, ids[start : start + PAGE_SIZE]))
            entries += self.entries(f"{NOT_REMOVED} and id in {part}", len(part))
        return entries

    def page_to_copy(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images by id, as (id, entry to store in another index)."""
        fields = ["id", "sha256", "key", "label", DETAILS, "thumbnail"]
        rows = self.query(f"{NOT_REMOVED} and id > {int(after)}", fields, limit)
        return sorted(((int(row["id"]), to_new_entry(row)) for row in rows), key=lambda pair: pair[0])

    def thumbnail(self, image_id: int) -> bytes:
        """The thumbnail as JPEG bytes. Raises UnknownImageError."""
        return base64.b64decode(self.value(image_id, "thumbnail"))

    def sha256(self, image_id: int) -> str:
        """Checksum of the bytes that were indexed. Raises UnknownImageError."""
        return str(self.value(image_id, "sha256"))

    def value(self, image_id: int, field: str) -> Any:
        """One field of an image. Raises UnknownImageError."""
        rows = self.query(f"id == {int(image_id)} and {NOT_REMOVED}", [field])
        if not rows:
            raise unknown_image_error(image_id)
        return rows[0][field]

    def entries(self, condition: str, limit: int) -> list[Entry]:
        """At most `limit` entries that match a Milvus filter expression."""
        return [to_entry(row) for row in self.query(condition, ["id", "key", "label", DETAILS], limit)]

    def query(self, condition: str, fields: list[str], limit: int | None = None) -> list[dict[str, Any]]:
        """Rows that match a Milvus filter expression; sees everything that was acknowledged before."""
        options = {} if limit is None else {"limit": limit}
        return list(
            self._client.query(
                self._collection, filter=condition, output_fields=fields, consistency_level="Strong", **options
            )
        )
