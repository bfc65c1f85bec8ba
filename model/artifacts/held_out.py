"""Whether a network's held-out images may have been training images of the networks that it descends from.

`training` is the manifest's record of how the network was trained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Split = tuple[str, str]
"""Name of a dataset, and checksum of the split that a network was trained on."""
BUNDLED_PHOTOS_SPLIT = "9b3375f28eab6b04c2e5053dcc3c62c6739a61d5ab43c1b838dd185214fd3924"
"""The split of the bundled network `photos`. Its images aren't distributed, so a user's data of this name differs."""


def check_splits(training: Mapping[str, Any]) -> None:
    """Raise ValueError unless the dataset names and split checksums have the form that `alexnet train` writes."""
    try:
        read = [*_own_split(training), *kept_splits(training)]
        read += [part for split in splits_of_ancestors(training) for part in split]
    except (TypeError, ValueError):
        raise ValueError("splits_of_ancestors must be pairs of a name and a checksum, kept_splits checksums") from None
    if not all(isinstance(part, str) for part in read):
        raise ValueError("dataset names and split checksums must be text")


def splits_of_ancestors(training: Mapping[str, Any]) -> tuple[Split, ...]:
    """The splits of the network that this one started from, of that one's starting point, and so on; empty if trained
    from scratch."""
    stored = training.get("splits_of_ancestors")
    if stored is None:  # an earlier release stored only the first one
        stored = [[training.get("start_dataset"), training.get("start_split_sha256")]]
    return tuple((dataset, split) for dataset, split in stored if split)


def splits_of_descendants(training: Mapping[str, Any]) -> tuple[Split, ...]:
    """`splits_of_ancestors` of a network that starts from this one."""
    own = _own_split(training)
    return tuple(dict.fromkeys([*([own] if own[1] else []), *splits_of_ancestors(training)]))


def kept_splits(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Checksums of the earlier splits that the network's own split keeps: an image in both is in the same part of both
    (`training.data.earlier_split`)."""
    stored = training.get("kept_splits")
    if stored is None:
        stored = [training.get("kept_split_sha256")]
    return tuple(split for split in stored if split)


def other_splits(ancestors: Iterable[Split], dataset: str, split: str, kept: Collection[str]) -> list[str]:
    """The ancestors' splits of `dataset` in which held-out images of the measured `split` may be training images: all
    but that split itself, those that it `kept`, and that of the bundled network `photos`."""
    known = (split, *kept, BUNDLED_PHOTOS_SPLIT)
    return [other for name, other in ancestors if name == dataset and other not in known]


def may_know_held_out(training: Mapping[str, Any]) -> bool:
    """Whether a network, or one that it descends from, may have been trained on images that its own split holds out."""
    return bool(other_splits(splits_of_ancestors(training), *_own_split(training), kept_splits(training)))


def _own_split(training: Mapping[str, Any]) -> Split:
    return training.get("dataset") or "", training.get("split_sha256") or ""
