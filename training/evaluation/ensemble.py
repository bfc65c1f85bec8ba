"""Ensembles of networks (section 6: 5 CNNs, 7 CNNs): the mean of their ten-crop probabilities, optionally weighted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Measurement, Precision
from model.artifacts.held_out import may_know_held_out
from model.exceptions import DatasetError, InvalidRequestError
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.plurals import count_of
from model.pretrained.specs import VALIDATION
from model.runtime import OnnxModel
from training.data import imagenet
from training.data.datasets import Dataset, Example
from training.data.training_data import (
    check_same_split,
    count_left_out,
    count_training_images,
    drop_copies_as_in_training,
    load_training_dataset,
    with_labels_of,
)
from training.evaluation.evaluate import decode_batches, predict
from training.evaluation.predictions import Predictions, write_tables

GRID_STEP, MAX_ROUNDS = 0.05, 5
"""Grid step and maximum rounds of the search for weights."""


def evaluate_ensemble(
    paths: Sequence[Path],
    data: str,
    split: str,
    *,
    device: str,
    log: Callable[[str], None],
    archive: Path | None = None,
    weighted: bool = False,
    precision: Precision = "float32",
    output: Path | None = None,
    exclude: Sequence[str] = (),
    limits: ImageLimits = DEFAULT_LIMITS,
) -> list[Measurement]:
    """Errors of the mean prediction of the artifacts at `paths`, on one split of a dataset ("all": every image).

    `weighted`: first search for weights on the validation split. `output`: a folder for `write_tables`. Raises
    AlexNetError.
    """
    if weighted and len(paths) == 1:
        raise InvalidRequestError("--weighted is for several networks: repeat --artifact, or leave --weighted out")
    members = [artifacts.load(path, precision) for path in paths]
    read = load_training_dataset(members[0], data, archive, exclude, for_training=split != "all")
    log(str(read.summary()))
    dataset = with_labels_of(read, members[0], data)
    if missing := len(dataset.labels) - len(read.labels):
        log(f"no images of {missing:,} of the network's {count_of(len(dataset.labels), 'class', 'classes')}")
    splits = dataset.splits() | {"all": dataset.examples}
    if split not in splits:
        raise InvalidRequestError(f"unknown --split {split!r}: choose one of {', '.join(splits)}")
    if not splits[split]:
        raise InvalidRequestError(f"{data} has no {split} images: choose --split {dataset.held_out_split}, or all")
    for member in members:
        alternative = ", or measure on all images with --split all"
        check_same_split(member, dataset, data, split, alternative, or_kept=not weighted)
    weights, training = _equal_weights(members), members[0].manifest.training
    if weighted:
        if split in ("validation", "all"):
            raise InvalidRequestError(
                f"weights are chosen on the validation split, so --weighted cannot measure on --split {split}"
            )
        weights = _fit_weights(members, dataset, device, log, limits)
    title = f"{dataset.split_description}, {split}{_note_training_images(members, dataset, split, log)}"
    is_own = training.get("split_sha256") == dataset.split_sha256()
    if is_own and (left_out := count_left_out(training, splits[split], split)):
        log(
            f"training left out {count_of(left_out, 'image')} of the {split} split, such as damaged ones, copies of "
            "held-out images and images under several labels; those that can be decoded are measured here"
        )
    return _measure(members, weights, splits[split], title, dataset.groupings, device, output, limits)


def _fit_weights(
    members: Sequence[Artifact], dataset: Dataset, device: str, log: Callable[[str], None], limits: ImageLimits
) -> NDArray[np.float64]:
    """The members' weights with the fewest errors on the validation images; logged."""
    training, contract = members[0].manifest.training, members[0].image_contract
    held_out = drop_copies_as_in_training(dataset, training, contract, limits, log).validation
    validation = [_predict(member, held_out, device, limits) for member in members]
    weights = search_weights(np.stack([p.probabilities for p in validation]), validation[0].labels)
    log("weights: " + ", ".join(f"{w:.3f} {m.path}" for w, m in zip(weights, members, strict=True)))
    return weights


