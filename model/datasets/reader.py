"""`read_folder`: the images that a folder holds, with their classes and splits, as a `Listing`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from model.datasets.classes import find_doubtful_classes, list_classes
from model.datasets.image_files import has_image_suffix, looks_like_image_file
from model.datasets.imagenet import VALIDATION_LIST, read_synset_names, read_validation_list
from model.datasets.layout import Layout, Node, build_tree, decide_layout
from model.datasets.listing import ListedImage, Listing, Skipped, SkipReason
from model.datasets.names import is_utf8, show_path, to_text
from model.datasets.tables import TABLE_SUFFIXES, is_table
from model.datasets.walk import WalkResult, walk
from model.exceptions import DatasetError, DatasetNotFoundError

LOST_FOLDERS: dict[SkipReason, str] = {
    "broken links": "a broken link: is its disk mounted?",
    "links to data already read": "a link to a folder already read",
    "unreadable folders": "unreadable",
}
"""Why a folder wasn't read, for notes on folders whose absence would otherwise show only in the counts."""
MAX_LOST_SHOWN = 5


def check_folder(data: Path) -> None:
    """Raise DatasetError unless there is a folder at `data`."""
    if data.is_dir():
        return
    if data.exists():
        raise DatasetError(
            f"{show_path(data)} is neither a folder nor a table ({' or '.join(TABLE_SUFFIXES)}): unpack archives, "
            "and save spreadsheets as CSV"
        )
    if data.parts[:1] in (("http:",), ("https:",)):  # a URL that became a path
        raise DatasetError("--data doesn't accept URLs: download the images, and pass their folder")
    raise DatasetNotFoundError(
        f"no folder at {show_path(data)}: --data takes a folder (with one subfolder per class for training), a .csv "
        "file, or elpv, grocery or cifar10"
    )


def read_folder(root: Path, exclude: Sequence[str] = (), keep: Callable[[Path], bool] | None = None) -> Listing:
    """The images of a folder, in one of the layouts of `model.datasets.layout`. Raises DatasetError.

    `keep`: whether to list a file; others take no memory, which matters for a shard of a large data set.
    """
    walked = walk(root, exclude, keep)
    tree = build_tree(walked.folders)
    layout = decide_layout(root, tree)
    left_out = _folders_without_images(tree) | _empty_class_folders(tree, layout)
    synset_of = _validation_synsets(root, layout)
    labels = _LabelReader()
    entries = list[ListedImage]()
    skipped = [Skipped(f"{root}/{folder}", "folders without images") for folder in sorted(left_out)]
    for path in walked.files:
        if left_out and not left_out.isdisjoint(accumulate(path.split("/"), "{}/{}".format)):
            continue
        place = layout.place(path)
        if place.folder is None and not has_image_suffix(path) and not looks_like_image_file(f"{root}/{path}"):
            skipped.append(Skipped(f"{root}/{path}", "not images"))
            continue
        label = labels.read(place.folder)
        if label is None and place.split == "validation":
            label = synset_of.get(Path(path).stem)
        entries.append(ListedImage(f"{root}/{path}", label, place.split, sys.intern(place.group)))
    ids = {*labels.ids, *(entry.label for entry in entries if entry.label is not None)}
    return Listing(
        root=root,
        entries=tuple(entries),
        classes=list_classes(ids, read_synset_names(root)),
        has_splits=bool(layout.split_of),
        skipped=(*walked.skipped, *skipped),
        notes=(*layout.notes, *labels.notes(), *find_doubtful_classes(ids), *_walk_notes(root, walked, layout)),
    )


class _LabelReader:
    """Turns names of folders into labels, and remembers what it changed."""

    def __init__(self) -> None:
        self._label_of: dict[str, str] = {}

    @property
    def ids(self) -> set[str]:
        return set(self._label_of.values())

    def read(self, folder: str | None) -> str | None:
        if folder is None:
            return None
        if folder not in self._label_of:
            self._label_of[folder] = to_text(folder) or folder
        return self._label_of[folder]

    def notes(self) -> list[str]:
        foreign = [label for folder, label in self._label_of.items() if not is_utf8(folder)]
        folders = Counter(self._label_of.values())
        joined = [f"{label} ({count} folders)" for label, count in folders.items() if count > 1]
        notes = []
        if foreign:
            notes.append(f"names that aren't UTF-8 were read as cp1252 or cp437: {', '.join(sorted(foreign)[:5])}")
        if joined:
            notes.append(f"folders whose labels differ only in spaces or Unicode form: {', '.join(joined[:5])}")
        return notes


def _folders_without_images(tree: Node) -> set[str]:
    """The topmost folders that hold files, but no images, by path below the root."""
    result, pending = set[str](), [("", tree)]
    while pending:
        path, node = pending.pop()
        for name, child in node.children.items():
            below = f"{path}/{name}" if path else name
            if child.holds_images:
                pending.append((below, child))
            elif child.num_files:
                result.add(below)
    return result


def _empty_class_folders(tree: Node, layout: Layout) -> set[str]:
    """Folders among the classes that hold no files at all, by path below the root."""
    if layout.kind == "classes":
        return {child.name for child in tree.children.values() if not child.num_files}
    if layout.kind != "splits":
        return set()
    classes = [(split, child) for split in layout.split_of for child in tree.children[split].children.values()]
    return {f"{split}/{child.name}" for split, child in classes if not child.num_files}


def _validation_synsets(root: Path, layout: Layout) -> dict[str, str]:
    listing = root / VALIDATION_LIST
    if layout.kind == "splits" and "validation" in layout.split_of.values() and listing.is_file():
        return read_validation_list(listing)
    return {}


def _walk_notes(root: Path, walked: WalkResult, layout: Layout) -> list[str]:
    """Notes on unread folders that may be classes or splits, on unread tables, and on unused patterns."""
    lost = []
    for entry in walked.skipped:
        below = os.path.relpath(entry.path, root)
        depth = below.count("/") + (layout.kind != "splits")
        if entry.reason in LOST_FOLDERS and depth <= 1 and not has_image_suffix(below):
            lost.append(f"{show_path(below)} ({LOST_FOLDERS[entry.reason]})")
    notes = []
    if lost:
        more = f" and {len(lost) - MAX_LOST_SHOWN:,} more" if len(lost) > MAX_LOST_SHOWN else ""
        notes.append(f"not read, but possibly a class or a split: {', '.join(lost[:MAX_LOST_SHOWN])}{more}")
    if tables := [path for path in walked.files if "/" not in path and is_table(root / path)]:
        shown = ", ".join(map(show_path, tables[:MAX_LOST_SHOWN]))
        notes.append(f"tables that weren't read: {shown}; to take labels from one, use it as the data")
    return notes + [f"--exclude {pattern} matched nothing" for pattern in walked.unused_patterns]
