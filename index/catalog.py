"""Catalog: which images an index holds, in SQLite. An image is indexed when its row is committed here."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.bulk_change import BulkChange, ImageState, Selection
from index.catalog_file import CatalogFile
from index.catalog_schema import CHECKED_COLUMNS, LABEL_INDEX, METADATA_CHECKSUM, entry_checksum, metadata_checksum
from index.entries import (
    PAGE_SIZE,
    Entry,
    EntryReader,
    FileState,
    NewEntry,
    StoredId,
    StoredSource,
    damaged_image_error,
    unknown_image_error,
)
from model.datasets.attribution import Attribution
from model.exceptions import IndexStoreError, InvalidRequestError, UnknownImageError

COLUMNS = ", ".join(CHECKED_COLUMNS)
SELECT_IMAGES = f"SELECT {COLUMNS}, entry_checksum FROM images"
"""Rows for `_is_intact`."""
THUMBNAIL = "CAST(ifnull(thumbnail, '') AS BLOB)"
"""Bytes, also where the record is damaged and has another type."""
MAX_PARAMETERS = 10_000
"""Parameters per statement; SQLite takes 32,766."""


@dataclass(frozen=True)
class RowRecord:
    """What a search needs to know of an image.

    `checksum`: CRC-32 of its row of features. `intact`: whether the catalog entry also matches its stored checksum.
    """

    id: int
    row: int
    checksum: int
    label: str | None
    removed: bool
    intact: bool = True


class RowChecksum(NamedTuple):
    """CRC-32 of an image's row of features. `intact`: whether the catalog entry also matches its stored checksum."""

    id: int
    checksum: int
    intact: bool


class LabelGroup(NamedTuple):
    """The images of a label (None: those without one). `ids`, `removed`: (N,) int64."""

    label: str | None
    ids: NDArray[np.int64]
    removed: NDArray[np.int64]

    @classmethod
    def parse(cls, label: str | None, ids: str, removed: str) -> LabelGroup:
        """A group from two columns with comma-separated numbers. Raises ValueError."""
        group = cls(label, *(np.array(str(column).split(","), np.int64) for column in (ids, removed)))
        if len(group.ids) != len(group.removed):
            raise ValueError("a value is missing")
        return group


