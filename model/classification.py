"""The result of classifying an image: the most probable classes, and how familiar the image is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Label
from model.artifacts.familiarity import Familiarity
from model.images.info import DecodedImage, ImageWarning
from model.runtime import top_k


@dataclass(frozen=True)
class Prediction:
    """A class and its probability. `index`: its position in the network's output. `id`: its id in the data set."""

    index: int
    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """The most probable classes of an image, most probable first.

    `familiarity`: the share of held-out images that are less like the training images than this image; None if the
    artifact has no familiarity data. `familiar`: whether that share is at least `UNFAMILIAR_QUANTILE`; None with fewer
    than `MIN_HELD_OUT` held-out images. `warnings`: what was guessed, converted or ignored when the image was read.
    """

    predictions: list[Prediction]
    familiarity: float | None
    familiar: bool | None
    warnings: tuple[ImageWarning, ...] = ()

    def __str__(self) -> str:
        return "\n".join(f"{100 * item.probability:6.2f} %  {item.name}" for item in self.predictions)


def to_classification(
    labels: Sequence[Label],
    image: DecodedImage,
    probabilities: NDArray[np.float32],
    feature: NDArray[np.float32],
    familiarity: Familiarity | None,
    top: int,
    crops: int,
) -> Classification:
    """The result for an image, given its (num_classes,) probabilities and (feature_dim,) feature from `crops` crops."""
    predictions = [
        Prediction(int(i), labels[i].id, labels[i].name, min(1.0, float(probabilities[i])))
        for i in top_k(probabilities, top)
    ]  # a mean over crops, rounded, can exceed 1
    quantile, familiar = (None, None) if familiarity is None else familiarity.judge(feature, crops)
    return Classification(predictions, quantile, familiar, image.info.warnings)
