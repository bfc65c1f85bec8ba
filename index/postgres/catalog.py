"""PostgresCatalog: which images an index on PostgreSQL holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from index.bulk_change import ImageState, Selection
from index.entries import (
    CatalogReader,
    Entry,
    FoundImage,
    NewEntry,
    checked_thumbnail,
    unknown_image_error,
)
from index.postgres.connections import Cursor, Database
from model.datasets.attribution import Attribution

ENTRY_COLUMNS = "id, key, label, source, format, width, height, author, author_page, page, license"


class PostgresCatalog(CatalogReader):
    """Reads an index in its latest state, or as seen by the transaction whose cursor is given."""

    def __init__(self, database: Database, cursor: Cursor | None = None) -> None:
        self._database, self._cursor = database, cursor

    def find(self, sha256s: Sequence[str]) -> dict[str, FoundImage]:
        """The indexed images with these checksums, including removed ones, by checksum."""
        rows = self._query(
            "SELECT sha256, id, removed FROM images WHERE sha256 = ANY(%s)", [list(map(bytes.fromhex, sha256s))]
        )
        return {sha256.hex(): FoundImage(image_id, removed) for sha256, image_id, removed in rows}

    def find_keys(self, keys: Sequence[str]) -> dict[str, FoundImage]:
        """The indexed images with these keys, including removed ones, by key."""
        rows = self._query("SELECT key, id, removed FROM images WHERE key = ANY(%s)", [list(keys)]) if keys else []
        return {key: FoundImage(image_id, removed) for key, image_id, removed in rows}

    def select(self, selection: Selection) -> list[ImageState]:
        """The selected images by id, including removed ones."""
        condition, value = _condition(selection)
        rows = self._query(f"SELECT id, label, removed, key FROM images WHERE {condition} ORDER BY id", [value])
        return [ImageState(*row) for row in rows]

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """Up to `limit` entries with ids greater than `after`, by id; with a label, only those that have it."""
        return self._entries(
            "id > %s AND label = %s" if label is not None else "id > %s",
            [after] if label is None else [after, label],
            limit,
        )

    def lookup(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those `ids` that exist and aren't removed, in the order of `ids`."""
        entries = {entry.id: entry for entry in self._entries("id = ANY(%s)", [list(map(int, ids))], len(ids))}
        return [entries[image_id] for image_id in ids if image_id in entries]

    def thumbnail(self, image_id: int) -> bytes:
        """The thumbnail as JPEG bytes. Raises UnknownImageError, also if it is damaged."""
        thumbnail, checksum = self.value(image_id, "ROW(thumbnail, thumbnail_checksum)")
        return checked_thumbnail(image_id, bytes(thumbnail), checksum)

    def sha256(self, image_id: int) -> str:
        """Checksum of the bytes that were indexed. Raises UnknownImageError."""
        return bytes(self.value(image_id, "sha256")).hex()

    def value(self, image_id: int, column: str) -> Any:
        """One column of an image. Raises UnknownImageError."""
        values = self.values([image_id], column)
        if image_id not in values:
            raise unknown_image_error(image_id)
        return values[image_id]

    def values(self, ids: Sequence[int], column: str) -> dict[int, Any]:
        """One column of those images that exist and aren't removed, by id."""
        statement = f"SELECT id, {column} FROM images WHERE id = ANY(%s) AND NOT removed"
        return dict(self._query(statement, [list(map(int, ids))]))

    def page_to_copy(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images by id, as (id, entry to store in another index).

        Raises UnknownImageError if a thumbnail is damaged.
        """
        rows = self._query(
            f"SELECT sha256, thumbnail, thumbnail_checksum, {ENTRY_COLUMNS} FROM images "
            "WHERE NOT removed AND id > %s ORDER BY id LIMIT %s",
            [after, limit],
        )
        images = []
        for sha256, thumbnail, checksum, *columns in rows:
            entry = _to_entry(columns)
            intact = checked_thumbnail(entry.id, bytes(thumbnail), checksum)
            images.append((entry.id, entry.to_new(sha256.hex(), intact)))
        return images

    def _entries(self, condition: str, values: list[Any], limit: int) -> list[Entry]:
        statement = f"SELECT {ENTRY_COLUMNS} FROM images WHERE NOT removed AND {condition} ORDER BY id LIMIT %s"
        return [_to_entry(row) for row in self._query(statement, [*values, limit])]

    def _query(self, statement: str, values: list[Any]) -> list[Any]:
        if self._cursor is not None:
            return self._cursor.execute(statement, values).fetchall()
        with self._database.reading() as cursor:
            return cursor.execute(statement, values).fetchall()


def _condition(selection: Selection) -> tuple[str, Any]:
    """The SQL condition of a selection, and its parameter."""
    if selection.ids is not None:
        return "id = ANY(%s)", list(selection.ids)
    return ("key = ANY(%s)", list(selection.keys)) if selection.keys is not None else ("label = %s", selection.label)


def new_values(entry: NewEntry) -> list[Any]:
    """The columns of a new image from sha256 to license, in the order of the table."""
    source = "" if entry.source is None else str(entry.source)
    attribution = entry.attribution or Attribution()
    size = entry.width, entry.height
    return [bytes.fromhex(entry.sha256), entry.key, entry.label, source, entry.format, *size, *attribution]


def _to_entry(columns: Sequence[Any]) -> Entry:
    image_id, key, label, source, image_format, width, height, *attribution = columns
    path = Path(source) if source else None
    return Entry(image_id, key, label, path, image_format, width, height, Attribution.of(*attribution))
