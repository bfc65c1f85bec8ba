"""Catalog: which images an index holds, in SQLite. An image is indexed once its row is committed here."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from index.bulk_change import BulkChange, ImageState, Selection
from index.catalog.file import CatalogFile
from index.catalog.schema import (
    CHECKED_COLUMNS,
    COLUMNS,
    METADATA_CHECKSUM,
    SELECT_IMAGES,
    THUMBNAIL,
    entry_checksum,
    intact_images,
    metadata_checksum,
    parse_image,
)
from index.entries import (
    CatalogReader,
    Entry,
    FoundImage,
    NewEntry,
    checked_thumbnail,
    damaged_image_error,
    unknown_image_error,
)
from model.datasets.attribution import Attribution
from model.exceptions import IndexStoreError, UnknownImageError


class Catalog(CatalogFile, CatalogReader):
    """The images of an index, and its metadata. `index.catalog.file_records` has the files that were read."""

    def metadata(self) -> dict[str, str]:
        return dict(self.query("SELECT key, value FROM metadata"))

    def set_metadata(self, metadata: dict[str, str]) -> None:
        with self.transaction() as database:
            _store_metadata(database, metadata)

    def find(self, sha256s: Sequence[str]) -> dict[str, FoundImage]:
        """The indexed images with these checksums, including removed ones, by checksum."""
        rows = self.query_in("SELECT sha256, id, removed FROM images WHERE sha256", sha256s)
        return {sha256: FoundImage(image_id, bool(removed)) for sha256, image_id, removed in rows}

    def find_keys(self, keys: Sequence[str]) -> dict[str, FoundImage]:
        """The indexed images with these keys, including removed ones, by key."""
        rows = self.query_in("SELECT key, id, removed FROM images WHERE key", keys)
        return {key: FoundImage(image_id, bool(removed)) for key, image_id, removed in rows}

    def add(
        self, first_row: int, checksums: Sequence[int], entries: Sequence[NewEntry], restored: Sequence[int] = ()
    ) -> list[int]:
        """In one commit, add entries with the rows `first_row`, `first_row` + 1, ..., and mark the images `restored` as
        not removed. Returns the ids of the entries."""
        marks = ", ".join("?" * (len(CHECKED_COLUMNS) + 2))
        statement = f"INSERT INTO images ({COLUMNS}, entry_checksum, thumbnail) VALUES ({marks})"
        with self.transaction() as database:
            used = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'images'").fetchone()
            first_id = 1 + (used[0] if used else 0)
            for number, (checksum, entry) in enumerate(zip(checksums, entries, strict=True)):
                values = _values(first_id + number, first_row + number, checksum, entry)
                database.execute(statement, (*values, entry_checksum(values), entry.thumbnail))
            for image_id in restored:
                self._change(database, image_id, removed=0)
        return list(range(first_id, first_id + len(entries)))

    def compact(self, deleted: Iterable[int], rows: Iterable[tuple[int, int]], generation: int) -> None:
        """Delete images for good. `rows`: (new row, id) of all others, in the features file of `generation`.

        Raises IndexStoreError, with nothing changed, unless there is a row for each image that is left.
        """
        with self.transaction() as database:
            database.executemany("DELETE FROM images WHERE id = ?", ((image_id,) for image_id in deleted))
            count = 0
            for row, image_id in rows:
                self._change(database, image_id, row=row)
                count += 1
            if database.execute("SELECT count(*) FROM images NOT INDEXED").fetchone() != (count,):
                raise IndexStoreError(f"the catalog {self.path} is damaged: build the index again")
            _store_metadata(database, {"generation": str(generation)})

    def change_many(self, ids: Sequence[int], change: BulkChange) -> None:
        """Change images in one commit."""
        columns: dict[str, object] = {} if change.removed is None else {"removed": int(change.removed)}
        columns |= {"label": change.label} if change.relabel else {}
        with self.transaction() as database:
            for image_id in ids:
                self._change(database, image_id, **columns)

    def set_sources(self, moves: Iterable[tuple[int, str, str | None]]) -> None:
        """Change the files and labels of images. `moves`: (id, path, label)."""
        with self.transaction() as database:
            for image_id, source, label in moves:
                self._change(database, image_id, source=source, label=label)

    def select(self, selection: Selection) -> list[ImageState]:
        """The selected images by id, including removed ones but not damaged ones."""
        column, values = _condition(selection)
        images = intact_images(self.query_in(f"{SELECT_IMAGES} WHERE {column}", values))
        states = (ImageState(image["id"], image["label"], bool(image["removed"]), image["key"]) for image in images)
        return sorted(states, key=lambda image: image.id)

    def lookup(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those ids that exist, are intact and aren't removed, in the order of `ids`."""
        images = intact_images(self.query_in(f"{SELECT_IMAGES} WHERE NOT removed AND id", ids))
        entries = {image["id"]: _entry(image) for image in images}
        return [entries[image_id] for image_id in ids if image_id in entries]

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """Up to `limit` intact entries with ids greater than `after`, by id; with a label, only those that have it."""
        return [_entry(image) for image in self._page(after, limit, label)]

    def _page(self, after: int, limit: int, label: str | None = None) -> list[dict[str, Any]]:
        """The checked columns of the entries of a page."""
        condition, values = ("AND label = ?", [label]) if label is not None else ("", [])
        statement = f"{SELECT_IMAGES} WHERE NOT removed AND id > ? {condition} ORDER BY id LIMIT ?"
        images: list[dict[str, Any]] = []
        while len(images) < limit and (rows := self.query(statement, after, *values, limit - len(images))):
            after = rows[-1][0]
            images += intact_images(rows)
        return images

    def page_to_copy(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images by id, as (id, entry to store in another index).

        Raises IndexStoreError if a thumbnail is damaged.
        """
        images = self._page(after, limit)
        thumbnails = self._thumbnails([image["id"] for image in images])
        page = []
        for image in images:
            try:
                thumbnail = checked_thumbnail(image["id"], thumbnails.get(image["id"]), image["thumbnail_checksum"])
            except UnknownImageError as error:
                raise IndexStoreError(f"{self.path}: {error}") from error
            entry = _entry(image)
            page.append((entry.id, entry.to_new(image["sha256"], thumbnail)))
        return page

    def thumbnail(self, image_id: int) -> bytes:
        """The thumbnail as JPEG bytes. Raises UnknownImageError, also if it is damaged."""
        image = self._image(image_id)
        return checked_thumbnail(image_id, self._thumbnails([image_id]).get(image_id), image["thumbnail_checksum"])

    def _thumbnails(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Thumbnails by id, unchecked."""
        rows = self.query_in(f"SELECT id, {THUMBNAIL} FROM images WHERE id", ids)
        return {image_id: bytes(content) for image_id, content in rows}

    def sha256(self, image_id: int) -> str:
        """Checksum of the bytes that were indexed. Raises UnknownImageError."""
        return str(self._image(image_id)["sha256"])

    def _change(self, database: sqlite3.Connection, image_id: int, **changes: object) -> None:
        """Change columns of an image. Raises UnknownImageError, or IndexStoreError if its entry is damaged."""
        rows = database.execute(f"{SELECT_IMAGES} WHERE id = ?", (image_id,)).fetchall()
        if not rows:
            raise unknown_image_error(image_id)
        before = next(intact_images(rows), None)
        if before is None:
            raise IndexStoreError(f"the entry of image {image_id} is damaged: delete it with `alexnet index compact`")
        after = before | changes
        if after != before:
            columns = ", ".join(f"{name} = ?" for name in (*changes, "entry_checksum"))
            values = (*changes.values(), entry_checksum(list(after.values())), image_id)
            database.execute(f"UPDATE images SET {columns} WHERE id = ?", values)

    def _image(self, image_id: int) -> dict[str, Any]:
        """The checked columns of an image. Raises UnknownImageError if it doesn't exist, is removed, or is damaged."""
        rows = self.query(f"{SELECT_IMAGES} WHERE NOT removed AND id = ?", image_id)
        if not rows:
            raise unknown_image_error(image_id)
        image, intact = parse_image(rows[0])
        if not intact:
            raise damaged_image_error("entry", image_id)
        return image


def _condition(selection: Selection) -> tuple[str, Sequence[object]]:
    """The column that a selection filters by, and the values to match."""
    if selection.ids is not None:
        return "id", list(set(selection.ids))
    return ("key", list(set(selection.keys))) if selection.keys is not None else ("label", [selection.label])


def _store_metadata(database: sqlite3.Connection, changes: dict[str, str]) -> None:
    after = dict(database.execute("SELECT key, value FROM metadata")) | changes
    after[METADATA_CHECKSUM] = metadata_checksum(after)
    database.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?)", after.items())


def _values(image_id: int, row: int, checksum: int, entry: NewEntry) -> list[object]:
    """The `CHECKED_COLUMNS` of a new image."""
    source = "" if entry.source is None else str(entry.source)
    known: dict[str, object] = {"id": image_id, "row": row, "checksum": checksum, "source": source, "removed": 0}
    known["thumbnail_checksum"] = zlib.crc32(entry.thumbnail)
    known |= (entry.attribution or Attribution())._asdict()
    return [known[name] if name in known else getattr(entry, name) for name in CHECKED_COLUMNS]


def _entry(image: dict[str, Any]) -> Entry:
    source = Path(image["source"]) if image["source"] else None
    values = {name: image[name] for name in ("id", "key", "label", "format", "width", "height")}
    return Entry(**values, source=source, attribution=Attribution.of(*(image[name] for name in Attribution._fields)))