def evaluate_on_imagenet(
    paths: Sequence[Path],
    folder: Path,
    device: str,
    precision: Precision,
    output: Path | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> list[Measurement]:
    """Errors of the mean of artifacts with ImageNet's classes, on its validation images. Raises AlexNetError."""
    members = [artifacts.load(path, precision) for path in paths]
    for member in members:
        if member.labels != members[0].labels:
            raise DatasetError(f"the classes of {member.path} differ from those of {members[0].path}")
    examples = imagenet.load_validation(folder, members[0].labels)
    return _measure(members, _equal_weights(members), examples, VALIDATION, {}, device, output, limits)


def _note_training_images(members: Sequence[Artifact], dataset: Dataset, split: str, log: Callable[[str], None]) -> str:
    """Log how many images of a split the networks were trained on. Returns an addition to the measurement's title."""
    if split != "all":
        if not any(may_know_held_out(member.manifest.training) for member in members):
            return ""
        log(
            f"the network started from one that was trained on another split of {dataset.name}: some of these images "
            "may be among its training images, so the error on others may be higher"
        )
        return ", perhaps with training images"
    counts = [count_training_images(member.manifest.training, dataset) for member in members]
    if None in counts:
        log(
            f"the network, or one that it started from, was trained on {dataset.name}, split differently: how many of "
            "these images it was trained on is unknown; use that run's split, --data runs/NAME-DATE-TIME/split.csv"
        )
        return ", perhaps with training images"
    if not (max_count := max(count or 0 for count in counts)):
        return ""
    images = count_of(max_count, "training image")
    log(f"the {len(dataset.examples):,} images include {images} of the network: expect a higher error on new images")
    return f", with {images}"


def _equal_weights(members: Sequence[Artifact]) -> NDArray[np.float64]:
    return np.full(len(members), 1 / len(members))


def _measure(
    members: Sequence[Artifact],
    weights: NDArray[np.float64],
    examples: Sequence[Example],
    title: str,
    groupings: Mapping[str, tuple[str, ...]],
    device: str,
    output: Path | None,
    limits: ImageLimits,
) -> list[Measurement]:
    predictions = [_predict(member, examples, device, limits) for member in members]
    center, ten = (
        np.tensordot(weights, np.stack(probabilities), 1).astype(np.float32)
        for probabilities in ([p.center for p in predictions], [p.probabilities for p in predictions])
    )
    title += f", {len(members)} networks" if len(members) > 1 else ""
    mean = predictions[0]._replace(center=center, ten_crop=ten)
    if output is not None:
        write_tables(output, mean, members[0].labels)
    measurements = mean.measurements(title, groupings)
    return [m.model_copy(update={"precision": members[0].precision}) for m in measurements]


def _predict(artifact: Artifact, examples: Sequence[Example], device: str, limits: ImageLimits) -> Predictions:
    batches = decode_batches(examples, artifact.image_contract, limits)
    return predict(OnnxModel(artifact.network_path, device), batches, len(examples))


def search_weights(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of sum 1 for (members, M, classes) probabilities: fewest top-5, then top-1 errors, then least log loss.

    One coordinate at a time, from equal weights, on a grid of 0.05, as the authors' program did for the top-5 error.
    """
    weights = np.full(len(probabilities), 0.5)
    best = _loss(probabilities, labels, weights)
    for _ in range(MAX_ROUNDS):
        before = best
        for member in range(len(weights)):
            for value in np.arange(0, 1 + GRID_STEP / 2, GRID_STEP):
                candidate = weights.copy()
                candidate[member] = value
                if candidate.sum() > 0 and (loss := _loss(probabilities, labels, candidate)) < best:
                    weights, best = candidate, loss
        if best == before:
            break
    normalized: NDArray[np.float64] = weights / weights.sum()
    return normalized


def _loss(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[int, int, float]:
    mean = np.tensordot(weights / weights.sum(), probabilities, 1)
    true_class = mean[np.arange(len(labels)), labels]
    rank = (mean > true_class[:, None]).sum(1)
    return int((rank >= 5).sum()), int((rank >= 1).sum()), float(-np.log(np.maximum(true_class, 1e-12)).sum())
