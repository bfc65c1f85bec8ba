"""The contents of an image folder or table: `Listing`, and its `Summary`, which every command prints alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from model.artifacts.artifact import Label
from model.datasets.attribution import Attribution
from model.datasets.names import SPLITS, Split, show_path
from model.files import atomic_write
from model.plurals import count_of

SkipReason = Literal[
    "hidden",
    "system files and folders",
    "excluded",
    "broken links",
    "links to data already read",
    "pipes, sockets and devices",
    "unreadable folders",
    "folders without images",
    "outside the class folders",
    "missing files",
    "listed twice",
    "unreadable files",
    "not images",
    "images that need an extra",
    "damaged images",
    "images too large",
    "copies of held-out images",
    "near-duplicates of held-out images",
    "under several labels",
]
"""Why a file or a folder isn't used."""
_ONE: dict[str, str] = {
    "system files and folders": "system file or folder",
    "broken links": "broken link",
    "links to data already read": "link to data already read",
    "pipes, sockets and devices": "pipe, socket or device",
    "unreadable folders": "unreadable folder",
    "folders without images": "folder without images",
    "missing files": "missing file",
    "unreadable files": "unreadable file",
    "not images": "not an image",
    "images that need an extra": "image that needs an extra",
    "damaged images": "damaged image",
    "images too large": "image too large",
    "copies of held-out images": "copy of a held-out image",
    "near-duplicates of held-out images": "near-duplicate of a held-out image",
}
"""Singular forms of the reasons that have one."""
UNCHECKED: tuple[SkipReason, ...] = ("broken links", "unreadable folders", "unreadable files")
"""Reasons that may be temporary: a disk that isn't mounted, a missing permission."""
MAX_NOTES_SHOWN = 20
MAX_UNREADABLE_SHOWN = 5


class Skipped(NamedTuple):
    """A file or folder that isn't used. `detail`: what the operating system or the decoder says."""

    path: str
    reason: SkipReason
    detail: str = ""

    def __str__(self) -> str:
        return f"{show_path(self.path)}: {self.detail or self.reason}"


class ListedImage(NamedTuple):
    """A file that should be an image; decoding it shows whether it is one.

    `label`: id of its class; None if unknown. `split`: None if the data has no splits. `group`: the subfolder of its
    class, or a table's column `group` or `source`; "" if there is none. `attribution`: from a table. The path is a
    string: a million `Path` objects take a gigabyte.
    """

    file: str
    label: str | None
    split: Split | None
    group: str
    attribution: Attribution | None = None

    @property
    def path(self) -> Path:
        return Path(self.file)


@dataclass(frozen=True)
class Summary:
    """Counts of what was read, and what was guessed or converted. It names no folder outside the data.

    `are_read`: whether the images were read already, so that unreadable ones are counted as skipped.
    """

    name: str
    num_used: int
    skipped: Mapping[str, int]
    classes: int
    splits: Mapping[str, int]
    notes: tuple[str, ...]
    are_read: bool = True

    @property
    def num_found(self) -> int:
        """Number of files, and of folders that were skipped as a whole."""
        return self.num_used + sum(self.skipped.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return {
            "found": self.num_found,
            "used": self.num_used,
            "skipped": dict(self.skipped),
            "classes": self.classes,
            "splits": dict(self.splits),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """A few lines of text."""
        num_skipped = sum(self.skipped.values())
        reasons = describe_reasons(self.skipped)
        splits = ", ".join(f"{count:,} {split}" for split, count in self.splits.items())
        classes = count_of(self.classes, "class", "classes") if self.classes else "no labels"
        lines = [
            f"{self.name}: {self.num_found:,} found, {self.num_used:,} {'used' if self.are_read else 'to read'}, "
            f"{num_skipped:,} skipped" + (f" ({reasons})" if reasons else ""),
            f"  {classes}" + (f"; {splits}" if splits else ""),
            *(f"  {note}" for note in self.notes[:MAX_NOTES_SHOWN]),
        ]
        if len(self.notes) > MAX_NOTES_SHOWN:
            lines.append(f"  and {len(self.notes) - MAX_NOTES_SHOWN:,} more notes")
        return "\n".join(lines)


@dataclass(frozen=True)
class Listing:
    """The images of a folder or a table, in the order of their paths (a table: of its rows).

    `root`: the folder, or the table's file. `classes`: in the order in which a network numbers them. `notes`: what was
    guessed, converted or ignored, one sentence each.
    """

    root: Path
    entries: tuple[ListedImage, ...]
    classes: tuple[Label, ...]
    has_splits: bool
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return show_path(self.root.resolve().name)

    def label_names(self) -> dict[str | None, str | None]:
        """The display name of each class by its id; None for None."""
        return {None: None, **{label.id: label.name for label in self.classes}}

    def summary(self, skipped: Iterable[Skipped] = ()) -> Summary:
        """The counts. `skipped`: those of `entries` that couldn't be read or decoded afterwards."""
        unused = tuple(skipped)
        names = {entry.path for entry in unused}
        used = [entry for entry in self.entries if entry.file not in names] if names else self.entries
        splits = Counter(entry.split for entry in used if entry.split)
        return Summary(
            name=self.name,
            num_used=len(used),
            skipped=count_reasons((*self.skipped, *unused)),
            classes=len({entry.label for entry in used} - {None}),
            splits={split: splits[split] for split in SPLITS if splits[split]},
            notes=(*self.notes, *_note_unlabeled(used)),
        )


def _note_unlabeled(used: Sequence[ListedImage]) -> list[str]:
    """A note on images without a class, if others have one."""
    unlabeled = [entry for entry in used if entry.label is None]
    if not unlabeled or len(unlabeled) == len(used):
        return []
    return [f"images without a class: {len(unlabeled):,}, such as {show_path(unlabeled[0].path.name)}"]


def count_reasons(skipped: Sequence[Skipped]) -> dict[str, int]:
    """How many entries were skipped for each reason, the most frequent first."""
    return dict(Counter(entry.reason for entry in skipped).most_common())


def describe_reasons(counts: Mapping[str, int]) -> str:
    """Counts of skipped entries by reason in words: "2 damaged images, 1 broken link"."""
    return ", ".join(count_of(count, _ONE.get(reason, reason), reason) for reason, count in counts.items())


def describe_unreadable(unreadable: Sequence[Skipped], total: int, where: str) -> str:
    """How many of `total` files can't be decoded, and why the first of them can't. `where`: what lists them all."""
    first = "".join(f"\n  {entry}" for entry in unreadable[:MAX_UNREADABLE_SHOWN])
    return f"skipped {len(unreadable):,} of {total:,} files, which can't be decoded ({where}){first}"


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """Write all skipped entries to a file: path, reason and detail, separated by tabs. Raises OSError."""
    with atomic_write(path) as file:
        for entry in skipped:
            file.write(f"{show_path(entry.path)}\t{entry.reason}\t{show_path(entry.detail)}\n")
