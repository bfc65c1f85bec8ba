"""Top-1 and top-5 error of an exported network, centre view and ten views, as it is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifact import Measurement
from model.errors import DatasetError
from model.runtime import OnnxModel
from model.views import CENTRE, TEN
from training.cache import batches

BATCH = {len(CENTRE): 16, len(TEN): 2}


def measure(
    model: OnnxModel,
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    labels: NDArray[np.int64],
    split: str,
    groupings: Mapping[str, tuple[str, ...]],
) -> list[Measurement]:
    """The centre view's and the ten views' errors.

    `read` gives the pictures of the asked rows, (N, 256, 256, 3) uint8; `labels` (M,) their classes. `groupings` as in
    `training.datasets.Dataset`.
    """
    return [
        score(probabilities(model, read, len(labels), views), labels, split, len(views), groupings)
        for views in (CENTRE, TEN)
    ]


def probabilities(
    model: OnnxModel, read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], count: int, views: Sequence[int]
) -> NDArray[np.float32]:
    """(count, classes), with a progress bar."""
    answers = []
    with tqdm(total=count, desc=f"measuring, {len(views)} view{'s' * (len(views) > 1)}", unit="picture") as bar:
        for rows in batches(np.arange(count), BATCH[len(views)]):
            answers.append(model.run(read(rows), views)[0])
            bar.update(len(rows))
    if not answers:
        raise DatasetError("expected pictures to measure on, found none")
    return np.concatenate(answers)


def score(
    probability: NDArray[np.float32],
    labels: NDArray[np.int64],
    split: str,
    views: int,
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
        groups[grouping] = float(np.mean([names[c] == group_of[label] for c, label in zip(chosen, labels, strict=True)]))
    return Measurement(
        split=split,
        pictures=len(labels),
        views=views,
        top1_error=float(1 - hit[:, :1].any(1).mean()),
        top5_error=float(1 - hit[:, :5].any(1).mean()),
        groups=groups,
    )


def table(measurements: Sequence[Measurement]) -> str:
    """A few lines for people."""
    lines = []
    for m in measurements:
        line = f"{m.split}, {m.pictures:,} pictures, {m.views:2d} view{'s' if m.views > 1 else ' '}: "
        line += f"top-1 error {100 * m.top1_error:.2f} %, top-5 error {100 * m.top5_error:.2f} %"
        line += "".join(f", {grouping} {100 * accuracy:.2f} % right" for grouping, accuracy in m.groups.items())
        lines.append(line)
    return "\n".join(lines)
