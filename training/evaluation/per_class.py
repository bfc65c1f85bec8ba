"""Measurements of each class: precision, recall and F1, as a table of numbers and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Label
from model.artifacts.intervals import Interval, interval_of_mean, wilson_interval
from model.files import atomic_write

PER_CLASS_FILE = "per_class.csv"
COLUMNS = (
    "class", "images", "predicted", "precision", "recall", "recall_low", "recall_high", "f1",
)  # fmt: skip


class ClassMeasurement(NamedTuple):
    """How well one class is recognized.

    `num_images` are of this class, `num_predicted` were given it, `num_correct` both. A share is None if its
    denominator is 0.
    """

    label: Label
    num_images: int
    num_predicted: int
    num_correct: int

    @property
    def precision(self) -> float | None:
        """Share of the images given this class that are of it."""
        return self.num_correct / self.num_predicted if self.num_predicted else None

    @property
    def recall(self) -> float | None:
        """Share of the images of this class that were given it."""
        return self.num_correct / self.num_images if self.num_images else None

    @property
    def recall_interval(self) -> Interval:
        """The 95 % interval of the recall, by Wilson's method; 0 to 1 without images."""
        return wilson_interval(self.recall or 0.0, self.num_images)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        total = self.num_images + self.num_predicted
        return 2 * self.num_correct / total if total else None


def measure_classes(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[Label]
) -> list[ClassMeasurement]:
    """One measurement for each of `classes`, from predicted and true classes (M,)."""
    images, given, correct = (
        np.bincount(values, minlength=len(classes)).tolist()
        for values in (labels, predicted, labels[predicted == labels])
    )
    return [ClassMeasurement(*row) for row in zip(classes, images, given, correct, strict=True)]


def balanced_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[float, Interval]:
    """Mean of the recalls of all classes that have images, with its 95 % interval; of M > 0 images."""
    totals = np.bincount(labels)
    correct = np.bincount(labels[predicted == labels], minlength=len(totals))
    present = totals > 0
    recalls: list[float] = (correct[present] / totals[present]).tolist()
    return float(np.mean(recalls)), interval_of_mean(recalls, totals[present].tolist())


def write_classes(path: Path, measured: Sequence[ClassMeasurement]) -> None:
    """Write the CSV table `COLUMNS`, one row per class; a cell is empty if its value is undefined. Raises OSError."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for m in measured:
            shares = (m.precision, m.recall, *(m.recall_interval if m.num_images else (None, None)), m.f1)
            numbers = ("" if share is None else f"{share:.4f}" for share in shares)
            writer.writerow((m.label.id, m.num_images, m.num_predicted, *numbers))
