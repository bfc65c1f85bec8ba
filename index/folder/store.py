"""FolderIndex: an index in a folder, which holds images' features, labels and thumbnails, and finds the nearest.

    INDEX/
      catalog.sqlite    which images there are, and the network and crops that made their features
      features-1.f32    one row per image, float32 or float16; the number grows when the index is compacted
      codes-1-....u8    their binary codes, if the network has an encoder; recomputed if they are missing
      lock              held by the process that may change the index

A change is durable when its method returns: features are synced to the disk before the catalog commits. A search never
waits for a change, and sees an image once `add` has returned. Each change checks before and after that these names are
still the files that were opened. All are regular files, never links.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.base import BaseIndex
from index.bulk_change import BulkChange, BulkResult, Selection
from index.catalog.catalog import Catalog
from index.catalog.file_records import FileRecords
from index.catalog.rows import read_label_groups, read_rows
from index.codes import Codes, check_encoder
from index.entries import AddResult, Entry, NewEntry, damaged_image_error, unknown_image_error
from index.feature_space import FeatureSpace, RowDType
from index.features import FeatureFile, feature_checksums, round_to_dtype
from index.files import check_same
from index.folder.damage_check import DamageCheck
from index.folder.generations import codes_path, delete_after, delete_before, features_path, has_features_after
from index.folder.layout import (
    CATALOG,
    IndexMetadata,
    create_empty_index,
    is_index,
    lock_for_writing,
    missing_index_error,
)
from index.folder.search_state import SearchState
from index.folder.verification import find_damaged_among
from index.row_table import RowTable
from index.scanning.scanners import SearchPool
from index.search import NearestIds, Query, Snapshot, run_queries
from index.write_batch import AddQueue, PendingAdd, WriteBatch
from model.artifacts.artifact import Artifact
from model.encoder import Encoder
from model.exceptions import (
    AlexNetError,
    IndexReplacedError,
    StorageFullError,
)
from model.files import fsync
from model.images.crops import CENTER_CROP

logger = logging.getLogger(__name__)

MAX_OPEN_ATTEMPTS = 3
MAX_SEARCH_RETRIES = 3
"""How often a search that met damaged rows is repeated before it waits for all rows to be verified."""


class FolderIndex(BaseIndex):
    """An index on disk. All methods may be called from any thread; one process at a time may change an index.

    `crops`: the crops whose features are averaged. A large index opens before all images have been compared with their
    checksums (`wait_until_verified`).
    """

    catalog: Catalog

    def __init__(self, path: Path, writable: bool) -> None:
        if not is_index(path):
            raise missing_index_error(path)
        self.path = path
        self._write_lock = threading.RLock()
        """Held during a change, by one thread of this process; `_file_lock` keeps other processes out."""
        self._is_behind = False
        """Whether a change was interrupted, so that the catalog may have committed what isn't in memory."""
        self._additions = AddQueue(self._write_lock, self._write)
        with ExitStack() as stack:
            self._file_lock = lock_for_writing(path) if writable else None
            if self._file_lock is not None:
                stack.callback(self._file_lock.release)
            self.catalog = stack.enter_context(closing(Catalog(path / CATALOG, writable)))
            self.file_records = FileRecords(self.catalog)
            metadata = IndexMetadata.read(self.catalog, path)
            super().__init__(str(path), metadata.space, writable)
            self._generation = metadata.generation
            rows = RowTable.from_groups(read_label_groups(self.catalog))
            file = features_path(path, self._generation, self.space.dtype)
            features = FeatureFile(file, self.dim, len(rows), self.space.dtype)
            stack.callback(features.close)
            is_gone = len(rows) > 0 and not writable and not features.is_open
            if is_gone and has_features_after(path, self._generation):  # deleted by a writer meanwhile
                raise IndexReplacedError(f"the index at {path} was compacted while it was being opened: try again")
            self._state = SearchState(Snapshot(features, rows), path)
            self._pool = stack.enter_context(SearchPool())
            self._damage_check = DamageCheck(self.catalog, self._state, self._write_lock)
            self._damage_check.start()
            self._resources = stack.pop_all()

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> FolderIndex:
        """Open an existing index. Raises IndexNotFoundError, IndexStoreError, or ReadOnlyIndexError if locked."""
        for _ in range(MAX_OPEN_ATTEMPTS - 1):
            try:
                return cls(path, writable)
            except IndexReplacedError:  # compacted while it was opened
                continue
        return cls(path, writable)

    @classmethod
    def create(
        cls, path: Path, artifact: Artifact, crops: Sequence[int] = CENTER_CROP, dtype: RowDType = "float32"
    ) -> FolderIndex:
        """Open an index for writing; create it if there is none.

        `crops`, `dtype`: for a new index. Raises IndexStoreError if an existing one belongs to another network.
        """
        create_empty_index(path, FeatureSpace.of(artifact, crops, dtype), artifact)
        return cls(path, writable=True)

    def __len__(self) -> int:
        return self._current.rows.num_active

    def labels(self) -> dict[str, int]:
        """Number of images per label."""
        return self._current.rows.label_counts()

    def count(self, label: str | None = None) -> int:
        """Number of images with a label; None: all images."""
        return len(self) if label is None else self.labels().get(label, 0)

    @property
    def damaged(self) -> Mapping[int, str]:
        """Id -> fault of the images known to be damaged, because their row is truncated, or their row or entry doesn't
        match its checksum; searches skip them."""
        return self._state.damaged

    @property
    def _current(self) -> Snapshot:
        return self._state.snapshot

    @property
    def codes(self) -> Codes | None:
        """Binary codes of all images, while an encoder is set."""
        return self._current.codes

    @property
    def encoder(self) -> Encoder | None:
        """The encoder of the binary codes, while one is set."""
        return None if self.codes is None else self.codes.encoder

    def set_encoder(self, encoder: Encoder | None) -> None:
        """Keep binary codes of all images by this encoder from now on, and compute missing ones. None: keep none.

        Raises IndexStoreError if the encoder is for features of another dimension.
        """
        with self._write_lock:
            before = self._current.codes
            if encoder is None or before is None or before.encoder.sha256 != encoder.sha256:
                self._set_codes(None if encoder is None else self._load_codes(encoder))

    def search_on_gpu(self) -> None:
        """Scan features on a GPU from now on. Raises DeviceError."""
        self._current.features.scan_on_gpu()

    def close(self) -> None:
        self._damage_check.stop()
        self._resources.close()
        self._current.features.close()

    def add(self, features: NDArray[np.float32], entries: Sequence[NewEntry]) -> list[AddResult]:
        """Add images with their (N, dim) features; durable when this returns.

        Images with the same bytes are the same image. Adding one again changes nothing, or restores it if it was
        removed. Additions that wait for one another are written in one commit. Raises InvalidRequestError,
        StorageFullError, ReadOnlyIndexError, or IndexReplacedError.
        """
        self.check_writable()
        addition = PendingAdd(features, entries)
        addition.check(self.dim, self._current.features.dtype)
        return self._additions.add(addition)

    def change_many(self, selection: Selection, change: BulkChange) -> BulkResult:
        """Remove, restore or relabel images in one commit. Damaged images are left out."""
        with self._changing():
            result = change.plan(selection, self.catalog.select(selection))
            self._apply(result.changed, change)
        return result

    def move(self, moves: Sequence[tuple[int, str, str | None]]) -> None:
        """Record in one commit that images are in other files now, with the same bytes. `moves`: (id, new path, label).

        Images that a compaction has since deleted are left out: the next sync adds their files again.
        """
        with self._changing(), self._committing():
            moves = [move for move in moves if self._current.rows.row_of(move[0]) is not None]  # others were compacted
            self.catalog.set_sources(moves)
            for image_id, _, label in moves:
                self._current.rows.set_label(image_id, label)

    def is_replaced(self) -> bool:
        """Whether files of this index, which is open for writing, have been replaced by others."""
        with self._write_lock:
            try:
                self._check_files()
            except IndexReplacedError:
                return True
        return False

    def stop_writing(self) -> None:
        """Release the lock once the current change is written. From then on, the index can only be read."""
        with self._write_lock:
            if self.writable:
                self.catalog.delete_stale_wal()
            self.writable = False
            if self._file_lock is not None:
                self._file_lock.release()

    def verify(self) -> Mapping[int, str]:
        """Compare everything with its checksum again, thumbnails too. Returns `damaged`."""
        self._damage_check.stop()
        with self._write_lock:
            self._damage_check.run()
            self._damage_check.run_on_thumbnails()
        return self.damaged

    def wait_until_verified(self) -> Mapping[int, str]:
        """Wait until all rows and entries have been compared with their checksums. Returns `damaged`."""
        self._damage_check.wait()
        return self.damaged

    @property
    def num_unverified(self) -> int:
        """Number of images whose rows haven't been verified yet. A search verifies the rows it returns."""
        return self._current.rows.num_unverified

    def search_ids(self, queries: Sequence[Query]) -> list[NearestIds]:
        """`search_many` without reading entries from the catalog."""
        for query in queries:
            query.check(self.dim)
        for attempt in itertools.count():
            snapshot, matrix = self._state.take()
            results = run_queries(snapshot, matrix, queries, self._pool)
            ids = np.unique(np.concatenate([np.empty(0, np.int64), *(result.ids for result in results)]))
            faults = find_damaged_among(ids, self.catalog, snapshot.features, snapshot.rows)
            if not faults:
                break
            self._state.exclude(faults)
            if attempt == MAX_SEARCH_RETRIES:  # many are damaged: find them all
                self.wait_until_verified()
        return results

    def features(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The stored (N, dim) features of images, in the order of `ids`. Raises UnknownImageError."""
        id_array = np.array(ids, np.int64)
        existing = {entry.id for entry in self.catalog.lookup(ids)}
        for image_id, row in zip(ids, self._current.rows.rows_of(id_array), strict=True):
            if row < 0 or image_id not in existing:
                self.entry(image_id)  # raises
        snapshot, matrix = self._state.take()
        rows = snapshot.rows.rows_of(id_array)
        known = np.unique(id_array[rows >= 0])
        self._state.exclude(find_damaged_among(known, self.catalog, snapshot.features, snapshot.rows))
        for image_id, row in zip(ids, rows, strict=True):
            if row < 0 or image_id in self.damaged:
                raise damaged_image_error("stored feature", image_id)
        return np.asarray(matrix[rows], np.float32)

    def entry(self, image_id: int) -> Entry:
        """The entry of an image. Raises UnknownImageError."""
        if self._current.rows.row_of(image_id) is None:  # added by another process since this one opened the index
            raise unknown_image_error(image_id)
        return self.catalog.get(image_id)

    def compact(self) -> int:
        """Delete removed and damaged images for good and free their space. Returns how many."""
        self.check_writable()
        self.verify()
        with self._changing():
            if self._damage_check.is_running:  # another program has changed the file since
                self._damage_check.run()
            records = read_rows(self.catalog)
            kept = [r for r in records if r.intact and not r.removed and r.id not in self.damaged]
            deleted = {record.id for record in records} - {record.id for record in kept}
            before, generation = self._current, self._generation + 1
            delete_after(self.path, self._generation)  # left by a compaction that was killed, of other rows
            path = features_path(self.path, generation, self.space.dtype)
            features = before.features.copy_rows(path, [record.row for record in kept])
            try:
                fsync(self.path)  # make the new file name durable before the catalog commits it
                codes = None if before.codes is None else self._encode_all(before.codes.encoder, features, generation)
                with self._committing():
                    self.catalog.compact(deleted, [(row, record.id) for row, record in enumerate(kept)], generation)
                    rows = RowTable.from_groups(read_label_groups(self.catalog))
                    rows.set_verified(np.arange(len(kept)))
                    self._state.swap(Snapshot(features, rows, codes))
                    self._generation = generation
            except StorageFullError:
                delete_after(self.path, self._generation)  # nothing was committed: make room
                raise
            finally:
                if self._current.features is not features:
                    features.close()
            delete_before(self.path, self._generation)
        return len(records) - len(kept)

    def _write(self, additions: Sequence[PendingAdd]) -> tuple[WriteBatch, list[int]]:
        """Write additions in one commit."""
        self.check_writable()  # writing may have been given up while these additions waited
        batch = WriteBatch(self.catalog)
        self._check_files()
        for addition in additions:
            batch.accept(addition)
        ids = self._append(list(batch.new.values()), batch.removed_ids)
        self._check_files()  # if replaced meanwhile, the additions are in an index that nobody will open
        return batch, ids

    def _append(self, images: Sequence[tuple[NewEntry, NDArray[np.float32]]], restored: Sequence[int]) -> list[int]:
        """Write new images to the disk, then make them and the restored ones visible to searches. Returns the ids of
        the new ones."""
        if not images:
            if restored:
                self._apply(restored, BulkChange(removed=False))
            return []
        entries, stacked = [entry for entry, _ in images], np.stack([feature for _, feature in images])
        features, rows, codes = self._current.features, self._current.rows, self._current.codes
        new_codes = None if codes is None else codes.encoder.encode(round_to_dtype(stacked, self.space.dtype))
        features.append(stacked)
        with self._committing():
            checksums = feature_checksums(stacked, self.space.dtype)
            ids = self.catalog.add(features.count, checksums, entries, restored)
            if codes is not None and new_codes is not None:
                codes.append(new_codes)
            features.commit(len(entries))
            rows.append(ids, [entry.label for entry in entries])
            for image_id in restored:
                rows.set_active(image_id, image_id not in self.damaged)
        return ids

    def _encode_all(self, encoder: Encoder, features: FeatureFile, generation: int) -> Codes:
        """Make the codes of a new generation of features. Deletes those of an interrupted attempt: of other rows."""
        path = codes_path(self.path, generation, encoder.sha256)
        path.unlink(missing_ok=True)
        return Codes(encoder, features.matrix(), path)

    def _load_codes(self, encoder: Encoder) -> Codes:
        check_encoder(encoder, self.dim)
        path = codes_path(self.path, self._generation, encoder.sha256)
        return Codes(encoder, self._current.features.matrix(), path, self.writable)

    def _set_codes(self, codes: Codes | None) -> None:
        self._state.snapshot = replace(self._state.snapshot, codes=codes)

    def _apply(self, ids: Sequence[int], change: BulkChange) -> None:
        """Change images in one commit, then in memory, where damaged ones stay inactive."""
        rows = self._current.rows
        with self._committing():
            self.catalog.change_many(ids, change)
            for image_id in ids:
                if change.relabel:
                    rows.set_label(image_id, change.label)
                if change.removed is not None:
                    rows.set_active(image_id, not change.removed and image_id not in self.damaged)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the write lock during a change.

        Raises ReadOnlyIndexError, or IndexReplacedError if the files were replaced before or during the change, which
        is then lost.
        """
        with self._write_lock:
            self.check_writable()
            self._check_files()
            yield
            self._check_files()

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Commit a change to the catalog, then make it in memory.

        Ctrl-C or a lack of memory may come between the two: the next change then begins with `_catch_up`.
        """
        self._is_behind = True
        try:
            yield
        except AlexNetError:  # the catalog has rolled it back
            self._is_behind = False
            raise
        self._is_behind = False

    def _catch_up(self) -> None:
        """Read the rows again after an interrupted change, whether or not the catalog has committed it.

        Raises IndexReplacedError after a compaction.
        """
        if IndexMetadata.read(self.catalog, self.path).generation != self._generation:
            raise IndexReplacedError(
                "a compaction of the index was interrupted: reload the server, or run the command again"
            )
        self._damage_check.reload_rows()
        features, codes = self._current.features, self._current.codes
        features.commit(len(self._current.rows) - features.count)
        if codes is not None:
            self._set_codes(self._load_codes(codes.encoder))
        self._damage_check.start()
        self._is_behind = False

    def _check_files(self) -> None:
        """Raise IndexReplacedError unless all files are those that were opened.

        If another program has changed the features file, its rows are compared with their checksums again.
        """
        if self._file_lock is None or not self.writable:
            return
        check_same(self._file_lock.path, self._file_lock.id)
        self.catalog.check_files()
        if self._is_behind:
            self._catch_up()
        features = self._current.features
        features.check_file()
        if features.changed_outside:
            logger.warning("another program has changed %s: comparing its rows with their checksums", features.path)
            self._current.rows.forget_verified()
            self._damage_check.start()
