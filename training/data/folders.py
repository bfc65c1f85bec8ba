"""A user's own images as a `Dataset`: what the reader lists (`model.datasets`), with a split and classes to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from model.artifacts.artifact import Label
from model.datasets.imagenet import VALIDATION_LIST
from model.datasets.listing import ListedImage, Listing, Skipped
from model.datasets.names import SPLITS, name_of_data, show_path, to_text
from model.datasets.reader import read_folder
from model.datasets.tables import read_table
from model.exceptions import DatasetError
from model.files import atomic_write
from model.plurals import count_of
from training.data.copies import draw_split
from training.data.data_warnings import without_images_warning
from training.data.datasets import Dataset, DatasetInfo, Example
from training.data.earlier_split import EarlierSplit
from training.data.splits import TITLES, SplitMethod, resplit

INFO_SUFFIX = ".info.json"
LICENSE = "that of the images it was trained on"
VALIDATION_SHARE = {"validation": 0.10}
"""Share of each class, if the data has no validation split."""
SHARES = {"test": 0.15} | VALIDATION_SHARE
"""Shares of each class, if the data has no splits."""


def load_folder(
    root: Path,
    seed: int = 0,
    exclude: Sequence[str] = (),
    earlier: EarlierSplit | None = None,
    for_training: bool = True,
) -> Dataset:
    """A folder of images in one of the layouts of `model.datasets.layout`.

    Without splits, 15 % of each class are drawn for test and 10 % for validation; with `train` but no validation split,
    a tenth of `train`. `earlier`: a split that the images of a folder without splits keep. `for_training`: refuse
    images that a network can't be trained on. Raises DatasetError.
    """
    return _make_dataset(read_folder(root, exclude), seed, earlier, for_training)


def load_table(
    path: Path,
    seed: int = 0,
    exclude: Sequence[str] = (),
    split: SplitMethod = "own",
    earlier: EarlierSplit | None = None,
    for_training: bool = True,
) -> Dataset:
    """A table as `model.datasets.tables` reads it; without a split column, the split is drawn as for a folder.

    A run's `split.csv` is such a table; `split.info.json` beside it (`DatasetInfo`) adds the names and the order of the
    classes, the license and the rest. `split`: how the images of any other table are split again
    (`training.data.splits`); a run's table must already be split that way. `earlier`, `for_training`: as in
    `load_folder`. Raises DatasetError.
    """
    listing, info = read_table(path, exclude), read_info(path)
    if info is None:
        return resplit(_make_dataset(listing, seed, earlier, for_training), split, seed, for_training)
    if split != "own" and TITLES[split] not in info.split_description:
        raise DatasetError(
            f"the images of {path} are split as in its run ({info.split_description}), not by --split {split}: leave "
            "it out, or pass the run's original data"
        )
    known = {label.id for label in info.labels}
    unknown = [label.id for label in listing.classes if label.id not in known]
    if unknown:
        raise DatasetError(f"unknown class {unknown[0]!r} in {path}: {path.with_suffix(INFO_SUFFIX)} doesn't list it")
    return replace(_make_dataset(replace(listing, classes=info.labels), seed, earlier, for_training), **dict(info))


def write_table(dataset: Dataset, path: Path) -> None:
    """Write what `load_table` reads: the table of a dataset, and its `DatasetInfo` beside it. Raises OSError."""
    with atomic_write(path, "wb") as file:
        file.write(dataset.split_csv().encode("utf-8", "surrogateescape"))  # paths as they are on the disk
    with atomic_write(path.with_suffix(INFO_SUFFIX)) as file:
        file.write(dataset.info().model_dump_json(indent=1) + "\n")


def read_info(table: Path) -> DatasetInfo | None:
    """The `DatasetInfo` that a run wrote beside its split table; None for other tables. Raises DatasetError."""
    path = table.with_suffix(INFO_SUFFIX)
    if not path.is_file():
        return None
    try:
        return DatasetInfo.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DatasetError(f"invalid dataset metadata in {path}: {error.errors()[0]['msg']}") from error


def read_earlier_split(table: Path) -> EarlierSplit:
    """The split of an earlier run, and those that it kept, as `write_table` wrote them. Raises DatasetError."""
    earlier, info = EarlierSplit.read(table), read_info(table)
    return earlier if info is None else replace(earlier, kept=info.kept_splits)


def _make_dataset(listing: Listing, seed: int, earlier: EarlierSplit | None, for_training: bool) -> Dataset:
    """Classes, splits and examples of what was listed. Raises DatasetError."""
    root, name = listing.root, listing.root.name or listing.root.resolve().name
    if earlier is not None and listing.has_splits:
        raise DatasetError(f"{root} already has a split: leave out --split-from")
    entries, outside = _labeled_entries(listing)
    classes = _trained_classes(listing, entries) if for_training else listing.classes
    index = {label.id: number for number, label in enumerate(classes)}
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for entry in entries:
        group = to_text(entry.group)  # as it will be read from a run's table
        splits[entry.split or "train"].append(Example(entry.file, index[entry.label or ""], group))
    description, notes = f"{name}, its own splits", listing.notes
    if for_training:
        _check_training_images(listing, classes, splits["train"])
    if not listing.has_splits:
        description = f"{name} 75/10/15, seed {seed}"
        if earlier is None:
            splits = draw_split(splits["train"], SHARES, seed)
        else:
            splits, how, warnings = earlier.extend(splits["train"], classes, SHARES, seed)
            description, notes = f"{description} ({how})", (*notes, *warnings)
    if not splits["validation"]:
        splits |= draw_split(splits["train"], VALIDATION_SHARE, seed)
        description += f", a tenth of train for validation, seed {seed}"
    if for_training and not splits["validation"]:
        raise DatasetError(
            f"too few images in {root} to hold one out: at least one class needs three different images (files with "
            "the same bytes count as one)"
        )
    return Dataset(
        name=show_path(name_of_data(root)),
        split_description=show_path(description),
        license=LICENSE,
        labels=classes,
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
        kept_splits=() if earlier is None else (earlier.sha256, *earlier.kept),
        skipped=(*listing.skipped, *outside),
        notes=notes,
    )


def _labeled_entries(listing: Listing) -> tuple[list[ListedImage], list[Skipped]]:
    """The entries that have a class, and those outside all class folders, which aren't used.

    Raises DatasetError if a split has images without a class: they mustn't be left out silently.
    """
    entries = [entry for entry in listing.entries if entry.label is not None]
    without = [entry for entry in listing.entries if entry.label is None]
    if not entries:
        raise DatasetError(f"no classes in {listing.root}: put the images into one subfolder per class")
    for split in SPLITS:
        lost = [entry for entry in without if entry.split == split]
        if lost:
            raise DatasetError(
                f"{count_of(len(lost), 'image')} of the {split} split in {listing.root} without a class, such as "
                f"{show_path(lost[0].file)}: put them into one subfolder per class (or {VALIDATION_LIST} beside the "
                "folder), or leave them out with --exclude"
            )
    return entries, [Skipped(entry.file, "outside the class folders") for entry in without]


def _trained_classes(listing: Listing, entries: Sequence[ListedImage]) -> tuple[Label, ...]:
    """The classes of the listing. Raises DatasetError if the train split lacks a class of the other splits."""
    if not listing.has_splits:
        return listing.classes
    trained = {entry.label for entry in entries if entry.split == "train"}
    for split in ("validation", "test"):
        unknown = sorted({str(entry.label) for entry in entries if entry.split == split} - trained)
        if unknown and trained:
            raise DatasetError(
                f"unknown classes in the {split} split of {listing.root}: {', '.join(unknown[:5])}; the train split "
                "doesn't have them"
            )
    return listing.classes


def _check_training_images(listing: Listing, classes: Sequence[Label], examples: Sequence[Example]) -> None:
    root = listing.root
    if len(classes) == 1:
        notes = [*listing.notes, *without_images_warning(listing.skipped)]
        guessed = f" ({'; '.join(notes)})" if notes else ""
        raise DatasetError(f"only one class in {root}, {classes[0].id}: at least two classes are needed{guessed}")
    empty = set(range(len(classes))) - {example.label for example in examples}
    if empty:
        listed = ", ".join(classes[label].id for label in sorted(empty)[:5])
        raise DatasetError(
            f"no images to train on in {len(empty):,} of the classes of {root}: {listed}; add images, delete their "
            "folders, or leave them out with --exclude"
        )
