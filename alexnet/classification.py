"""Classification of image files without a server: the most probable classes, and how familiar an image is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.image_files import read_batches
from model.artifacts.artifact import Artifact, Label
from model.artifacts.familiarity import Familiarity, read_familiarity
from model.datasets.listing import Skipped
from model.images.crops import CROP_IDS
from model.images.info import DecodedImage, ImageWarning, WarningKind
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.runtime import OnnxModel, top_k

MAX_UNOPTIMIZED = 4
"""Up to this many images, loading the network without optimizing it saves more time than the slower run costs."""


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


def classify_files(
    names: Sequence[str],
    artifact: Artifact,
    top: int,
    crops: int,
    device: str,
    warnings: Counter[WarningKind],
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Iterator[tuple[str, Classification | Skipped]]:
    """Yield, in order, each image's `top` most probable classes, from 1 or 10 crops, or why it can't be read.

    `names`: paths, or `-` for standard input. Images are read in threads and classified in batches. `warnings`: as in
    `read_batches`. Raises DeviceError, ArtifactError.
    """
    familiarity = read_familiarity(artifact)
    optimize = len(names) > MAX_UNOPTIMIZED or artifact.precision == "int8"
    model = OnnxModel(artifact.network, device, optimize=optimize, mapped=True)
    for batch in read_batches(names, artifact.image_contract, warnings, limits, "classifying"):
        decoded = [image.pixels for _, image in batch if not isinstance(image, Skipped)]
        computed = zip(*model.run(np.stack(decoded), CROP_IDS[crops]), strict=True) if decoded else iter(())
        for name, image in batch:
            if isinstance(image, Skipped):
                yield name, image
            else:
                yield name, to_classification(artifact.labels, image, *next(computed), familiarity, top, crops)


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
        Prediction(int(i), labels[i].id, labels[i].name, float(probabilities[i])) for i in top_k(probabilities, top)
    ]
    quantile, familiar = (None, None) if familiarity is None else familiarity.judge(feature, crops)
    return Classification(predictions, quantile, familiar, image.info.warnings)
