"""Whether images that a network's split holds out may be training images of the networks that it descends from.

`training` is a manifest's: how the network was trained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Split = tuple[str, str]
"""Name of a dataset, and checksum of the split of it that a network was trained on."""


def check_splits(training: Mapping[str, Any]) -> None:
    """Raise ValueError unless the names and checksums that are read here are what `alexnet train` writes."""
    try:
        read = [*_own_split(training), *kept_splits(training)]
        read += [part for split in splits_of_ancestors(training) for part in split]
    except (TypeError, ValueError):
        raise ValueError("splits_of_ancestors takes pairs of a name and a checksum, kept_splits checksums") from None
    if not all(isinstance(part, str) for part in read):
        raise ValueError("names of datasets and checksums of splits are text")


def splits_of_ancestors(training: Mapping[str, Any]) -> tuple[Split, ...]:
    """Of the network that this one started from, of the one that it started from, and so on; none from scratch."""
    stored = training.get("splits_of_ancestors")
    if stored is None:  # an earlier release stored that of the first one only
        stored = [[training.get("start_dataset"), training.get("start_split_sha256")]]
    return tuple((dataset, split) for dataset, split in stored if split)


def splits_of_descendants(training: Mapping[str, Any]) -> tuple[Split, ...]:
    """`splits_of_ancestors` of a network that starts from this one."""
    own = _own_split(training)
    return tuple(dict.fromkeys([*([own] if own[1] else []), *splits_of_ancestors(training)]))


def kept_splits(training: Mapping[str, Any]) -> tuple[str, ...]:
    """Checksums of the earlier splits in which each image was where it is in the network's own split, if it was there
    (`training.data.earlier_split`)."""
    stored = training.get("kept_splits")
    if stored is None:
        stored = [training.get("kept_split_sha256")]
    return tuple(split for split in stored if split)


def other_splits(ancestors: Iterable[Split], dataset: str, split: str, kept: Collection[str]) -> list[str]:
    """Those splits of a dataset which differ from the one that is measured, so that its held-out images may be training
    images in them. A split that it `kept` does not."""
    return [other for name, other in ancestors if name == dataset and other not in (split, *kept)]


def may_know_held_out(training: Mapping[str, Any]) -> bool:
    """Whether a network, or one that it descends from, may have been trained on images that its own split holds out."""
    return bool(other_splits(splits_of_ancestors(training), *_own_split(training), kept_splits(training)))


def _own_split(training: Mapping[str, Any]) -> Split:
    return training.get("dataset") or "", training.get("split_sha256") or ""
