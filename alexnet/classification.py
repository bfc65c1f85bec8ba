"""Classification of image files without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact, Label
from model.datasets.image_files import decode_file
from model.images.crops import CROP_IDS
from model.runtime import OnnxModel, top_k


@dataclass(frozen=True)
class Prediction:
    """A class and its probability. `index`: of the class in the network's output. `id`: in the data set."""

    index: int
    id: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """The most probable classes of an image, most probable first."""

    predictions: list[Prediction]

    def __str__(self) -> str:
        return "\n".join(f"{100 * item.probability:6.2f} %  {item.name}" for item in self.predictions)


def classify_file(image: Path, artifact: Artifact, top: int, crops: int, device: str) -> list[Prediction]:
    """The `top` most probable classes of an image file, from 1 crop or 10. Raises InvalidImageError, DeviceError."""
    pixels = decode_file(image, contract=artifact.image_contract).pixels
    model = OnnxModel(artifact.network, device)
    probabilities = model.run(pixels[None], CROP_IDS[crops])[0][0]
    return to_classification(artifact.labels, probabilities, top).predictions


def to_classification(labels: Sequence[Label], probabilities: NDArray[np.float32], top: int) -> Classification:
    """The `top` most probable classes, from the (num_classes,) probabilities of an image."""
    return Classification(
        [Prediction(int(i), labels[i].id, labels[i].name, float(probabilities[i])) for i in top_k(probabilities, top)]
    )
