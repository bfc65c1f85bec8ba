"""Classifier: a trained network in a Python program."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from alexnet.image_kinds import ImageLike, LoadedImage, decode_batches, each_image, is_single
from model.artifacts import artifact as artifacts
from model.artifacts.artifact import Artifact, Precision
from model.artifacts.default import choose_artifact
from model.artifacts.familiarity import read_familiarity
from model.classification import Classification, to_classification
from model.exceptions import InvalidRequestError
from model.images.crops import CROP_IDS
from model.runtime import OnnxModel

logger = logging.getLogger(__name__)


class Classifier:
    """A trained network: it classifies images and computes their features.

        classifier = Classifier()
        result = classifier.classify("photo.jpg")
        result.predictions[0].name, result.predictions[0].probability

    An image is a path, the bytes of a file, a PIL image, or an RGB array (height, width, 3) of dtype uint8. Every
    method takes one image or several; several are read in threads and computed in batches.
    """

    def __init__(
        self,
        artifact: str | os.PathLike[str] | Artifact | None = None,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Precision = "float32",
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load a network.

        `artifact`: an artifact, its folder, a folder of artifacts, whose newest is used, or the name of a bundled
        network, "photos" or "elpv". None uses the newest in the folder `artifacts` below `home`, or `photos` if there
        is none. `home`: None uses ALEXNET_HOME, or the working directory. Raises ArtifactError, DeviceError.
        """
        self.home = Path(home or os.environ.get("ALEXNET_HOME", ""))
        self.artifact = artifact if isinstance(artifact, Artifact) else _load(artifact, self.home, precision)
        self._familiarity = read_familiarity(self.artifact)
        self._model = OnnxModel(self.artifact.network_path, device)
        self.device = self._model.device

    def __repr__(self) -> str:
        manifest = self.artifact.manifest
        return (
            f"<Classifier {manifest.name} version {manifest.version}: {manifest.num_classes:,} classes, "
            f"{self.artifact.precision} on {self.device}>"
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's output."""
        return tuple(label.name for label in self.artifact.labels)

    @overload
    def classify(self, images: ImageLike, top: int = 5, crops: Literal[1, 10] = 10) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a path
    @overload
    def classify(
        self, images: Iterable[ImageLike], top: int = 5, crops: Literal[1, 10] = 10
    ) -> list[Classification]: ...
    def classify(
        self, images: ImageLike | Iterable[ImageLike], top: int = 5, crops: Literal[1, 10] = 10
    ) -> Classification | list[Classification]:
        """The `top` most probable classes of each image, most probable first. One image gives one result.

        `crops`: 10 averages the paper's ten crops; 1 takes the center crop, several times faster. Raises
        InvalidRequestError, and InvalidImageError for an image that can't be decoded.
        """
        if crops not in list(CROP_IDS) or not isinstance(top, int | np.integer) or top < 1:
            raise InvalidRequestError(
                f"crops must be 1 or 10, and top an integer of at least 1, not {crops!r} and {top!r}"
            )
        results: list[Classification] = []
        for batch in self._decode(images):
            rows = zip(*self._model.run(_stack(batch), CROP_IDS[crops]), strict=True)
            results += [
                to_classification(self.artifact.labels, item.image, *row, self._familiarity, top, crops)
                for item, row in zip(batch, rows, strict=True)
            ]
        return results[0] if is_single(images) else results

    def features(self, images: ImageLike | Iterable[ImageLike], crops: Literal[1, 10] = 1) -> NDArray[np.float32]:
        """(N, feature_dim) float32 features of N images.

        `crops`: 1 uses the center crop, as an index does by default; 10 averages the paper's ten crops. One image
        gives (1, feature_dim). The smaller the Euclidean distance between two features, the more similar the images.
        Raises as `classify` does.
        """
        if crops not in list(CROP_IDS):
            raise InvalidRequestError(f"crops must be 1 or 10, not {crops!r}")
        rows = [self.features_of_loaded(batch, CROP_IDS[crops]) for batch in self._decode(images)]
        return np.concatenate([np.empty((0, self._model.feature_dim), np.float32), *rows])

    def features_of_loaded(self, batch: list[LoadedImage], crops: Sequence[int]) -> NDArray[np.float32]:
        """(N, feature_dim) float32 features of decoded images, averaged over `crops`. For `alexnet.image_index`."""
        return self._model.features(_stack(batch), crops)

    def _decode(self, images: ImageLike | Iterable[ImageLike]) -> Iterator[list[LoadedImage]]:
        return decode_batches(each_image(images), self.artifact.image_contract)


def _load(artifact: str | os.PathLike[str] | None, home: Path, precision: Precision) -> Artifact:
    named = None if artifact is None else Path(artifact)
    return artifacts.load(choose_artifact(named, home, logger.info), precision)


def _stack(batch: list[LoadedImage]) -> NDArray[np.uint8]:
    return np.stack([item.image.pixels for item in batch])
