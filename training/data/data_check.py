"""What is known about a data set before training: copies, class sizes, shortcuts. `alexnet check` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from model.datasets.listing import Skipped, Summary, describe_unreadable
from model.datasets.names import SPLITS
from model.exceptions import DatasetError
from model.images.contract import DEFAULT_CONTRACT, ImageContract
from model.images.info import summarize_warnings
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.thread_pool import ordered_map
from training.data.copies import Copies, find_copies
from training.data.data_warnings import (
    ClassSize,
    copy_warnings,
    describe_shortcuts,
    shortcut_warnings,
    size_warnings,
    without_images_warning,
)
from training.data.datasets import Dataset, Example
from training.data.refusals import find_refusals
from training.data.shortcuts import Shortcuts, can_use_sources, find_shortcuts
from training.data.traits import TRAITS, Traits, count_warning_bits, decode_with_traits, is_decoded


@dataclass(frozen=True)
class DataCheck:
    """What a data set is like. `skipped`: what isn't used. `warnings`: one or two sentences each, with what to do.

    `refusals`: why it can't be trained on.
    """

    summary: Summary
    sizes: tuple[ClassSize, ...]
    copies: Copies
    skipped: tuple[Skipped, ...]
    shortcuts: Shortcuts | None
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shortcuts = self.shortcuts
        return {
            **self.summary.to_json(),
            "class_sizes": {size.label.id: dict(zip(SPLITS, size[1:], strict=True)) for size in self.sizes},
            "copies": {
                "left_out": [entry._asdict() for entry in self.copies.left_out.values()],
                "kept": len(self.copies.kept),
                "test_images_under_several_labels": len(self.copies.mislabeled_test),
                "near_duplicates_across_splits": int(self.copies.across.sum()),
                "near_duplicates_within_splits": int((~self.copies.across).sum()),
            },
            "shortcuts": shortcuts and _shortcuts_json(shortcuts),
            "warnings": list(self.warnings),
            "refusals": list(self.refusals),
        }

    def __str__(self) -> str:
        """A few lines of text."""
        lines = [str(self.summary)]
        if self.shortcuts is not None and not self.shortcuts.is_suspicious:  # else a warning says it
            lines.append(f"  {describe_shortcuts(self.shortcuts)}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"can't be trained on: {refusal}" for refusal in self.refusals]
        if not self.warnings + self.refusals:
            lines.append("no problems found")
        return "\n".join(lines)


def _shortcuts_json(shortcuts: Shortcuts) -> dict[str, Any]:
    return {
        "images": shortcuts.num_images,
        "accuracy": shortcuts.accuracy,
        "interval": shortcuts.interval,
        "majority": shortcuts.majority,
        "accuracy_by_trait": shortcuts.by_trait,
        "suspicious": shortcuts.is_suspicious,
        "classes": [
            {"class": label.id, "trait": trait, "share": share, "others": others}
            for label, trait, share, others in shortcuts.classes
        ],
    }


def check_data(
    dataset: Dataset, contract: ImageContract = DEFAULT_CONTRACT, limits: ImageLimits = DEFAULT_LIMITS
) -> DataCheck:
    """Decode all images of a data set and check them; nothing is stored. Raises DatasetError if none can be decoded."""
    traits, skipped = scan(dataset.examples, contract, limits)
    if skipped:
        where = "--list-skipped FILE lists them all"
        tqdm.write(describe_unreadable(list(skipped.values()), len(dataset.examples), where))
    if len(skipped) == len(dataset.examples):
        raise DatasetError(f"no image of {dataset.name} can be decoded: {next(iter(skipped.values()))}")
    copies = find_copies(dataset, traits, within_splits=True)
    return check_images(dataset, traits, skipped | dict(copies.left_out), copies)


def scan(
    examples: Sequence[Example], contract: ImageContract, limits: ImageLimits
) -> tuple[Traits, dict[int, Skipped]]:
    """The traits (N,) of the examples; and the examples that can't be decoded, by place."""
    traits, skipped = np.zeros(len(examples), TRAITS), dict[int, Skipped]()
    decoded = ordered_map(lambda example: decode_with_traits(example.file, contract, limits), examples)
    for place, result in enumerate(tqdm(decoded, "reading images", len(examples), unit="image", disable=None)):
        if isinstance(result, Skipped):
            skipped[place] = result
        else:
            traits[place] = result[1]
    return traits, skipped


def check_images(dataset: Dataset, traits: Traits, skipped: Mapping[int, Skipped], copies: Copies) -> DataCheck:
    """Check a data set whose images are decoded: `traits` (N,) in the order of its examples, `skipped` by place."""
    sizes = _class_sizes(dataset, skipped)
    shortcuts = _find_shortcuts(dataset, traits)
    image_warnings = summarize_warnings(count_warning_bits(traits))
    warnings = (
        *([image_warnings] if image_warnings else []),
        *without_images_warning(dataset.skipped),
        *copy_warnings(dataset, copies),
        *size_warnings(sizes, dataset.held_out_split),
        *shortcut_warnings(shortcuts),
    )
    unused = (*dataset.skipped, *skipped.values())
    refusals = tuple(find_refusals(dataset, skipped))
    return DataCheck(dataset.summary(skipped), sizes, copies, unused, shortcuts, warnings, refusals)


def _class_sizes(dataset: Dataset, skipped: Mapping[int, Skipped]) -> tuple[ClassSize, ...]:
    labels = np.array([example.label for example in dataset.examples])
    used = np.ones(len(labels), bool)
    used[list(skipped)] = False
    ends = np.cumsum([len(part) for part in dataset.splits().values()])
    counts = [
        np.bincount(part[use], minlength=len(dataset.labels)).tolist()
        for part, use in zip(np.split(labels, ends[:-1]), np.split(used, ends[:-1]), strict=True)
    ]
    return tuple(ClassSize(*row) for row in zip(dataset.labels, *counts, strict=True))


def _find_shortcuts(dataset: Dataset, traits: Traits) -> Shortcuts | None:
    places = np.flatnonzero(is_decoded(traits))
    examples = dataset.examples
    labels = np.array([examples[place].label for place in places])
    sources = [examples[place].group for place in places]
    if not can_use_sources(sources, labels):
        sources = [""] * len(places)
    return find_shortcuts(traits[places], labels, sources, dataset.labels)
