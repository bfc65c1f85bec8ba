"""Index a data set: read its images, compute their features and add them to an index."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from index.backends import IndexUri, open_or_create, open_readonly, open_writable
from index.build import BuildReport, build, list_folder
from index.entries import FileState
from index.feature_space import RowDType
from index.protocol import Index, SupportsSync, require_sync
from index.reading import to_sources
from index.shards import Shard
from index.sync import OUTDATED, SyncReport, describe_mislabeled, sync
from model.artifacts.artifact import Artifact
from model.datasets.listing import ListedImage, Listing, Skipped, Summary, describe_reasons, write_skipped
from model.datasets.names import SPLITS, is_utf8, show_path, show_text
from model.datasets.reader import check_folder
from model.datasets.tables import is_table, read_table
from model.exceptions import DatasetError, StoppedError
from model.images.info import summarize_warnings
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.plurals import count_of
from model.runtime import OnnxModel
from model.shell_command import Command
from training.data.archives import NAMED_DATASETS
from training.data.datasets import Dataset
from training.data.folders import read_info
from training.data.loading import check_loading_options, load_dataset


@dataclass(frozen=True)
class IndexingOptions:
    """How a data set is indexed.

    `archive`: of a named data set. `dtype`: of a new index's features. `shard`: index only the images of this shard.
    `exclude`: patterns of files and folders to leave out. `list_skipped`: a file to list what is skipped, and why.
    `limits`: for each image.
    """

    archive: Path | None = None
    device: str = "auto"
    dtype: RowDType = "float32"
    shard: Shard | None = None
    exclude: tuple[str, ...] = ()
    list_skipped: Path | None = None
    limits: ImageLimits = DEFAULT_LIMITS


@dataclass(frozen=True)
class SyncOptions:
    """How an index follows a folder; see `index.sync.sync`."""

    device: str = "auto"
    exclude: tuple[str, ...] = ()
    prune: bool = False
    dry_run: bool = False
    limits: ImageLimits = DEFAULT_LIMITS


SYNC = Command("index", "sync")


@dataclass(frozen=True)
class IndexedData:
    """The result of indexing. `size`: number of images in the index afterwards. `summary`: of the data.

    `differences`: number of images, by kind (`OUTDATED`), that were moved, changed or deleted since they were indexed.
    `mislabeled`: copies of an indexed image that has another label. `labels_above`: the labels that the index has for
    these images, if all are names of `data` or of folders above it: a single class folder was given instead of the
    folder that holds them all. `data`: as the user named it. `sync`: the command that syncs the same index, without
    its data.
    """

    index: IndexUri
    report: BuildReport
    size: int
    summary: Summary
    differences: Mapping[str, int]
    mislabeled: tuple[str, ...] = ()
    labels_above: tuple[str, ...] = ()
    data: str = ""
    sync: Command = SYNC

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "index": str(self.index),
            "num_images": self.size,
            "added": self.report.added,
            "restored": self.report.restored,
            "existing": self.report.existing,
            "copies": self.report.copies,
            "unreadable": self.report.unreadable,
            "warnings": dict(self.report.warnings),
            "data": self.summary.to_json(),
            "differences": dict(self.differences),
            "mislabeled_copies": len(self.mislabeled),
            "mislabeled": [show_path(path) for path in self.mislabeled],
        }

    def __str__(self) -> str:
        report = self.report
        restored = f", {report.restored:,} of them restored" if report.restored else ""
        counts = (
            f"{report.added:,} added{restored}, {report.existing:,} already indexed, {report.unreadable:,} unreadable"
        )
        if report.copies:
            counts += f", {count_of(report.copies, 'copy of another', 'copies of others')}"
        text = f"{self.summary}\nindex {self.index}: {count_of(self.size, 'image')} ({counts})"
        if report.warnings:
            text += f"\n{summarize_warnings(report.warnings)}"
        if self.mislabeled:
            text += (
                f"\ncopies of other images: {describe_mislabeled(self.mislabeled)}; an image has only one label, so "
                "delete its file under the wrong one"
            )
        if not self.differences:
            return text
        changes = ", ".join(f"{count:,} {kind}" for kind, count in self.differences.items())
        if self.labels_above:
            labels = ", ".join(map(show_text, self.labels_above))
            return (
                f"{text}\nthe index keeps its labels for these images, the names of folders above them ({labels}): "
                "--data must be the folder that contains the class folders"
            )
        sync = self.sync.argument(self.data)
        return (
            f"{text}\nthe data has changed since: {changes}; `{sync}` brings the index up to date (--dry-run only "
            "lists changes)"
        )


def index_dataset(
    data: str, artifact: Artifact, index: IndexUri, options: IndexingOptions | None = None
) -> IndexedData:
    """Add the images of a data set to an index, which is created if it doesn't exist.

    Raises StoppedError on Ctrl-C, and what was added is kept; DatasetError, before an index is created, for data
    without images (unless a shard is indexed); or another AlexNetError.
    """
    options = options or IndexingOptions()
    listing = list_image_files(data, options.archive, options.shard, options.exclude)
    if not listing.entries and options.shard is None:
        if options.list_skipped is not None:
            write_skipped(options.list_skipped, listing.skipped)
        reasons = describe_reasons(listing.summary().skipped)
        raise DatasetError(f"no image in {data}, so nothing was indexed" + (f"; skipped: {reasons}" if reasons else ""))
    with closing(open_or_create(index, artifact, options.dtype)) as store:
        model = OnnxModel(artifact.network_path, options.device)
        try:
            report = build(store, model, to_sources(listing), options.limits)
            changed = None if options.shard else _compare(store, model, listing, options.limits, report.read)
        except KeyboardInterrupt:
            raise StoppedError("stopped; what was added is kept: run the same command to resume") from None
        if options.list_skipped is not None:
            write_skipped(options.list_skipped, (*listing.skipped, *report.skipped))
        if report.unreadable and not len(store) and options.shard is None:
            reasons = describe_reasons(listing.summary(report.skipped).skipped)
            raise DatasetError(f"no image in {data} could be read, so nothing was indexed; skipped: {reasons}")
        differences = {str(kind): changed.counts[kind] for kind in OUTDATED if changed.counts[kind]} if changed else {}
        mislabeled = changed.mislabeled if changed else ()
        above = _labels_above(Path(data), changed) if changed else ()
        summary = listing.summary(report.skipped)
        return IndexedData(index, report, len(store), summary, differences, mislabeled, above, data)


def _labels_above(data: Path, report: SyncReport) -> tuple[str, ...]:
    """The index's labels of relabeled images, if all are names of `data` or of folders above it; else none."""
    labels = {change.detail.partition(" -> ")[0] for change in report.changes if change.kind == "relabeled"}
    return tuple(sorted(labels)) if labels <= set(data.resolve().parts) else ()


