"""Why a data set can't be trained on, once its images were read: the same for `alexnet check` and `train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model.datasets.image_files import has_image_suffix
from model.datasets.listing import Skipped, SkipReason, count_reasons, describe_reasons
from model.plurals import count_of
from training.data.datasets import Dataset

MAX_UNREADABLE_SHARE = 0.5
"""Maximum share of unreadable files; those that are images by neither name nor content don't count."""
NEAR_COPIES: SkipReason = "near-duplicates of held-out images"
OF_COPIES: tuple[SkipReason, ...] = ("copies of held-out images", NEAR_COPIES, "under several labels")
MAX_NAMES = 5


def find_refusals(dataset: Dataset, skipped: Mapping[int, Skipped]) -> list[str]:
    """Why a data set is refused, in a sentence each; empty if it can be trained on.

    `skipped`: what isn't used, by its place in `Dataset.examples`.
    """
    return [*_unreadable(dataset, skipped), *_untrained_classes(dataset, skipped), *_empty_splits(dataset, skipped)]


def _unreadable(dataset: Dataset, skipped: Mapping[int, Skipped]) -> list[str]:
    count = len(dataset.examples)
    unreadable = [entry for entry in skipped.values() if entry.reason not in OF_COPIES]
    lost = [entry for entry in unreadable if entry.reason != "not images" or has_image_suffix(entry.path)]
    if len(lost) <= MAX_UNREADABLE_SHARE * count:
        return []
    return [
        f"{len(lost):,} of {count:,} images can't be decoded, more than {MAX_UNREADABLE_SHARE:.0%}, such as {lost[0]}: "
        "fix the files, or leave them out with --exclude"
    ]


def _untrained_classes(dataset: Dataset, skipped: Mapping[int, Skipped]) -> list[str]:
    remaining = {example.label for row, example in enumerate(dataset.train) if row not in skipped}
    lost = [position for position in range(len(dataset.labels)) if position not in remaining]
    if not lost:
        return []
    reasons = _reasons(entry for row, entry in skipped.items() if dataset.examples[row].label in set(lost))
    names = ", ".join(dataset.labels[position].name for position in lost[:MAX_NAMES])
    return [
        f"no image to train on is left in {count_of(len(lost), 'class', 'classes')} ({names}): {reasons}; "
        "add other images of them, or leave them out with --exclude"
    ]


def _empty_splits(dataset: Dataset, skipped: Mapping[int, Skipped]) -> list[str]:
    """Refusals because of splits whose images are all unused."""
    start, refusals = 0, list[str]()
    for split, examples in dataset.splits().items():
        rows = range(start, start + len(examples))
        start = rows.stop
        if rows and all(row in skipped for row in rows):
            reasons = _reasons(skipped[row] for row in rows)
            refusals.append(
                f"no image of the {split} split is left: {reasons}; put other images into it, or leave the split out"
            )
    return refusals


def _reasons(skipped: Iterable[Skipped]) -> str:
    """How many files aren't used, by reason, in words."""
    return describe_reasons(count_reasons(list(skipped)))
