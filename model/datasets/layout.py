"""The layout of an image folder: which subfolders are splits and which are classes, decided from all of them.

Only the subfolders that hold images, at any depth, count.

- No subfolder: images without a class.
- `CLASS/*`: each subfolder is a class. Images in folders below it belong to it, too.
- `SPLIT/CLASS/*`: all subfolders have the name of a split (`SPLIT_NAMES`), each a different one.
- `SPLIT/*`: the same, with images directly in them: images without a class, or with one from ImageNet's lists.
- `CLASS/SPLIT/*`: all subfolders of all classes have the name of a split.

A subfolder named like a split, beside others that aren't, is a class if all its images are directly in it (a class
`train` beside `bus` and `car`). Every other mixture is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from model.datasets.names import Split, parse_split, show_path
from model.datasets.walk import Folder
from model.exceptions import DatasetError

MAX_NAMES_SHOWN = 5

Kind = Literal["images", "classes", "splits", "classes with splits"]


@dataclass
class Node:
    """A folder and those below it. `holds_images`, `num_files`: at any depth."""

    name: str
    own: Folder = field(default_factory=Folder)
    holds_images: bool = False
    num_files: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    def with_images(self) -> list[Node]:
        """The subfolders that hold images, by name."""
        return [child for _, child in sorted(self.children.items()) if child.holds_images]


class Place(NamedTuple):
    """A file's split, the folder of its class as written, and the folders between that and the file."""

    split: Split | None
    folder: str | None
    group: str


@dataclass(frozen=True)
class Layout:
    """What the folders of a data set mean. `split_of`: folder -> split. `notes`: what was guessed."""

    kind: Kind
    split_of: Mapping[str, Split]
    notes: tuple[str, ...] = ()

    def place(self, path: str) -> Place:
        """The place of the file at `path`, which is relative to the root."""
        *folders, _ = path.split("/")
        split: Split | None = None
        if self.kind == "splits" and folders:
            split, folders = self.split_of[folders[0]], folders[1:]
        if not folders:
            return Place(split, None, "")
        if self.kind == "classes with splits":
            split = self.split_of[folders[1]] if len(folders) > 1 else None
            return Place(split, folders[0], "/".join(folders[2:]))
        return Place(split, folders[0], "/".join(folders[1:]))


def build_tree(folders: Mapping[str, Folder]) -> Node:
    """The tree of folders, given by their paths below the root; "" is the root itself."""
    root = Node("", folders[""])
    for path, folder in folders.items():
        node = root
        nodes = [node]
        for name in path.split("/") if path else ():
            node = node.children.setdefault(name, Node(name))
            nodes.append(node)
        node.own = folder
        for above in nodes:
            above.holds_images |= folder.has_images
            above.num_files += folder.num_files
    return root


def decide_layout(root: Path, tree: Node) -> Layout:
    """The layout of a folder. Raises DatasetError, which says what was seen, for an ambiguous mixture."""
    with_images = tree.with_images()
    split_of = {child.name: split for child in with_images if (split := parse_split(child.name))}
    if not split_of:
        return _classes(root, with_images)
    others = [child.name for child in with_images if child.name not in split_of]
    nested = [child.name for child in with_images if child.name in split_of and child.with_images()]
    if others and nested:
        raise DatasetError(
            f"ambiguous folder layout in {root}: {_names(nested)} with subfolders, as splits have, next to "
            f"{_names(others)}; use --exclude for what isn't data, or put all images into splits"
        )
    if others:
        names = _names(list(split_of))
        note = f"{names} treated as a class, not a split, because of {_names(others)} next to it"
        return Layout("classes", {}, (note, *_nested_notes({child.name: child for child in with_images})))
    for split in set(split_of.values()):
        same = [name for name, of in split_of.items() if of == split]
        if len(same) > 1:
            raise DatasetError(f"{root} contains both {same[0]} and {same[1]}: keep one of them, or use --exclude")
    notes = [f"{name} read as {split}" for name, split in split_of.items() if name != split]
    if not nested:
        notes.append(f"{_names(list(split_of))} treated as splits without classes: images are directly in them")
    notes += _nested_notes({f"{split.name}/{node.name}": node for split in with_images for node in split.with_images()})
    return Layout("splits", split_of, tuple(notes))


def _classes(root: Path, with_images: list[Node]) -> Layout:
    """The layout if no subfolder is named like a split: classes, perhaps with splits in each."""
    inner = {child.name: {node.name: parse_split(node.name) for node in child.with_images()} for child in with_images}
    if not with_images:
        return Layout("images", {})
    if all(splits and all(splits.values()) for splits in inner.values()):
        return _classes_with_splits(root, with_images)
    mixed = {name: splits for name, splits in inner.items() if len({*splits.values()} - {None}) > 1}
    if mixed:
        name, splits = next(iter(mixed.items()))
        raise DatasetError(
            f"ambiguous folder layout in {root}: {_names([f'{name}/{split}' for split in splits])}, some of which are "
            "named like splits; use --exclude for what isn't data"
        )
    notes = _nested_notes({child.name: child for child in with_images})
    if notes and not any(child.own.has_images for child in with_images):
        notes += _alike_notes(with_images)
    return Layout("classes", {}, tuple(notes))


def _nested_notes(classes: Mapping[str, Node]) -> list[str]:
    """The note on images in subfolders of classes. `classes`: by path."""
    below = [f"{path}/{node.name}" for path, child in classes.items() for node in child.with_images()]
    return [f"images in subfolders belong to the class above: {_names(below)}"] if below else []


def _alike_notes(with_images: list[Node]) -> list[str]:
    """Notes on folders that hold images only in their subfolders, if those may be the classes."""
    if len(with_images) == 1:
        name = show_path(with_images[0].name)
        return [f"only one class, {name}: if its subfolders are the classes, use that folder as the data"]
    common = set.intersection(*({node.name for node in child.with_images()} for child in with_images))
    if len(common) < 2:
        return []
    return [
        f"{_names([child.name for child in with_images])} all have the subfolders {_names(sorted(common))}: if those "
        "are the classes, and the folders above them splits, rename the latter to train, validation and test"
    ]


def _classes_with_splits(root: Path, with_images: list[Node]) -> Layout:
    split_of: dict[str, Split] = {}
    for child in with_images:
        if child.own.has_images:
            raise DatasetError(
                f"ambiguous folder layout in {root}: {show_path(child.name)} has images in splits and next to them"
            )
        for node in child.with_images():
            if len(with_images) == 1 and node.with_images():
                raise DatasetError(
                    f"{root} holds one folder, {show_path(child.name)}, which has splits with classes: use that "
                    "folder as the data"
                )
            split = parse_split(node.name)
            if split is not None:
                split_of[node.name] = split
        same = [node.name for node in child.with_images()]
        if len({split_of[name] for name in same}) < len(same):
            raise DatasetError(f"{root / child.name} contains several folders for one split: {_names(same)}")
    splits = {f"{child.name}/{node.name}": node for child in with_images for node in child.with_images()}
    notes = ("each class has its own split folders", *_nested_notes(splits))
    return Layout("classes with splits", split_of, notes)


def _names(names: list[str]) -> str:
    shown = ", ".join(show_path(name) for name in names[:MAX_NAMES_SHOWN])
    return shown + (f" and {len(names) - MAX_NAMES_SHOWN:,} more" if len(names) > MAX_NAMES_SHOWN else "")
