"""Whether the images that a network's split holds out may be among its training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEVERAL_SPLITS = "several"
"""Stands for the checksum of a start network's split where that network was trained on several splits of its dataset,
so that all of the images may be among its training images."""


def trained_on_another_split(start_dataset: str, start_split: str, dataset: str, split: str, kept_split: str) -> bool:
    """Whether test images of a split may be training images of the network that a run starts from.

    They may be if both were made from the same dataset, and the network was trained on neither this split nor the one
    that it keeps. A split is given by its checksum, "" where there is none or it isn't known.
    """
    return start_dataset == dataset and start_split not in ("", split, kept_split)


def may_know_held_out(training: Mapping[str, Any]) -> bool:
    """Whether a network may have been trained on images that its own split holds out, by its manifest's `training`."""
    start = training.get("start_dataset", ""), training.get("start_split_sha256", "")
    own = training.get("dataset", ""), training.get("split_sha256", ""), training.get("kept_split_sha256", "")
    return trained_on_another_split(*start, *own)
