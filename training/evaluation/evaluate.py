"""Top-1 and top-5 error of an exported network as it is served, with the center crop and with ten crops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifacts.artifact import Measurement
from model.exceptions import DatasetError, InvalidImageError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel, top_k
from model.thread_pool import ordered_map
from training.data.datasets import Example

BATCH_SIZE = 8

LabeledBatch = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (B, 256, 256, 3) and their classes (B,)."""


class Predictions(NamedTuple):
    """Probabilities (M, classes) from the center crop and, where they were computed, from ten crops; `labels` (M,)."""

    labels: NDArray[np.int64]
    center: NDArray[np.float32]
    ten_crop: NDArray[np.float32] | None

    @property
    def best(self) -> NDArray[np.float32]:
        """The probabilities from the most crops."""
        return self.center if self.ten_crop is None else self.ten_crop

    def measurements(self, split: str, groupings: Mapping[str, tuple[str, ...]]) -> list[Measurement]:
        """The errors with the center crop and with ten crops."""
        result = [measure(self.center, self.labels, split, len(CENTER_CROP), groupings)]
        if self.ten_crop is not None:
            result.append(measure(self.ten_crop, self.labels, split, len(TEN_CROP), groupings))
        return result


def predict(model: OnnxModel, batches: Iterable[LabeledBatch], total: int, ten_crop: bool = True) -> Predictions:
    """Run a served network on all `batches`, of `total` images. Raises DatasetError if there are none."""
    labels: list[NDArray[np.int64]] = []
    center: list[NDArray[np.float32]] = []
    ten: list[NDArray[np.float32]] = []
    with tqdm(total=total, desc="measuring", unit="image", disable=None) as bar:
        for images, classes in batches:
            labels.append(classes)
            center.append(model.run(images, CENTER_CROP)[0])
            if ten_crop:
                ten.append(model.run(images, TEN_CROP)[0])
            bar.update(len(classes))
    if not labels:
        raise DatasetError("no image to measure on can be decoded")
    return Predictions(np.concatenate(labels), np.concatenate(center), np.concatenate(ten) if ten else None)


def decode_batches(examples: Sequence[Example], batch_size: int = BATCH_SIZE) -> Iterator[LabeledBatch]:
    """Decode files batch by batch, ahead of their use; files that can't be decoded are named and left out."""
    images, labels = list[NDArray[np.uint8]](), list[int]()
    decoded = ordered_map(decode_or_skip, examples, ahead=2 * batch_size)
    for number, (example, pixels) in enumerate(zip(examples, decoded, strict=True), 1):
        if pixels is not None:
            images.append(pixels)
            labels.append(example.label)
        if images and (number % batch_size == 0 or number == len(examples)):
            yield np.stack(images), np.array(labels)
            images, labels = [], []


def decode_or_skip(example: Example) -> NDArray[np.uint8] | None:
    """(256, 256, 3) pixels; None, with a line that names the file, if it can't be decoded."""
    try:
        return decode_image(example.path.read_bytes()).pixels
    except (InvalidImageError, OSError) as error:
        tqdm.write(f"skipped {example.path}: {error}")
        return None


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
    return Measurement(
        split=split,
        num_images=len(labels),
        crops=crops,
        top1_error=float(1 - hit[:, :1].any(1).mean()),
        top5_error=float(1 - hit.any(1).mean()),
        groups=groups,
    )


def format_measurements(measurements: Sequence[Measurement]) -> str:
    """Measurements as a few lines of text."""
    lines = []
    for m in measurements:
        precision = "" if m.precision == "float32" else f", {m.precision}"
        lines.append(f"{m.split}: {m.num_images:,} images, {m.crops} crop{'s' if m.crops > 1 else ''}{precision}")
        published = " (published, not measured here)" if m.published else ""
        lines.append(f"  top-1 error {100 * m.top1_error:.2f} %, top-5 error {100 * m.top5_error:.2f} %{published}")
        lines += [f"  {grouping}: {100 * accuracy:.2f} % correct" for grouping, accuracy in m.groups.items()]
    return "\n".join(lines)
