"""How familiar an image is: whether its features are like those of the training images.

Two quantities tell: the *length* of the feature, which should be neither much larger nor much smaller than for held-out
images, and its *direction*, measured by the distance to the nearest class mean: the Mahalanobis distance with a
covariance shared by the classes (Lee et al. 2018), in the first principal components. Each is measured in standard
deviations of held-out images. An image's familiarity is its quantile: the share of held-out images whose sum of both is
larger. `training.evaluation.familiarity` fits the data; the artifact's familiarity.npz stores them (1.1 MB for 621
classes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from model.artifacts.artifact import Artifact
from model.exceptions import ArtifactError
from model.files import sha256_of

FAMILIARITY = "familiarity.npz"
UNFAMILIAR_QUANTILE = 0.02
"""An image below this quantile of the held-out images is unfamiliar, as are 2 % of them."""
MIN_HELD_OUT = round(1 / UNFAMILIAR_QUANTILE)
"""With fewer held-out images, no image is called unfamiliar: their least familiar one would decide, by chance."""
MIN_LENGTH = 1e-9
MAX_UNPACKED_BYTES = 2**28

Array = NDArray[np.float32]
F = TypeVar("F", np.float32, np.float64)


@dataclass(frozen=True)
class Reference:
    """Statistics of held-out images for one number of crops: mean and standard deviation of the logarithm of their
    features' length and of their features' distance to the nearest class, and all scores (M,), lowest first."""

    log_length_stats: tuple[float, float]
    distance_stats: tuple[float, float]
    scores: Array


@dataclass(frozen=True)
class Familiarity:
    """The data that tell how familiar an image is.

    `projection` (dim, n) maps a feature of length 1 to a space in which the classes vary equally in all directions;
    `class_means` (classes, n) are in that space. `references`: by the number of crops that a feature is the mean of.
    """

    projection: Array
    class_means: Array
    references: dict[int, Reference]

    def quantile(self, feature: Array, crops: int) -> float | None:
        """The share of held-out images, 0 to 1, that are less familiar than one (dim,) feature.

        `crops`: how many crops the feature is the mean of. None if held-out images weren't measured with that number.
        """
        if (reference := self.references.get(crops)) is None:
            return None
        (score,) = self.scores(feature[None], crops)
        return float(np.searchsorted(reference.scores, score)) / len(reference.scores)

    def judge(self, feature: Array, crops: int) -> tuple[float | None, bool | None]:
        """`quantile`, and whether the image is familiar; None if there are fewer than MIN_HELD_OUT held-out images."""
        if (quantile := self.quantile(feature, crops)) is None:
            return None, None
        can_tell = len(self.references[crops].scores) >= MIN_HELD_OUT
        return quantile, quantile >= UNFAMILIAR_QUANTILE if can_tell else None

    def scores(self, features: Array, crops: int) -> Array:
        """Scores (M,) of features (M, dim) that are means over this number of `crops`; higher: more familiar."""
        reference = self.references[crops]
        lengths, distances = self.measure(features)
        length_mean, length_std = reference.log_length_stats
        distance_mean, distance_std = reference.distance_stats
        scores: Array = -np.abs(lengths - length_mean) / length_std - (distances - distance_mean) / distance_std
        return scores

    def measure(self, features: Array) -> tuple[Array, Array]:
        """The logarithm of the length of (M, dim) features, and their distance to the nearest class mean: (M,) each."""
        lengths = np.maximum(np.linalg.norm(features, axis=1), MIN_LENGTH).astype(np.float32)
        # einsum, not @: the threads of a product would wait for cores that the network is using
        points = np.einsum("md,dn->mn", features / lengths[:, None], self.projection)
        products = np.einsum("mn,cn->mc", points, self.class_means)
        squares = (points**2).sum(1)[:, None] - 2 * products + (self.class_means**2).sum(1)
        distances: Array = np.sqrt(np.maximum(squares.min(1), 0))
        return np.log(lengths), distances

    def write(self, path: Path) -> None:
        """Write familiarity.npz: projection and class means in float16."""
        arrays: dict[str, Any] = {
            "projection": self.projection.astype(np.float16),
            "class_means": self.class_means.astype(np.float16),
        }
        for crops, reference in self.references.items():
            arrays[f"scores_{crops}"] = reference.scores
            arrays[f"scale_{crops}"] = np.array([*reference.log_length_stats, *reference.distance_stats])
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)


def read_familiarity(artifact: Artifact) -> Familiarity | None:
    """The artifact's familiarity data; None if it has no familiarity.npz. Raises ArtifactError."""
    if FAMILIARITY not in artifact.manifest.files:
        return None
    path = artifact.path / FAMILIARITY
    try:
        with ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
                raise ValueError("more numbers than any network needs")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        familiarity = Familiarity(
            _check_numbers(arrays["projection"].astype(np.float32), 2),
            _check_numbers(arrays["class_means"].astype(np.float32), 2),
            {int(name.removeprefix("scores_")): _reference(arrays, name) for name in arrays if name[:7] == "scores_"},
        )
    except Exception as error:  # numpy and zipfile also pass on errors of zlib, LZMA and Python's parser
        raise ArtifactError(f"{path} isn't familiarity data (SHA-256 {_checksum(path)}): calibrate it again") from error
    dim, size = familiarity.projection.shape
    if dim != artifact.manifest.feature_dim or familiarity.class_means.shape[1:] != (size,):
        raise ArtifactError(
            f"{path} doesn't match the network's {artifact.manifest.feature_dim} features: calibrate it again"
        )
    return familiarity


def _check_numbers(array: NDArray[F], num_dimensions: int) -> NDArray[F]:
    """The array. Raises ValueError if it is empty, not finite, or of another number of dimensions."""
    if array.ndim != num_dimensions or not array.size or not np.isfinite(array).all():
        raise ValueError("expected finite numbers")
    return array


def _reference(arrays: dict[str, NDArray[np.generic]], name: str) -> Reference:
    """Raises ValueError or KeyError."""
    scale = _check_numbers(arrays[name.replace("scores", "scale")].astype(np.float64), 1)
    length_mean, length_std, distance_mean, distance_std = map(float, scale)
    if min(length_std, distance_std) <= 0:
        raise ValueError("expected standard deviations above 0")
    scores = _check_numbers(arrays[name].astype(np.float32), 1)
    if (np.diff(scores) < 0).any():
        raise ValueError("expected scores in ascending order")
    return Reference((length_mean, length_std), (distance_mean, distance_std), scores)


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return "unreadable"