class Catalog(CatalogFile, EntryReader):
    """The tables of the catalog: the images of an index, the files that were read, and metadata. See `CatalogFile`."""

    def metadata(self) -> dict[str, str]:
        return dict(self._query("SELECT key, value FROM metadata"))

    def set_metadata(self, metadata: dict[str, str]) -> None:
        with self.transaction() as database:
            _store_metadata(database, metadata)

    def rows(self) -> list[RowRecord]:
        """All images, removed ones included, by row. Raises IndexStoreError if a row is missing."""
        statement = f"{SELECT_IMAGES} ORDER BY id"
        records = []
        with self._reading() as database:
            for row, (*values, checksum) in enumerate(database.execute(statement)):
                image = dict(zip(CHECKED_COLUMNS, values, strict=True))
                intact = entry_checksum(values) == checksum
                if intact and image["row"] != row:
                    raise IndexStoreError(
                        f"rows are missing from the catalog {self._path}, the first is {row:,}: it was changed by "
                        "another program; build the index again"
                    )
                removed = bool(image["removed"])
                records.append(RowRecord(image["id"], row, image["checksum"], image["label"], removed, intact))
        return records

    def label_groups(self) -> list[LabelGroup]:
        """All images by label, from the SQL index `by_label`.

        The table itself isn't read, so its checksums aren't compared. Raises IndexStoreError if rows are missing, or if
        the SQL index can't be read.
        """
        rows = self._query(
            f"SELECT label, group_concat(id), group_concat(removed) FROM images INDEXED BY {LABEL_INDEX} GROUP BY label"
        )
        try:
            groups = [LabelGroup.parse(*row) for row in rows]
        except ValueError as error:
            if not self.repair_sql_indexes():
                raise self._sql_index_error(LABEL_INDEX) from error
            return self.label_groups()
        self._check_no_rows_missing(sum(len(group.ids) for group in groups))
        return groups

    def _check_no_rows_missing(self, count: int) -> None:
        """Raise IndexStoreError if rows are missing among the `count` images of the catalog.

        If the last image has the row that it should have, none are; else the whole table is read.
        """
        last = self._query(f"{SELECT_IMAGES} NOT INDEXED ORDER BY id DESC LIMIT 1")
        if last and (not _is_intact(last[0]) or last[0][CHECKED_COLUMNS.index("row")] != count - 1):
            self.rows()

    def iter_row_checksums(self) -> Iterator[list[RowChecksum]]:
        """All images by id, removed ones included, page by page. Other reads don't wait for it."""
        with self._checking() as database, closing(database.cursor()) as cursor:
            cursor.execute(f"{SELECT_IMAGES} NOT INDEXED ORDER BY id")
            while page := cursor.fetchmany(PAGE_SIZE):
                yield [_row_checksum(row) for row in page]

    def row_checksums(self, ids: Sequence[int]) -> list[RowChecksum]:
        """The row checksums of these images; ids that don't exist are left out."""
        return [
            _row_checksum(row)
            for part, marks in _batches(ids)
            for row in self._query(f"{SELECT_IMAGES} WHERE id IN ({marks})", *part)
        ]

    def find_damaged_thumbnails(self) -> dict[int, str]:
        """Compare all thumbnails with their checksums. Returns image id -> what is wrong."""
        with self._reading() as database:
            rows = database.execute(f"SELECT id, thumbnail_checksum, {THUMBNAIL} FROM images ORDER BY id")
            return {
                image_id: "its thumbnail has another checksum"
                for image_id, checksum, thumbnail in rows
                if zlib.crc32(thumbnail) != checksum
            }

    def find(self, sha256s: Sequence[str]) -> dict[str, StoredId]:
        """The images with these checksums that the index holds, removed ones included, by checksum."""
        stored: dict[str, StoredId] = {}
        for part, marks in _batches(sha256s):
            for sha256, image_id, removed in self._query(
                f"SELECT sha256, id, removed FROM images WHERE sha256 IN ({marks})", *part
            ):
                stored[sha256] = StoredId(image_id, bool(removed))
        return stored

    def check_new_keys(self, keys: Sequence[str]) -> None:
        """Raise InvalidRequestError if an image has one of the keys already, or two new ones share a key."""
        used: set[str] = set()
        for part, marks in _batches(keys):
            used |= {key for (key,) in self._query(f"SELECT key FROM images WHERE key IN ({marks})", *part)}
        raise_for_used_keys(keys, used)

    def add(self, first_row: int, checksums: Sequence[int], entries: Sequence[NewEntry]) -> list[int]:
        """Commit entries in the rows `first_row`, `first_row` + 1, ... Returns their ids."""
        statement = (
            f"INSERT INTO images ({COLUMNS}, entry_checksum, thumbnail) VALUES ({_marks(len(CHECKED_COLUMNS) + 2)})"
        )
        with self.transaction() as database:
            used = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'images'").fetchone()
            first_id = 1 + (used[0] if used else 0)
            for number, (checksum, entry) in enumerate(zip(checksums, entries, strict=True)):
                values = _values(first_id + number, first_row + number, checksum, entry)
                database.execute(statement, (*values, entry_checksum(values), entry.thumbnail))
        return list(range(first_id, first_id + len(entries)))

    def compact(self, deleted: Iterable[int], rows: Iterable[tuple[int, int]], generation: int) -> None:
        """Delete images for good. `rows`: (new row, id) of all others, in the file of features `generation`.

        Raises IndexStoreError, with nothing changed, if that isn't what is left.
        """
        with self.transaction() as database:
            database.executemany("DELETE FROM images WHERE id = ?", ((image_id,) for image_id in deleted))
            count = 0
            for row, image_id in rows:
                self._change(database, image_id, row=row)
                count += 1
            if database.execute("SELECT count(*) FROM images NOT INDEXED").fetchone() != (count,):
                raise IndexStoreError(f"the catalog {self._path} is damaged: build the index again")
            _store_metadata(database, {"generation": str(generation)})

    def change_many(self, ids: Sequence[int], change: BulkChange) -> None:
        """Change images in one commit."""
        columns: dict[str, object] = {} if change.removed is None else {"removed": int(change.removed)}
        columns |= {"label": change.label} if change.relabel else {}
        with self.transaction() as database:
            for image_id in ids:
                self._change(database, image_id, **columns)

    def set_sources(self, moves: Iterable[tuple[int, str, str | None]]) -> None:
        """Change the files of images, and their labels: (id, path, label)."""
        with self.transaction() as database:
            for image_id, source, label in moves:
                self._change(database, image_id, source=source, label=label)

    def sources_below(self, folder: str) -> list[StoredSource]:
        """The images whose files are below a folder, by id, removed ones included, damaged ones not."""
        return self._sources("source >= ? AND source < ?", *_range_below(folder))

    def select(self, selection: Selection) -> list[ImageState]:
        """The images of a selection, by id, removed ones included, damaged ones not."""
        if selection.ids is None:
            images = self._sources("label = ?", selection.label)
        else:
            parts = _batches(sorted(set(selection.ids)))
            images = [image for part, marks in parts for image in self._sources(f"id IN ({marks})", *part)]
        return [ImageState(image.id, image.label, image.removed) for image in images]

    def sources_of(self, sha256s: Sequence[str]) -> list[StoredSource]:
        """The images with these checksums, by id, removed ones included, damaged ones not."""
        return [source for part, marks in _batches(sha256s) for source in self._sources(f"sha256 IN ({marks})", *part)]

    def _sources(self, condition: str, *parameters: object) -> list[StoredSource]:
        rows = self._query(f"{SELECT_IMAGES} WHERE {condition} ORDER BY id", *parameters)
        images = [dict(zip(CHECKED_COLUMNS, row, strict=False)) for row in rows if _is_intact(row)]
        return [StoredSource(i["id"], i["sha256"], i["label"], i["source"], bool(i["removed"])) for i in images]

    def file_states_below(self, folder: str) -> dict[str, FileState]:
        """The files below a folder that were read, by path. Damaged records are left out: such a file is read again."""
        return self._file_states("path >= ? AND path < ?", *_range_below(folder))

    def file_states_of(self, paths: Sequence[str]) -> dict[str, FileState]:
        """States of these files, as far as they were read, by path. Damaged records are left out."""
        states: dict[str, FileState] = {}
        for part, marks in _batches(paths):
            states |= self._file_states(f"path IN ({marks})", *part)
        return states

    def _file_states(self, condition: str, *parameters: object) -> dict[str, FileState]:
        rows = self._query(
            f"SELECT path, size, mtime_ns, sha256, label, entry_checksum FROM files WHERE {condition}", *parameters
        )
        return {row[0]: FileState(*row[1:-1]) for row in rows if _is_intact(row)}

    def set_file_states(self, states: Mapping[str, FileState]) -> None:
        """Record files as they were read."""
        with self.transaction() as database:
            for path, state in states.items():
                values = (path, *state)
                database.execute(
                    f"INSERT OR REPLACE INTO files VALUES ({_marks(6)})", (*values, entry_checksum(values))
                )

    def delete_file_states(self, paths: Iterable[str]) -> None:
        """Forget files that are gone."""
        with self.transaction() as database:
            database.executemany("DELETE FROM files WHERE path = ?", ((path,) for path in paths))

    def lookup(self, ids: Sequence[int]) -> list[Entry]:
        """The entries of those ids that exist, are intact and aren't removed, in the order of `ids`."""
        entries: dict[int, Entry] = {}
        for part, marks in _batches(ids):
            entries |= {entry.id: entry for entry in self._entries(f"id IN ({marks})", *part)}
        return [entries[image_id] for image_id in ids if image_id in entries]

    def page(self, after: int, limit: int, label: str | None = None) -> list[Entry]:
        """The next entries by id, `after` excluded; with a label, those that have it. Damaged ones are left out."""
        return [_entry(image) for image in self._page(after, limit, label)]

    def _page(self, after: int, limit: int, label: str | None = None) -> list[dict[str, Any]]:
        """The checked columns of the entries of a page."""
        condition, values = ("AND label = ?", [label]) if label is not None else ("", [])
        where = f"id > ? {condition} ORDER BY id LIMIT ?"
        images: list[dict[str, Any]] = []
        while len(images) < limit:
            rows = self._checked_rows(where, after, *values, limit - len(images))
            if not rows:
                break
            after = rows[-1][0]["id"]
            images += [image for image, intact in rows if intact]
        return images

    def page_to_copy(self, after: int, limit: int) -> list[tuple[int, NewEntry]]:
        """The next images as (id, everything that another index would store of them), by id.

        Raises IndexStoreError if a thumbnail is damaged.
        """
        images = self._page(after, limit)
        thumbnails = self._thumbnails([image["id"] for image in images])
        page = []
        for image in images:
            try:
                thumbnail = _checked_thumbnail(image, thumbnails.get(image["id"]))
            except UnknownImageError as error:
                raise IndexStoreError(f"{self._path}: {error}") from error
            entry = _entry(image)
            page.append((entry.id, entry.to_new(image["sha256"], thumbnail)))
        return page

    def thumbnail(self, image_id: int) -> bytes:
        """JPEG bytes. Raises UnknownImageError, also if they are damaged."""
        image = self._image(image_id)
        return _checked_thumbnail(image, self._thumbnails([image_id]).get(image_id))

    def _thumbnails(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Thumbnails by id, unchecked."""
        thumbnails: dict[int, bytes] = {}
        for part, marks in _batches(ids):
            statement = f"SELECT id, {THUMBNAIL} FROM images WHERE id IN ({marks})"
            thumbnails |= {image_id: bytes(content) for image_id, content in self._query(statement, *part)}
        return thumbnails

    def sha256(self, image_id: int) -> str:
        """Checksum of the bytes that were indexed. Raises UnknownImageError."""
        return str(self._image(image_id)["sha256"])

    def _change(self, database: sqlite3.Connection, image_id: int, **changes: object) -> None:
        """Change columns of an image. Raises IndexStoreError if its entry is damaged."""
        rows = database.execute(f"{SELECT_IMAGES} WHERE id = ?", (image_id,)).fetchall()
        if not rows or not _is_intact(rows[0]):
            raise IndexStoreError(f"the entry of image {image_id} is damaged: delete it with `alexnet index compact`")
        before = dict(zip(CHECKED_COLUMNS, rows[0][:-1], strict=True))
        after = before | changes
        if after != before:
            columns = ", ".join(f"{name} = ?" for name in (*changes, "entry_checksum"))
            values = (*changes.values(), entry_checksum(list(after.values())), image_id)
            database.execute(f"UPDATE images SET {columns} WHERE id = ?", values)

    def _image(self, image_id: int) -> dict[str, Any]:
        """The checked columns of an image. Raises UnknownImageError if it doesn't exist, is removed, or is damaged."""
        rows = self._checked_rows("id = ?", image_id)
        if not rows:
            raise unknown_image_error(image_id)
        image, intact = rows[0]
        if not intact:
            raise damaged_image_error("entry", image_id)
        return image

    def _entries(self, where: str, *parameters: object) -> list[Entry]:
        return [_entry(image) for image, intact in self._checked_rows(where, *parameters) if intact]

    def _checked_rows(self, where: str, *parameters: object) -> list[tuple[dict[str, Any], bool]]:
        """The checked columns of images that aren't removed, and whether they have their checksum."""
        rows = self._query(f"{SELECT_IMAGES} WHERE NOT removed AND {where}", *parameters)
        return [
            (dict(zip(CHECKED_COLUMNS, values, strict=True)), entry_checksum(values) == checksum)
            for *values, checksum in rows
        ]


def raise_for_used_keys(keys: Sequence[str], used: set[str]) -> None:
    """Raise InvalidRequestError if one of the keys is in `used`, or occurs twice."""
    for key, count in Counter(keys).items():
        if key in used or count > 1:
            raise InvalidRequestError(f"the key {key[:80]!r} belongs to another image: keys are unique")


def _batches(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """Parts of at most `MAX_PARAMETERS` values, with the placeholders for them."""
    for start in range(0, len(values), MAX_PARAMETERS):
        part = values[start : start + MAX_PARAMETERS]
        yield part, ",".join("?" * len(part))


def _range_below(folder: str) -> tuple[str, str]:
    """Two texts: all paths below a folder sort from the first one on, and before the second."""
    folder = folder.rstrip("/")
    return f"{folder}/", f"{folder}{chr(ord('/') + 1)}"


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _store_metadata(database: sqlite3.Connection, changes: dict[str, str]) -> None:
    after = dict(database.execute("SELECT key, value FROM metadata")) | changes
    after[METADATA_CHECKSUM] = metadata_checksum(after)
    database.executemany("INSERT OR REPLACE INTO metadata VALUES (?, ?)", after.items())


def _is_intact(record: Sequence[Any]) -> bool:
    """Whether a record matches its checksum, which is its last value."""
    return bool(entry_checksum(record[:-1]) == record[-1])


def _row_checksum(record: Sequence[Any]) -> RowChecksum:
    """The checksum of an image's row, from a record of `SELECT_IMAGES`."""
    return RowChecksum(record[0], record[CHECKED_COLUMNS.index("checksum")], _is_intact(record))


def _values(image_id: int, row: int, checksum: int, entry: NewEntry) -> list[object]:
    """The `CHECKED_COLUMNS` of a new image."""
    source = "" if entry.source is None else str(entry.source)
    known: dict[str, object] = {"id": image_id, "row": row, "checksum": checksum, "source": source, "removed": 0}
    known["thumbnail_checksum"] = zlib.crc32(entry.thumbnail)
    known |= (entry.attribution or Attribution())._asdict()
    return [known[name] if name in known else getattr(entry, name) for name in CHECKED_COLUMNS]


def _checked_thumbnail(image: dict[str, Any], thumbnail: bytes | None) -> bytes:
    """The thumbnail of an image, by its checked columns. Raises UnknownImageError if it is gone or damaged."""
    if thumbnail is None:
        raise unknown_image_error(image["id"])
    if zlib.crc32(thumbnail) != image["thumbnail_checksum"]:
        raise damaged_image_error("thumbnail", image["id"])
    return thumbnail


def _entry(image: dict[str, Any]) -> Entry:
    source = Path(image["source"]) if image["source"] else None
    values = {name: image[name] for name in ("id", "key", "label", "format", "width", "height")}
    return Entry(**values, source=source, attribution=Attribution.of(*(image[name] for name in Attribution._fields)))
