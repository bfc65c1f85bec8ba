"""Predictions of a network for labeled images, by file: the CSV table `predictions.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Label, Measurement
from model.files import atomic_write
from model.images.crops import CENTER_CROP, TEN_CROP
from model.runtime import top_k
from training.evaluation.calibration import expected_calibration_error
from training.evaluation.per_class import PER_CLASS_FILE, balanced_accuracy, measure_classes, write_classes

PREDICTIONS_FILE = "predictions.csv"
COLUMNS = ("path", "label", "predicted", "correct", "probability", "label_probability")
MIN_TOP5_CLASSES = 6
"""With five classes the top five are all of them, and their error is 0 whatever the network does."""


class Predictions(NamedTuple):
    """Probabilities (M, classes) from the center crop and, if they were computed, from ten crops.

    `labels` (M,) and `files`: the true class and the file of each image. `uncalibrated_...`: the probabilities at
    temperature 1, if they were computed.
    """

    labels: NDArray[np.int64]
    files: tuple[str, ...]
    center: NDArray[np.float32]
    ten_crop: NDArray[np.float32] | None
    uncalibrated_center: NDArray[np.float32] | None = None
    uncalibrated_ten_crop: NDArray[np.float32] | None = None

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """The probabilities from the most crops."""
        return self.center if self.ten_crop is None else self.ten_crop

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image (M,), from the most crops."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    @property
    def mistakes(self) -> NDArray[np.int64]:
        """Places of the wrong predictions, those with the highest confidence first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong, self.predicted[wrong]], kind="stable")]

    def confusion(self) -> NDArray[np.int64]:
        """The number of images by true class (row) and predicted class (column), (classes, classes)."""
        counts = np.zeros((self.center.shape[1], self.center.shape[1]), np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    def measurements(self, split: str, groupings: Mapping[str, tuple[str, ...]]) -> list[Measurement]:
        """The errors, including calibration errors, with the center crop and, if computed, with ten crops."""
        kinds = [(len(CENTER_CROP), self.center, self.uncalibrated_center)]
        if self.ten_crop is not None:
            kinds.append((len(TEN_CROP), self.ten_crop, self.uncalibrated_ten_crop))
        result = []
        for crops, served, uncalibrated in kinds:
            errors = {"calibration_error": expected_calibration_error(served, self.labels)}
            if uncalibrated is not None:
                errors["uncalibrated_error"] = expected_calibration_error(uncalibrated, self.labels)
            measured = measure(served, self.labels, split, crops, groupings)
            result.append(measured.model_copy(update=errors))
        return result


def measure(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    split: str,
    crops: int,
    groupings: Mapping[str, tuple[str, ...]],
) -> Measurement:
    """Errors from (M, classes) probabilities and (M,) labels. A group's probability is the sum of its classes'."""
    hit = top_k(probabilities, 5) == labels[:, None]
    groups = {}
    for grouping, group_of in groupings.items():
        names = sorted(set(group_of))
        member = np.array([[group == name for name in names] for group in group_of], dtype=np.float64)
        predicted = (probabilities @ member).argmax(1)
        groups[grouping] = float(
            np.mean([names[group] == group_of[label] for group, label in zip(predicted, labels, strict=True)])
        )
    balanced, interval = balanced_accuracy(probabilities.argmax(1), labels)
    return Measurement(
        split=split,
        num_images=len(labels),
        crops=crops,
        top1_error=float(1 - hit[:, :1].any(1).mean()),
        top5_error=float(1 - hit.any(1).mean()) if probabilities.shape[1] >= MIN_TOP5_CLASSES else None,
        balanced_accuracy=balanced,
        balanced_accuracy_interval=interval,
        groups=groups,
    )


def write_tables(folder: Path, predictions: Predictions, classes: Sequence[Label]) -> None:
    """Write predictions.csv, one row per image, and per_class.csv into `folder`. Raises OSError.

    The paths of images are written as they are on the disk, even if they aren't UTF-8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probabilities, predicted = predictions.probabilities, predictions.predicted
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, (path, label) in enumerate(zip(predictions.files, predictions.labels, strict=True)):
        best = predicted[place]
        shares = (f"{probabilities[place, c]:.4f}" for c in (best, label))
        writer.writerow((path, classes[label].id, classes[best].id, int(best == label), *shares))
    with atomic_write(folder / PREDICTIONS_FILE, "wb") as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))
    write_classes(folder / PER_CLASS_FILE, measure_classes(predicted, predictions.labels, classes))
