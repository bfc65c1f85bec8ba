"""Copies of one image in a data set: kept on one side of a split, and under one label.

An image is a copy of another if both files have the same bytes, or decode to the same pixels. The rules:

- Where a split is drawn, files with the same bytes go to the same side (`draw_split`); those under several labels go to
  train.
- However the split was made, training images whose pixels are also in validation or test are left out, and validation
  images that are also in test (`find_copies`). The test split is never changed, so that errors stay comparable.
- Training and validation images whose pixels are under several labels are left out: one of the labels is wrong, and
  nothing says which. Test images under several labels stay, and are counted.
- Near-duplicates (`training.data.perceptual_hash`) across splits are counted, and left out like copies if asked for.
"""

from __future__ import annotations

import hashlib
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.datasets.image_files import looks_like_image
from model.datasets.listing import Skipped
from model.datasets.names import SPLITS, show_path
from model.files import sha256_of
from model.grouping import group_duplicates
from model.images.limits import DEFAULT_LIMITS
from training.data.datasets import Dataset, Example, stratified_split
from training.data.perceptual_hash import near_pairs
from training.data.traits import Traits, is_decoded

FIRST_BYTES = 4096
"""Compared among files of equal size; only files that begin alike are read to the end."""


@dataclass(frozen=True)
class Copies:
    """Copies among the images of a data set, by their places in `Dataset.examples`.

    `left_out`: images that are not used, and why. `kept`: copies of an earlier image with the same label in the same
    split; they are used. `mislabeled_test`: test images whose pixels are under several labels. `near`: pairs (P, 2) of
    near-duplicates among the other images, in different splits or (`across` False) in the same one.
    """

    left_out: Mapping[int, Skipped]
    kept: tuple[int, ...]
    mislabeled_test: tuple[int, ...]
    near: NDArray[np.int64]
    across: NDArray[np.bool_]


def draw_split(
    examples: Sequence[Example], shares: Mapping[str, float], seed: int, kept: Mapping[int, str] | None = None
) -> dict[str, list[Example]]:
    """A stratified split in which files with the same bytes are on the same side.

    `kept`: place -> split of images that aren't drawn; if copies were on different sides, they stay there.
    """
    return stratified_split(examples, shares, seed, same_files(examples), kept)


def same_files(examples: Sequence[Example]) -> list[int]:
    """For each example, the place of the first one whose file has the same bytes; its own if it can't be an image."""
    groups = list(range(len(examples)))
    for same_size in group_duplicates(range(len(examples)), lambda place: _size(examples[place])):
        for same_start in group_duplicates(same_size, lambda place: _first_bytes(examples[place])):
            for same in group_duplicates(same_start, lambda place: _checksum(examples[place])):
                for place in same:
                    groups[place] = same[0]
    return groups


def find_copies(dataset: Dataset, traits: Traits, drop_near: bool = False, within_splits: bool = False) -> Copies:
    """The copies among the images of a data set, whose `traits` (N,) are in the order of `Dataset.examples`.

    `drop_near`: leave out near-duplicates across splits, too. `within_splits`: also look for near-duplicates within a
    split.
    """
    examples = dataset.examples
    labels = np.array([example.label for example in examples])
    side = np.repeat(np.arange(len(SPLITS)), [len(part) for part in dataset.splits().values()])
    left_out, mislabeled = dict[int, Skipped](), list[int]()
    kept: dict[int, int] = {}
    """Further files with the pixels of an image of the same split -> that image."""
    for group in _same_pixels(traits):
        if len(set(labels[group])) > 1:
            mislabeled += [place for place in group if side[place] == len(SPLITS) - 1]
            left_out |= {place: _mislabeled(examples, labels, place, group) for place in group if side[place] < 2}
            continue
        last = max(group, key=lambda place: (side[place], -place))
        left_out |= {place: _copy(examples, place, last) for place in group if side[place] < side[last]}
        kept |= {place: last for place in group if side[place] == side[last] and place != last}
    unused = set(left_out) | set(kept)
    others = np.array([place for place in np.flatnonzero(is_decoded(traits)) if place not in unused], np.int64)
    near = _near_pairs(others, side, traits["hash"], within_splits)
    across = side[near[:, 0]] != side[near[:, 1]]
    if drop_near:
        near_held_out: dict[int, int] = dict(reversed(near[across].tolist()))
        near_held_out |= {place: near_held_out[same] for place, same in kept.items() if same in near_held_out}
        for place, held_out in near_held_out.items():
            left_out.setdefault(place, _near_copy(examples, place, held_out))
    return Copies(left_out, tuple(place for place in kept if place not in left_out), tuple(mislabeled), near, across)


def _near_pairs(
    places: NDArray[np.int64], side: NDArray[np.int64], hashes: NDArray[np.uint64], within_splits: bool
) -> NDArray[np.int64]:
    """Pairs among `places`, the image of the earlier split first."""
    if within_splits:
        return places[near_pairs(hashes[places])]
    pairs = []
    for split in range(1, len(SPLITS)):
        before, held_out = places[side[places] < split], places[side[places] == split]
        near = near_pairs(hashes[before], hashes[held_out])
        pairs.append(np.stack([before[near[:, 0]], held_out[near[:, 1]]], 1))
    return np.concatenate(pairs)


def _same_pixels(traits: Traits) -> list[list[int]]:
    """Groups of at least two images with the same pixels."""
    _, group_of, counts = np.unique(traits["digest"], axis=0, return_inverse=True, return_counts=True)
    groups = defaultdict[int, list[int]](list)
    for place in np.flatnonzero((counts[group_of] > 1) & is_decoded(traits)).tolist():
        groups[int(group_of[place])].append(place)
    return list(groups.values())


def _copy(examples: Sequence[Example], place: int, held_out: int) -> Skipped:
    return Skipped(examples[place].file, "copies of held-out images", f"same pixels as {_shown(examples[held_out])}")


def _near_copy(examples: Sequence[Example], place: int, held_out: int) -> Skipped:
    return Skipped(examples[place].file, "near-duplicates of held-out images", f"like {_shown(examples[held_out])}")


def _mislabeled(examples: Sequence[Example], labels: NDArray[np.int64], place: int, group: Iterable[int]) -> Skipped:
    other = next(i for i in group if labels[i] != labels[place])
    return Skipped(examples[place].file, "under several labels", f"same pixels as {_shown(examples[other])}")


def _shown(example: Example) -> str:
    return show_path(example.file)


def _size(example: Example) -> int | None:
    """Bytes of a file; None if it isn't read, because it is too large for an image, not a file, or gone."""
    try:
        status = example.path.stat()
    except OSError:
        return None
    is_read = stat.S_ISREG(status.st_mode) and status.st_size <= DEFAULT_LIMITS.max_file_bytes
    return status.st_size if is_read else None


def _first_bytes(example: Example) -> bytes | None:
    """A checksum of a file's first bytes; None if no image begins like that: a video needn't be read to its end."""
    try:
        with example.path.open("rb") as file:
            first = file.read(FIRST_BYTES)
    except OSError:
        return None
    return hashlib.sha256(first).digest() if looks_like_image(first) else None


def _checksum(example: Example) -> str | None:
    try:
        return sha256_of(example.path)
    except OSError:
        return None
