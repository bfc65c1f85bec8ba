"""Top-1 and top-5 error of an exported network, center crop and ten crops, as it is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifacts.artifact import Measurement
from model.exceptions import DatasetError, InvalidImageError
from model.images.crops import CENTER_CROP, TEN_CROP
from model.images.preprocess import decode_image
from model.runtime import OnnxModel, available_cpus
from training.data.datasets import Example

BATCH = 8

Labeled = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (B, 256, 256, 3) and their classes (B,)."""


class Predictions(NamedTuple):
    """`labels` (M,), and the probabilities (M, classes) of the center crop and, where they were asked for, of ten."""

    labels: NDArray[np.int64]
    center: NDArray[np.float32]
    ten: NDArray[np.float32] | None

    @property
    def best(self) -> NDArray[np.float32]:
        """Those of the most crops."""
        return self.center if self.ten is None else self.ten

    def scores(self, split: str, groupings: Mapping[str, tuple[str, ...]]) -> list[Measurement]:
        """The errors of the center crop and of ten crops."""
        measured = [score(self.center, self.labels, split, len(CENTER_CROP), groupings)]
        if self.ten is not None:
            measured.append(score(self.ten, self.labels, split, len(TEN_CROP), groupings))
        return measured


def predict(model: OnnxModel, batches: Iterable[Labeled], total: int, ten_views: bool = True) -> Predictions:
    """What the served network says of all `batches`. Raises DatasetError where there are none."""
    labels: list[NDArray[np.int64]] = []
    center: list[NDArray[np.float32]] = []
    ten: list[NDArray[np.float32]] = []
    with tqdm(total=total, desc="measuring", unit="image", disable=None) as bar:
        for images, classes in batches:
            labels.append(classes)
            center.append(model.run(images, CENTER_CROP)[0])
            if ten_views:
                ten.append(model.run(images, TEN_CROP)[0])
            bar.update(len(classes))
    if not labels:
        raise DatasetError("expected readable images to measure on, found none")
    return Predictions(np.concatenate(labels), np.concatenate(center), np.concatenate(ten) if ten else None)


def read(examples: Sequence[Example]) -> Iterator[Labeled]:
    """Decode files batch by batch, one batch ahead of its use; files that can't be read are named and left out."""
    with ThreadPoolExecutor(available_cpus()) as pool:
        pieces = [examples[start : start + BATCH] for start in range(0, len(examples), BATCH)]
        ahead = [pool.submit(_pixels, example) for example in pieces[0]] if pieces else []
        for position, piece in enumerate(pieces):
            results = [future.result() for future in ahead]
            following = pieces[position + 1] if position + 1 < len(pieces) else []
            ahead = [pool.submit(_pixels, example) for example in following]
            good = [(pixels, e.label) for pixels, e in zip(results, piece, strict=True) if pixels is not None]
            if good:
                yield np.stack([pixels for pixels, _ in good]), np.array([label for _, label in good])


def _pixels(example: Example) -> NDArray[np.uint8] | None:
    try:
        return decode_image(example.path.read_bytes()).pixels
    except (InvalidImageError, OSError) as error:
        tqdm.write(f"left out {example.path}: {error}")
        return None


def score(
    probability: NDArray[np.float32],
    labels: NDArray[np.int64],
    split: str,
    crops: int,
    groupings: Mapping[str, tuple[str, ...]],
) -> Measurement:
    """Errors from (M, classes) probabilities and (M,) labels. A group's probability is the sum of its classes'."""
    order = np.argsort(-probability, axis=1, kind="stable")
    hit = order == labels[:, None]
    groups = {}
    for grouping, group_of in groupings.items():
        names = sorted(set(group_of))
        member = np.array([[group == name for name in names] for group in group_of], dtype=np.float64)
        chosen = (probability @ member).argmax(1)
        groups[grouping] = float(
            np.mean([names[c] == group_of[label] for c, label in zip(chosen, labels, strict=True)])
        )
    return Measurement(
        split=split,
        images=len(labels),
        crops=crops,
        top1_error=float(1 - hit[:, :1].any(1).mean()),
        top5_error=float(1 - hit[:, :5].any(1).mean()),
        groups=groups,
    )


def table(measurements: Sequence[Measurement]) -> str:
    """A few lines for people."""
    lines = []
    for m in measurements:
        precision = "" if m.precision == "float32" else f", {m.precision}"
        lines.append(f"{m.split}: {m.images:,} images, {m.crops} view{'s' if m.crops > 1 else ''}{precision}")
        others = " (published, not measured here)" if m.published else ""
        lines.append(f"  top-1 error {100 * m.top1_error:.2f} %, top-5 error {100 * m.top5_error:.2f} %{others}")
        lines += [f"  {grouping}: {100 * accuracy:.2f} % right" for grouping, accuracy in m.groups.items()]
    return "\n".join(lines)
