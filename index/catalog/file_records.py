"""FileRecords: the image files of an index in a folder, and the state in which each was last read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from index.catalog.file import CatalogFile
from index.catalog.schema import SELECT_IMAGES, entry_checksum, intact_images, is_intact
from index.entries import FileState, StoredSource

SELECT_FILES = "SELECT path, size, mtime_ns, sha256, label, entry_checksum FROM files"


class FileRecords:
    """Records of files by path. Damaged records are left out, so their files are read again."""

    def __init__(self, catalog: CatalogFile) -> None:
        self._catalog = catalog

    def sources_below(self, folder: str) -> list[StoredSource]:
        """The images whose files are below a folder, by id, including removed ones but not damaged ones."""
        where = "source >= ? AND source < ?"
        return _to_sources(self._catalog.query(f"{SELECT_IMAGES} WHERE {where}", *_range_below(folder)))

    def sources_of(self, sha256s: Sequence[str]) -> list[StoredSource]:
        """The images with these checksums, by id, including removed ones but not damaged ones."""
        return _to_sources(self._catalog.query_in(f"{SELECT_IMAGES} WHERE sha256", sha256s))

    def file_states_below(self, folder: str) -> dict[str, FileState]:
        """States of the files below a folder that have been read, by path."""
        return _to_states(self._catalog.query(f"{SELECT_FILES} WHERE path >= ? AND path < ?", *_range_below(folder)))

    def file_states_of(self, paths: Sequence[str]) -> dict[str, FileState]:
        """States of those of `paths` that have been read, by path."""
        return _to_states(self._catalog.query_in(f"{SELECT_FILES} WHERE path", paths))

    def set_file_states(self, states: Mapping[str, FileState]) -> None:
        """Record the states in which files were read."""
        with self._catalog.transaction() as database:
            for path, state in states.items():
                values = (path, *state)
                database.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (*values, entry_checksum(values))
                )

    def delete_file_states(self, paths: Iterable[str]) -> None:
        """Forget files that are gone."""
        with self._catalog.transaction() as database:
            database.executemany("DELETE FROM files WHERE path = ?", ((path,) for path in paths))


def _range_below(folder: str) -> tuple[str, str]:
    """Two strings: every path below the folder sorts at or after the first, and before the second."""
    folder = folder.rstrip("/")
    return f"{folder}/", f"{folder}{chr(ord('/') + 1)}"


def _to_sources(records: Iterable[Sequence[Any]]) -> list[StoredSource]:
    return sorted(
        StoredSource(image["id"], image["sha256"], image["label"], image["source"], bool(image["removed"]))
        for image in intact_images(records)
    )


def _to_states(records: Iterable[Sequence[Any]]) -> dict[str, FileState]:
    return {record[0]: FileState(*record[1:-1]) for record in records if is_intact(record)}