def _compare(
    index: Index, model: OnnxModel, listing: Listing, limits: ImageLimits, read: Mapping[str, FileState | Skipped]
) -> SyncReport | None:
    """How an index differs from data whose files were just `read`; None if it can't be synced or the data is empty."""
    if not isinstance(index, SupportsSync) or not listing.entries:
        return None
    return sync(index, model, listing, dry_run=True, limits=limits, just_read=read)


def list_image_files(data: str, archive: Path | None, shard: Shard | None, exclude: Sequence[str]) -> Listing:
    """The images of a named data set, a folder or a table, or only those of a shard. Raises DatasetError."""
    check_loading_options(data, archive, exclude)
    if data not in NAMED_DATASETS and not is_table(Path(data)):
        check_folder(Path(data))
        return _note_lost_paths(list_folder(Path(data), shard, exclude))
    listing = _list_named(load_dataset(data, archive=archive)) if data in NAMED_DATASETS else _list_table(data, exclude)
    if shard is None:
        return _note_lost_paths(listing)
    paths = [entry.path.absolute() for entry in listing.entries]
    # a named data set has the same files on every machine, a table may list different ones
    root = Path(os.path.commonpath(paths)) if data in NAMED_DATASETS else Path(data).absolute().parent
    pairs = zip(listing.entries, paths, strict=True)
    return _note_lost_paths(replace(listing, entries=tuple(e for e, path in pairs if shard.contains(path, root))))


def _note_lost_paths(listing: Listing) -> Listing:
    """Add a note on files that an index can't name, because its catalog stores text."""
    lost = [entry.file for entry in listing.entries if not is_utf8(entry.file)]
    if not lost:
        return listing
    note = (
        f"file names that aren't UTF-8 (images indexed without a path): {len(lost):,}, such as "
        f"{show_path(os.path.relpath(lost[0], listing.root))}; rename them"
    )
    return replace(listing, notes=(*listing.notes, note))


def _list_named(dataset: Dataset) -> Listing:
    entries = [
        ListedImage(example.file, dataset.labels[example.label].id, split, example.group)
        for split, examples in zip(SPLITS, dataset.splits().values(), strict=True)
        for example in examples
    ]
    return Listing(Path(dataset.name), tuple(entries), dataset.labels, has_splits=True)


def _list_table(data: str, exclude: Sequence[str]) -> Listing:
    """The images of a table; if it is the split of a run, its classes have the names that the run gave them."""
    listing, info = read_table(Path(data), exclude), read_info(Path(data))
    known = set() if info is None else {label.id for label in info.labels}
    if info is None or not known.issuperset(label.id for label in listing.classes):
        return listing
    return replace(listing, classes=info.labels)


def sync_data(data: Path, artifact: Artifact, index: IndexUri, options: SyncOptions) -> tuple[SyncReport, Summary]:
    """Bring an existing index up to date with a folder or a table (`index.sync`). Raises AlexNetError.

    A dry run only reads the index, so a server may have it open.
    """
    with closing(open_readonly(index) if options.dry_run else open_writable(index)) as store:
        require_sync(store)
        store.check_compatible(artifact)
        listing = list_image_files(str(data), None, None, options.exclude)
        try:
            model = OnnxModel(artifact.network_path, options.device)
            report = sync(store, model, listing, prune=options.prune, dry_run=options.dry_run, limits=options.limits)
        except KeyboardInterrupt:
            raise StoppedError("stopped; what was added is kept: run the same command to resume") from None
    return report, listing.summary(report.skipped)
