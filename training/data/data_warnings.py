"""Warnings about a data set, in words: what was found, with examples, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from model.artifacts.artifact import Label
from model.artifacts.intervals import format_interval, wilson_interval
from model.datasets.listing import Skipped, SkipReason
from model.datasets.names import path_formatter
from model.plurals import count_of
from training.data.copies import Copies
from training.data.datasets import Dataset
from training.data.shortcuts import Shortcuts

MIN_HELD_OUT = 10
"""Fewer held-out images of a class are too few to estimate its error."""
MAX_SIZE_RATIO = 10
"""Classes are called imbalanced if the largest has at least this many times as many training images as the smallest."""
MAX_NAMES, MAX_EXAMPLES = 10, 3
"""Maximum number of classes and of files that a warning names."""


class ClassSize(NamedTuple):
    """Images of one class that are used, by split."""

    label: Label
    train: int
    validation: int
    test: int

    def count(self, split: str) -> int:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def copy_warnings(dataset: Dataset, copies: Copies) -> list[str]:
    """Warnings about copies: those that are left out, and those that are used."""
    show_file = path_formatter([example.file for example in dataset.examples])

    def show(place: int) -> str:
        return show_file(dataset.examples[place].file)

    def left_out(reason: SkipReason) -> list[str]:
        return [show(place) for place, entry in copies.left_out.items() if entry.reason == reason]

    near, across = copies.near.tolist(), copies.across.tolist()
    labels = [example.label for example in dataset.examples]
    apart = [f"{show(a)} and {show(b)}" for (a, b), split in zip(near, across, strict=True) if split]
    together = [f"{show(a)} and {show(b)}" for (a, b), split in zip(near, across, strict=True) if not split]
    mixed = [f"{show(a)} and {show(b)}" for a, b in near if labels[a] != labels[b]]
    dropped = left_out("near-duplicates of held-out images")
    sentences = (
        (
            left_out("copies of held-out images"),
            "{images} left out of training or validation, because held-out images have the same pixels",
            "",
        ),
        (
            left_out("under several labels"),
            "{images} left out, because the same pixels appear under several labels",
            "; keep the right one",
        ),
        (
            [show(place) for place in copies.mislabeled_test],
            "{images} of the test split under several labels",
            "; such images are still measured, so some errors aren't the network's: keep the right label",
        ),
        (
            [show(place) for place in copies.kept],
            "{images} with a copy in the same class and split",
            "; such images are used and count several times",
        ),
        (dropped, "{images} left out of training or validation as near-duplicates of held-out ones", ""),
        (
            [] if dropped else apart,
            "{pairs} of near-duplicates in different splits",
            "; errors may be too low: --drop-near-duplicates leaves such images out of training and validation",
        ),
        (together, "{pairs} of near-duplicates in the same split", ""),
        (mixed, "{pairs} of near-duplicates with different labels", "; one of the labels may be wrong"),
    )
    return [
        text.format(images=count_of(len(names), "image"), pairs=count_of(len(names), "pair"))
        + f": {_list(names, MAX_EXAMPLES)}{advice}"
        for names, text, advice in sentences
        if names
    ]


def without_images_warning(skipped: Sequence[Skipped]) -> list[str]:
    """The warning about folders without images, which may have been meant as classes."""
    folders = [entry.path for entry in skipped if entry.reason == "folders without images"]
    if not folders:
        return []
    names = _list(map(path_formatter(folders), folders), MAX_NAMES)
    return [f"{count_of(len(folders), 'folder')} without images left out: {names}; a class needs images"]


def size_warnings(sizes: Sequence[ClassSize], split: str) -> list[str]:
    """Warnings about classes that are too small to be measured on `split`, and about imbalanced classes."""
    warnings = []
    unmeasured = [size.label.name for size in sizes if not size.count(split)]
    if unmeasured:
        warnings.append(
            f"classes without a {split} image, so their errors are unknown: {len(unmeasured):,} of "
            f"{len(sizes):,}, {_list(unmeasured, MAX_NAMES)}; add images of them"
        )
    few = sorted((size for size in sizes if 0 < size.count(split) < MIN_HELD_OUT), key=lambda size: size.count(split))
    if few:
        least = few[0].count(split)
        names = [f"{size.label.name} ({size.count(split)})" for size in few]
        warnings.append(
            f"classes with fewer than {MIN_HELD_OUT} {split} images, too few to estimate their errors: "
            f"{len(few):,} of {len(sizes):,}, {_list(names, MAX_NAMES)}; {least:,} of {least:,} right still allows an "
            f"error of {format_interval(wilson_interval(0.0, least))}; add images of them"
        )
    largest, smallest = max(sizes, key=lambda size: size.train), min(sizes, key=lambda size: size.train)
    if largest.train >= MAX_SIZE_RATIO * smallest.train:
        warnings.append(
            f"imbalanced classes: {largest.label.name} has {largest.train:,} training images, {smallest.label.name} "
            f"{smallest.train:,}; the top-1 error says little about small classes: look at the balanced accuracy "
            "and at per_class.csv, and try --class-weights"
        )
    return warnings


def shortcut_warnings(shortcuts: Shortcuts | None) -> list[str]:
    """The warning that traits of the files give classes away."""
    if shortcuts is None or not shortcuts.is_suspicious:
        return []
    classes = f": {_list(list(map(str, shortcuts.classes)), MAX_EXAMPLES)}" if shortcuts.classes else ""
    return [
        f"file properties reveal the class{classes}. {describe_shortcuts(shortcuts)}. A network may learn "
        "that instead of what the images show, and fail on other images: take or convert the images of all classes "
        "the same way, and measure on images from elsewhere"
    ]


def describe_shortcuts(shortcuts: Shortcuts) -> str:
    """The accuracies of the trees in one sentence."""
    best = sorted(shortcuts.by_trait.items(), key=lambda item: -item[1])[:3]
    traits = ", ".join(shortcuts.by_trait)
    return (
        f"A decision tree that sees only {traits}, and not what the images show, is right on "
        f"{100 * shortcuts.accuracy:.0f} % of {shortcuts.num_images:,} readable images (95 % interval "
        f"{format_interval(shortcuts.interval)}); always guessing the most frequent class is right on "
        f"{100 * shortcuts.majority:.0f} %; single properties: "
        + ", ".join(f"{trait} {100 * accuracy:.0f} %" for trait, accuracy in best)
    )


def _list(names: Iterable[str], limit: int) -> str:
    """The first names, and how many more there are."""
    shown = list(names)
    more = f" and {len(shown) - limit:,} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
