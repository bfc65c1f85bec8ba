"""Alternatives to a data set's own split: halves, as in section 6 of the paper, and neighborhoods of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from model.exceptions import DatasetError
from training.data.copies import draw_split
from training.data.datasets import Dataset, Example, find_split_problem

SplitMethod = Literal["own", "half", "neighborhood"]
"""`own`: as the data says, or else as its reader draws it; the others: see `resplit`."""
HALF = {"test": 0.5, "validation": 0.05}
QUARTER = {"test": 0.25, "validation": 0.075}
NEIGHBORHOOD_SIZE = 50
"""Images that follow one another by name. In the data set elpv, nine in ten twins are at most this far apart."""
TITLES = {"half": "half/half", "neighborhood": f"75/25 by neighborhoods of {NEIGHBORHOOD_SIZE} images"}
"""Split methods in descriptions of a split."""


def resplit(dataset: Dataset, method: SplitMethod, seed: int, for_training: bool = True) -> Dataset:
    """All images of a data set in new splits. Copies of one file stay together if the method draws single images.

    `half`: half of each class to test, half to train, as in the paper for ImageNet of Fall 2009; a tenth of the latter
    for validation. `neighborhood`: 50 images with consecutive paths are drawn together, a quarter of all to test and a
    tenth of the rest to validation, whatever their classes: for images that were numbered as they were taken, such as
    frames of a video or cells of a solar module. `for_training`: whether to raise DatasetError if the new split is
    unfit for training.
    """
    if method == "own":
        return dataset
    if method == "half":
        splits = draw_split(dataset.examples, HALF, seed)
    else:
        splits = split_by_neighborhoods(dataset.examples, QUARTER, seed)
    if for_training and (lack := find_split_problem(splits, dataset.labels)):
        raise DatasetError(f"too few images for --split {method}: {lack}; leave it out, or try another --seed")
    return replace(
        dataset,
        split_description=f"{dataset.name} {TITLES[method]}, seed {seed}",
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
    )


def split_by_neighborhoods(
    examples: Sequence[Example], shares: Mapping[str, float], seed: int
) -> dict[str, list[Example]]:
    """Split examples by neighborhoods; the `shares` are met to within one neighborhood. The rest is `train`."""
    ordered = sorted(examples, key=lambda example: example.file)
    starts = range(0, len(ordered), NEIGHBORHOOD_SIZE)
    neighborhoods = [ordered[start : start + NEIGHBORHOOD_SIZE] for start in starts]
    order = iter(np.random.default_rng(seed).permutation(len(neighborhoods)).tolist())
    splits: dict[str, list[Example]] = {}
    for split, share in shares.items():
        taken = splits[split] = []
        while len(taken) < share * len(examples) and (number := next(order, None)) is not None:
            taken += neighborhoods[number]
    return {"train": [example for number in order for example in neighborhoods[number]], **splits}
