"""Select the images of one source from a data set that combines several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.exceptions import TrainingError
from training.data.datasets import Dataset, Example
from training.data.folders import write_table
from training.data.loading import load_dataset


def write_split(data: str, archive: Path | None, source: str, target: Path) -> Dataset:
    """Write a table of the images of `data` with their splits, of `source` alone unless it is "". Returns the data set.

    Raises DatasetError, TrainingError.
    """
    dataset = load_dataset(data, archive=archive)
    dataset = select_source(dataset, source) if source else dataset
    target.parent.mkdir(parents=True, exist_ok=True)
    write_table(dataset, target)
    return dataset


def select_source(dataset: Dataset, source: str) -> Dataset:
    """The images of one source, in the classes whose training images are mostly from that source.

    Within a source, only what an image shows tells classes apart; between sources, format and sharpness do, too.
    """
    total = Counter(example.label for example in dataset.train)
    own = Counter(example.label for example in dataset.train if example.group == source)
    kept = sorted(label for label in total if 2 * own[label] > total[label])
    if len(kept) < 2:
        raise TrainingError(f"{dataset.name} has fewer than two classes of the source {source!r}")
    new_label = {label: place for place, label in enumerate(kept)}

    def select(examples: Sequence[Example]) -> tuple[Example, ...]:
        own = (example for example in examples if example.group == source and example.label in new_label)
        return tuple(example._replace(label=new_label[example.label]) for example in own)

    return replace(
        dataset,
        labels=tuple(dataset.labels[label] for label in kept),
        groupings={},
        train=select(dataset.train),
        validation=select(dataset.validation),
        test=select(dataset.test),
    )
