"""The data that a network was trained on, read again: the same split, checked against its manifest, without copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.artifacts.artifact import Artifact
from model.artifacts.held_out import kept_splits, other_splits, splits_of_ancestors
from model.datasets.listing import count_reasons, describe_reasons
from model.datasets.names import show_path
from model.exceptions import DatasetError
from model.images.contract import ImageContract
from model.images.limits import ImageLimits
from model.plurals import count_of
from training.data.archives import NAMED_DATASETS
from training.data.copies import find_copies
from training.data.data_check import scan
from training.data.datasets import Dataset, Example
from training.data.earlier_split import EARLIER
from training.data.loading import load_dataset
from training.data.refusals import NEAR_COPIES
from training.data.splits import SplitMethod


def load_training_dataset(
    artifact: Artifact, data: str, archive: Path | None, exclude: Sequence[str] = (), for_training: bool = True
) -> Dataset:
    """The dataset `data`, split as for the artifact's training, with its seed. Raises DatasetError.

    `for_training`: as in `load_dataset`; False for images that the artifact needn't have been trained on.

    A split that keeps an earlier one can't be drawn again: only its run's table has it, and `check_same_split` refuses
    the one that is drawn instead.
    """
    training = artifact.manifest.training
    method = training.get("split_method", "own")
    left_out = exclude or (() if data in NAMED_DATASETS else tuple(training.get("exclude", ())))
    split: SplitMethod = "own" if method == EARLIER else method
    return load_dataset(data, int(training.get("seed", 0)), archive, left_out, split, for_training=for_training)


def check_training_data(artifact: Artifact, dataset: Dataset, data: str) -> None:
    """`check_same_split` for the held-out images of a network that this program trained; for others, for `all`."""
    trained_here = "split_sha256" in artifact.manifest.training
    check_same_split(artifact, dataset, data, dataset.held_out_split if trained_here else "all")


def check_same_split(
    artifact: Artifact, dataset: Dataset, data: str, split: str, alternative: str = "", or_kept: bool = False
) -> None:
    """Raise DatasetError unless the dataset has the network's classes and, except for `all`, its training's split.

    `alternative`: what else can be done without that split, in words. `or_kept`: also accept the earlier splits that
    its training kept: it wasn't trained on their held-out images either.
    """
    training = artifact.manifest.training
    known = [training.get("split_sha256"), *(kept_splits(training) if or_kept else [])]
    if [label.id for label in dataset.labels] != [label.id for label in artifact.labels]:
        raise DatasetError(
            f"expected the artifact's classes ({', '.join(label.id for label in artifact.labels[:5])} ...), "
            f"got {', '.join(label.id for label in dataset.labels[:5])} ... in {data}: --data takes the images that "
            "the network was trained on"
        )
    if split != "all" and dataset.split_sha256() not in known:
        missing = [entry for entry in dataset.skipped if entry.reason == "missing files"]
        if missing:
            raise DatasetError(
                f"missing files: {count_of(len(missing), 'image')} of the split in {data}, such as "
                f"{show_path(missing[0].path)}; restore the missing files{alternative}"
            )
        raise DatasetError(
            f"{data} is split differently than in the network's training: files were added or removed, or it is "
            f"another dataset; use the split of its run, --data {split_of_run(training)}{alternative}"
        )


def has_other_split(artifact: Artifact, dataset: Dataset) -> bool:
    """Whether the network's manifest says that it was trained on another split than the dataset's."""
    own = dataset.split_sha256()
    return bool(artifact.manifest.training.get("split_sha256", own) != own)


def split_of_run(training: Mapping[str, Any]) -> str:
    """Where a network's run wrote its split, if the run is in the default folder of `alexnet train`."""
    return f"runs/{training.get('run', 'NAME-DATE-TIME')}/split.csv"


def with_labels_of(dataset: Dataset, artifact: Artifact, data: str) -> Dataset:
    """The dataset with the labels of the network, some of which may have no image.

    Raises DatasetError if it has a class that the network doesn't.
    """
    places = {label.id: place for place, label in enumerate(artifact.labels)}
    if unknown := [label.id for label in dataset.labels if label.id not in places]:
        raise DatasetError(
            f"the network of {artifact.path} does not know {count_of(len(unknown), 'class', 'classes')} of {data}: "
            f"{', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''}; leave such images out with --exclude, or "
            f"rename the folders to classes of the network, such as {', '.join(map(repr, list(places)[:5]))}"
        )
    if [label.id for label in dataset.labels] == list(places):
        return dataset
    moved = [places[label.id] for label in dataset.labels]
    train, validation, test = (
        tuple(example._replace(label=moved[example.label]) for example in examples)
        for examples in dataset.splits().values()
    )
    return replace(dataset, labels=artifact.labels, groupings={}, train=train, validation=validation, test=test)


def drop_copies_as_in_training(
    dataset: Dataset,
    training: Mapping[str, Any],
    contract: ImageContract,
    limits: ImageLimits,
    log: Callable[[str], None],
) -> Dataset:
    """The data set of a network without the copies that its training left out.

    `training`: from its manifest. The images are decoded only if training or validation images were left out.
    """
    parts = {"train": dataset.train, "validation": dataset.validation}
    if all(count_left_out(training, part, split) <= 0 for split, part in parts.items()):
        return dataset
    drop_near = NEAR_COPIES in training.get("data", {}).get("skipped", {})
    return drop_copies(dataset, contract, limits, log, drop_near, "left out as in training")


def drop_copies(
    dataset: Dataset,
    contract: ImageContract,
    limits: ImageLimits,
    log: Callable[[str], None],
    drop_near: bool = False,
    title: str = "left out",
) -> Dataset:
    """The data set without training and validation images that are copies of held-out ones; all images are decoded.

    `drop_near`: near-duplicates are left out, too. `title`: the beginning of the line about what was left out.
    """
    traits, _ = scan(dataset.examples, contract, limits)
    left_out = find_copies(dataset, traits, drop_near).left_out
    if left_out:
        log(f"{title}: {describe_reasons(count_reasons(list(left_out.values())))}")
    train, validation = (
        tuple(example for place, example in enumerate(part, start) if place not in left_out)
        for part, start in ((dataset.train, 0), (dataset.validation, len(dataset.train)))
    )
    return replace(dataset, train=train, validation=validation, skipped=(*dataset.skipped, *left_out.values()))


def count_training_images(training: Mapping[str, Any], dataset: Dataset) -> int | None:
    """How many of a dataset's images a network, or one that it descends from, was trained on, by its `training`.

    None if that isn't known, because the dataset has the name of their data, but another split. Data of another name
    counts as new.
    """
    measured, own = dataset.split_sha256(), {training.get("split_sha256", ""), *kept_splits(training)}
    ancestors = splits_of_ancestors(training)
    trained = [(training.get("dataset", ""), training.get("split_sha256", "")), *ancestors]
    if other_splits(trained, dataset.name, measured, own if measured in own else ()):
        return None
    if measured in own:
        return min(len(dataset.train), int(training.get("images", {}).get("train", len(dataset.train))))
    return len(dataset.train) if measured in {split for _, split in ancestors} else 0


def count_left_out(training: Mapping[str, Any], examples: Sequence[Example], split: str) -> int:
    """How many of a split's examples were left out of a training, by the `training` of its manifest; 0 if that doesn't
    say, as for `all`."""
    return len(examples) - int(training.get("images", {}).get(split, len(examples)))
