"""Sync an index with a folder or a table: images that were added, moved, relabeled, edited in place, or are gone.

Files are first compared by size and modification time, and read only if these differ. The same bytes are the same
image, wherever the file is now. A folder is followed with everything below it, a table with the files it names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, NamedTuple, get_args

from index.bulk_change import BulkChange, Selection
from index.entries import FileState, StoredSource
from index.protocol import Index, require_sync
from index.reading import ImageSource, KnownImage, ReadImage, add_read, read_batches, to_sources
from model.datasets.listing import UNCHECKED, Listing, Skipped
from model.datasets.names import common_folder, is_utf8, show_path
from model.exceptions import DatasetError, StoppedError
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.runtime import OnnxModel

ChangeKind = Literal["added", "restored", "moved", "relabeled", "edited", "gone", "not checked", "unreadable"]
OUTDATED: tuple[ChangeKind, ...] = ("restored", "moved", "relabeled", "edited", "gone")
"""Kinds of change that adding images doesn't make."""
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


@dataclass(frozen=True)
class Change:
    """What happened to one image. `path`: relative to the folder, or to the table's folder."""

    kind: ChangeKind
    path: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {show_path(self.path)}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class SyncReport:
    """The changes made to the index of a folder or table, or, with `dry_run`, the changes to make.

    `copies`: number of files with the same bytes as another file. `mislabeled`: paths of copies whose folder or row
    gives a label other than the image's. `pruned`: whether images whose file is gone were removed. `skipped`:
    unreadable files.
    """

    changes: tuple[Change, ...]
    unchanged: int
    copies: int
    mislabeled: tuple[str, ...]
    pruned: bool
    dry_run: bool
    skipped: tuple[Skipped, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of changes by kind."""
        counted = Counter(change.kind for change in self.changes)
        return {kind: counted[kind] for kind in CHANGE_KINDS}

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "counts": self.counts,
            "unchanged": self.unchanged,
            "copies": self.copies,
            "mislabeled_copies": len(self.mislabeled),
            "mislabeled": [show_path(path) for path in self.mislabeled],
            "pruned": self.pruned,
            "dry_run": self.dry_run,
            "changes": [{"kind": c.kind, "path": show_path(c.path), "detail": c.detail} for c in self.changes],
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items())
        mislabeled = f" ({describe_mislabeled(self.mislabeled)})" if self.mislabeled else ""
        lines = [f"{self.unchanged:,} unchanged, {self.copies:,} copies{mislabeled}, {counts}"]
        if self.dry_run:
            lines.append("nothing was changed: this was a dry run")
        elif self.counts["gone"] and not self.pruned:
            lines.append("images whose file is gone are still in the index: remove them with --prune")
        elif self.counts["gone"]:
            lines.append("`alexnet index restore ID` brings a removed image back until the index is compacted")
        return "\n".join(lines)


def describe_mislabeled(paths: Sequence[str]) -> str:
    """The number of paths and the first of them: "2 under another label, such as cat/1.jpg"."""
    return f"{len(paths):,} under another label, such as {show_path(paths[0])}"


def sync(
    index: Index,
    model: OnnxModel,
    listing: Listing,
    *,
    prune: bool = False,
    dry_run: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
    limits: ImageLimits = DEFAULT_LIMITS,
    just_read: Mapping[str, FileState | Skipped] | None = None,
) -> SyncReport:
    """Change an index so that it holds the images of a folder or a table.

    `listing`: the files of the folder by its real path, or of a table. `prune`: remove images whose file is gone;
    `restore` brings them back until the index is compacted. The image of a file edited in place is always replaced: the
    old one is removed. A file that can't be checked, below an empty or unreadable folder or behind a broken link, isn't
    taken as gone. `just_read`: files that were just read and aren't read again.

    Raises DatasetError, with nothing changed, for a folder without images, which may not be mounted; StoppedError once
    `is_stopped` is true, keeping the images already added.
    """
    if not listing.entries:
        raise DatasetError(
            f"no images in {show_path(listing.root)}, so nothing was changed: is its disk mounted? To remove all "
            "images, delete the index"
        )
    return _Sync(index, model, listing, dry_run, is_stopped, limits, just_read or {}).run(prune)


class _File(NamedTuple):
    """A file of the folder, and its state when last read."""

    source: ImageSource
    state: FileState


class _Sync:
    """One comparison of a folder with an index."""

    def __init__(
        self,
        index: Index,
        model: OnnxModel,
        listing: Listing,
        dry_run: bool,
        is_stopped: Callable[[], bool],
        limits: ImageLimits,
        just_read: Mapping[str, FileState | Skipped],
    ) -> None:
        self.index, self.model, self.listing, self.dry_run = index, model, listing, dry_run
        self.is_stopped, self.limits, self.just_read = is_stopped, limits, just_read
        self.follower = require_sync(index)
        self.sources = to_sources(listing)
        self.follows_folder = listing.root.is_dir()
        self.has_labels = self.follows_folder or any(source.label is not None for source in self.sources)
        self.root = str(listing.root if self.follows_folder else listing.root.absolute().parent)
        self.listed = {source.file for source in self.sources}
        self.stored: dict[str, StoredSource] = {}  # images of files in the data or with their bytes, by checksum
        self.states: dict[str, FileState] = {}  # by path: of the data's files, and of the files of `stored`
        self.new_states: dict[str, FileState] = {}
        self.files_of: dict[str, list[_File]] = {}  # files of the images in `stored`, by checksum
        self.added: dict[str, ImageSource] = {}  # new images, by checksum
        self.unreadable: dict[str, Skipped] = {}
        self.changes: list[Change] = []
        self.mislabeled: list[str] = []
        self.unchanged = self.copies = 0
        self._unsure: dict[str, str] = {}  # folder -> why its missing files may still exist; "" if they don't

    def run(self, prune: bool) -> SyncReport:
        self._look_up()
        self._read([source for source in self.sources if not self._note_known(source)])
        settled = [self._settle(self.stored[sha256], files) for sha256, files in self.files_of.items()]
        replaced, gone = self._find_missing()
        if not self.dry_run:
            restored = [self.stored[sha256].id for sha256 in self.files_of if self.stored[sha256].removed]
            self.index.change_many(Selection(restored), BulkChange(removed=False))
            self.follower.move([move for move in settled if move is not None])
            self.index.change_many(Selection(replaced + (gone if prune else [])), BulkChange(removed=True))
            self._record()
        order = {kind: number for number, kind in enumerate(CHANGE_KINDS)}
        changes = sorted(self.changes, key=lambda change: (order[change.kind], change.path))
        mislabeled = tuple(sorted(map(self._below, self.mislabeled)))
        skipped = tuple(self.unreadable.values())
        return SyncReport(tuple(changes), self.unchanged, self.copies, mislabeled, prune, self.dry_run, skipped)

    def _look_up(self) -> None:
        """Look up the images and files of the data in the index, instead of all entries, which may be many more."""
        records, files = self.follower.file_records, self.listed | self.missing
        folder = self.root if self.follows_folder else common_folder(files)
        if is_utf8(folder):  # as all paths in the catalog are
            self.stored = {image.sha256: image for image in records.sources_below(folder)}
            self.states = records.file_states_below(folder)
        states = [self.just_read.get(file) or self.states.get(file) for file in self.listed]
        self._look_up_elsewhere({state.sha256 for state in states if isinstance(state, FileState)})

    def _look_up_elsewhere(self, sha256s: set[str]) -> None:
        """Look up the images with these checksums, wherever their files are."""
        images = self.follower.file_records.sources_of(sorted(sha256s - self.stored.keys() - self.added.keys()))
        self.stored |= {image.sha256: image for image in images}
        self.states |= self.follower.file_records.file_states_of([image.source for image in images])

    def _note_known(self, source: ImageSource) -> bool:
        """Note a file that is indexed and hasn't changed since it was last read. Returns False for other files."""
        just_read = self.just_read.get(source.file)
        if isinstance(just_read, Skipped):
            self._note_unreadable(source, just_read)
            return True
        state = just_read or self.states.get(source.file)
        if state is None or state.sha256 not in self.stored:
            return False
        if just_read is None and not _is_unchanged(source.file, state):
            return False
        self.files_of.setdefault(state.sha256, []).append(_File(source, state))
        if self.has_labels and state.label != source.label:
            self.new_states[source.file] = state._replace(label=source.label)
        return True

    def _read(self, sources: Sequence[ImageSource]) -> None:
        """Read files, and add the images that the index doesn't have."""
        for batch in read_batches(self.index, sources, self.limits, "reading changed files"):
            if self.is_stopped():
                raise StoppedError("stopped; what was added is kept: sync again to resume")
            self._look_up_elsewhere({read.state.sha256 for _, read in batch if not isinstance(read, Skipped)})
            new = [self._classify(*pair) for pair in batch]
            if not self.dry_run:
                add_read(self.index, self.model, [image for image in new if image is not None])

    def _classify(self, source: ImageSource, result: ReadImage | KnownImage | Skipped) -> ReadImage | None:
        """Note how a file relates to the index. Returns the image if it is new."""
        if isinstance(result, Skipped):
            self._note_unreadable(source, result)
            return None
        sha256 = result.state.sha256
        if is_utf8(source.file):  # as catalog text must be; other paths aren't stored
            state, before = result.state, self.states.get(source.file)
            if before is not None and not self.has_labels:
                state = state._replace(label=before.label)
            self.new_states[source.file] = state
        if sha256 in self.stored:
            self.files_of.setdefault(sha256, []).append(_File(source, result.state))
        elif sha256 in self.added or isinstance(result, KnownImage):
            self.copies += 1
            if sha256 in self.added and self.added[sha256].label != source.label:
                self.mislabeled.append(source.file)
        else:
            self.added[sha256] = source
            return result
        return None

    def _note_unreadable(self, source: ImageSource, skipped: Skipped) -> None:
        self.unreadable[source.file] = skipped
        self._note("unreadable", source.file, skipped.detail or skipped.reason)

    def _settle(self, image: StoredSource, files: Sequence[_File]) -> tuple[int, str, str | None] | None:
        """The (id, file, label) to store for an image whose bytes are in `files`; None if there is nothing to store."""
        own = next((file for file in files if file.source.file == image.source), None)
        self.copies += len(files) - 1
        file = own or files[0]
        path, label = file.source.file, self._new_label(image, file.source.label)
        stays_elsewhere = own is None and self._is_elsewhere(image.source)
        given = image.label if stays_elsewhere else file.source.label
        self.mislabeled += [copy.source.file for copy in files if copy.source.label not in (given, None)]
        if image.removed:
            self._note("restored", path, label or "")
        elif stays_elsewhere:
            if is_utf8(path):
                self.copies += 1
            else:
                self.unchanged += 1
        elif own is None:
            change = "" if label == image.label else f", {image.label or 'no label'} -> {label or 'no label'}"
            self._note("moved", path, f"from {show_path(self._below(image.source))}{change}")
        elif label != image.label:
            self._note("relabeled", path, f"{image.label or 'no label'} -> {label or 'no label'}")
        else:
            self.unchanged += 1
            return None
        return None if stays_elsewhere or not is_utf8(path) else (image.id, path, label)

    def _new_label(self, image: StoredSource, label: str | None) -> str | None:
        """The label in the data if it has changed, else the image's, which may have been changed by hand.

        A table without a label column changes no labels.
        """
        if not self.has_labels:
            return image.label
        before = self.states.get(image.source)
        return image.label if before is not None and before.label == label else label

    def _find_missing(self) -> tuple[list[int], list[int]]:
        """Ids of the images whose file has other bytes now, and ids of the images whose file is gone."""
        replaced, gone, edited = [], [], set[str]()
        for image in self.stored.values():
            path = image.source
            if image.removed or image.sha256 in self.files_of or not self._is_followed(path):
                continue
            if path in self.listed:
                if path not in self.unreadable:
                    replaced.append(image.id)
                    edited.add(path)
            elif reason := self._why_unchecked(path):
                self._note("not checked", path, reason)
            elif os.path.lexists(path):
                self._note("not checked", path, "it appeared during the sync: sync again")
            else:
                gone.append(image.id)
                self._note("gone", path, f"image {image.id}")
        for path in edited:
            self._note("edited", path)
        for source in self.added.values():
            if source.file not in edited:
                self._note("added", source.file, source.label or "")
        return replaced, gone

    def _why_unchecked(self, path: str) -> str:
        """Why it can't be told whether a file is gone; "" if it can."""
        above = accumulate(path.removeprefix(f"{self.root}/").split("/"), "{}/{}".format)
        for part in above:
            if f"{self.root}/{part}" in self.unchecked:
                return self.unchecked[f"{self.root}/{part}"]
        folder = os.path.dirname(path)  # noqa: PTH120
        while folder != self.root and not os.path.isdir(folder):  # noqa: PTH112
            folder = os.path.dirname(folder)  # noqa: PTH120
        if folder not in self._unsure:
            self._unsure[folder] = "" if folder == self.root else _unverifiable_reason(folder)
        return self._unsure[folder]

    def _is_followed(self, path: str) -> bool:
        """Whether a file belongs to the folder or table that is followed."""
        if self.follows_folder:
            return path.startswith(f"{self.root}/")
        return path in self.listed or path in self.missing

    @cached_property
    def missing(self) -> set[str]:
        """Files that a table names but that don't exist."""
        return {os.path.abspath(entry.path) for entry in self.listing.skipped if entry.reason == "missing files"}  # noqa: PTH100

    @cached_property
    def unchecked(self) -> dict[str, str]:
        """Files and folders that couldn't be checked, and why."""
        return {entry.path: entry.reason for entry in self.listing.skipped if entry.reason in UNCHECKED}

    def _is_elsewhere(self, path: str) -> bool:
        """Whether an image has no file, or an existing file outside the followed data."""
        return not path or (not self._is_followed(path) and os.path.exists(path))  # noqa: PTH110

    def _record(self) -> None:
        """Store how the files were read, and delete the records of files that are gone."""
        records = self.follower.file_records
        records.set_file_states(self.new_states)
        followed = (path for path in self.states if self._is_followed(path) and path not in self.listed)
        records.delete_file_states([path for path in followed if not self._why_unchecked(path)])

    def _note(self, kind: ChangeKind, path: str, detail: str = "") -> None:
        self.changes.append(Change(kind, self._below(path), detail))

    def _below(self, path: str) -> str:
        return path.removeprefix(f"{self.root}/")


def _unverifiable_reason(folder: str) -> str:
    """Why files missing from a folder may still exist; "" if they don't."""
    try:
        return "" if os.listdir(folder) else "its folder is empty: is its disk mounted?"  # noqa: PTH208
    except OSError as error:
        return f"its folder can't be read: {error.strerror}"


def _is_unchanged(file: str, state: FileState) -> bool:
    """Whether a file still has the size and modification time that it had when it was last read."""
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (state.size, state.mtime_ns)
