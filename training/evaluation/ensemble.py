"""Several networks as one (section 6: 5 CNNs, 7 CNNs): the mean of their ten-crop probabilities, perhaps weighted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Measurement, Precision
from model.exceptions import DatasetError, InvalidRequestError
from model.pretrained.specs import VALIDATION
from model.runtime import OnnxModel
from training.data import datasets, imagenet
from training.data.datasets import Dataset, Example
from training.evaluation.evaluate import Predictions, predict, read

STEP, ROUNDS = 0.05, 5


def evaluate(
    paths: Sequence[Path],
    data: str,
    part: str,
    archive: Path | None,
    weighted: bool,
    device: str,
    precision: Precision,
    say: Callable[[str], None],
) -> list[Measurement]:
    """Errors of the artifacts at `paths` taken together, on one part of a data set. Raises AlexNetError.

    `weighted`: weights are searched on the validation part first.
    """
    members = [artifacts.load(path, precision) for path in paths]
    dataset = datasets.load(data, int(members[0].manifest.training.get("split_seed", 0)), archive)
    parts = dataset.parts() | {"all": dataset.examples}
    if part not in parts:
        raise InvalidRequestError(f"expected --part {', '.join(parts)}, found {part!r}")
    for member in members:
        require_fit(member, dataset, data, part, ", or measure on every image of it with --part all")
    weights = _equal(members)
    if weighted and len(members) > 1:
        if part in ("validation", "all"):
            raise InvalidRequestError(f"expected another part to measure on than the weights', found --part {part}")
        held_out = [_predictions(member, dataset.validation, device) for member in members]
        weights = search(np.stack([p.best for p in held_out]), held_out[0].labels)
        say("weights: " + ", ".join(f"{w:.3f} {m.path}" for w, m in zip(weights, members, strict=True)))
    return _scores(members, weights, parts[part], f"{dataset.split}, {part}", dataset.groupings, device)


def on_imagenet(paths: Sequence[Path], folder: Path, device: str, precision: Precision) -> list[Measurement]:
    """Errors of artifacts with ImageNet's classes, taken together, on its validation images. Raises AlexNetError."""
    members = [artifacts.load(path, precision) for path in paths]
    for member in members:
        if member.labels != members[0].labels:
            raise DatasetError(f"expected artifacts with the same classes, found others in {member.path}")
    examples = imagenet.validation(folder, members[0].labels)
    return _scores(members, _equal(members), examples, VALIDATION, {}, device)


def _equal(members: Sequence[Artifact]) -> NDArray[np.float64]:
    return np.full(len(members), 1 / len(members))


def _scores(
    members: Sequence[Artifact],
    weights: NDArray[np.float64],
    examples: Sequence[Example],
    title: str,
    groupings: Mapping[str, tuple[str, ...]],
    device: str,
) -> list[Measurement]:
    found = [_predictions(member, examples, device) for member in members]
    center, ten = (
        np.tensordot(weights, np.stack(v), 1).astype(np.float32)
        for v in ([p.center for p in found], [p.best for p in found])
    )
    title += f", {len(members)} networks" if len(members) > 1 else ""
    scores = Predictions(found[0].labels, center, ten).scores(title, groupings)
    return [score.model_copy(update={"precision": members[0].precision}) for score in scores]


def require_fit(artifact: Artifact, dataset: Dataset, data: str, part: str, instead: str = "") -> None:
    """Raise DatasetError unless the data set has the network's classes and, but for `all`, its training's split.

    `instead`: what else can be done without that split, in words.
    """
    if [label.id for label in dataset.labels] != [label.id for label in artifact.labels]:
        raise DatasetError(
            f"expected the artifact's classes ({', '.join(label.id for label in artifact.labels[:5])} ...), "
            f"found {', '.join(label.id for label in dataset.labels[:5])} ... in {data}"
        )
    if part != "all" and artifact.manifest.training.get("split_sha256") != dataset.split_sha256():
        raise DatasetError(
            f"expected the split that the network was trained with, found another in {data}: files were added or "
            f"removed, or it is another data set; name its run's own, --data runs/NAME-DATE-TIME/split.csv{instead}"
        )


def _predictions(artifact: Artifact, examples: Sequence[Example], device: str) -> Predictions:
    return predict(OnnxModel(artifact.network, device), read(examples), len(examples))


def search(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights, of sum 1, for (members, M, classes) probabilities: fewest top-5, then top-1 errors, then least log loss.

    By coordinates from equal weights on a grid of 0.05, as the authors' program did for the top-5 error.
    """
    weights = np.full(len(probabilities), 0.5)
    best = _loss(probabilities, labels, weights)
    for _ in range(ROUNDS):
        before = best
        for member in range(len(weights)):
            for value in np.arange(0, 1 + STEP / 2, STEP):
                tried = weights.copy()
                tried[member] = value
                if tried.sum() > 0 and (loss := _loss(probabilities, labels, tried)) < best:
                    weights, best = tried, loss
        if best == before:
            break
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def _loss(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[int, int, float]:
    mean = np.tensordot(weights / weights.sum(), probabilities, 1)
    own = mean[np.arange(len(labels)), labels]
    rank = (mean > own[:, None]).sum(1)
    return int((rank >= 5).sum()), int((rank >= 1).sum()), float(-np.log(np.maximum(own, 1e-12)).sum())
