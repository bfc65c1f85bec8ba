"""Baseline of Table 1, SIFT + FVs: dense SIFT, Fisher vectors and linear SVMs.

Sanchez and Perronnin 2011, without their color statistics and at the size of a small dataset: descriptors of three
scales on a grid of 8 pixels, reduced to 64 values by PCA, a mixture of 64 Gaussians, vectors of 8,256 values with
square roots and unit length. It uses 256 x 256 images in full detail and the data's own split, or the split of a
network trained with the default seed. Needs the extra `baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifacts.artifact import Measurement
from model.exceptions import DatasetError, InvalidRequestError
from model.images.contract import DEFAULT_CONTRACT
from model.images.limits import DEFAULT_LIMITS, ImageLimits
from model.thread_pool import ordered_map
from training.data.datasets import Dataset, Example
from training.data.loading import load_dataset
from training.data.training_data import drop_copies
from training.evaluation.evaluate import decode_or_skip
from training.evaluation.predictions import measure

Array = NDArray[np.float32]

CELL_SIZES = (4, 6, 8)
"""Pixels on a side of one of a descriptor's 4 x 4 cells."""
GRID_STEP, ORIENTATIONS, MAX_VALUE = 8, 8, 0.2
"""Of dense SIFT: pixels between descriptors, bins of the gradient's direction, maximum value in a descriptor."""
PCA_DIM, GAUSSIANS = 64, 64
SEED = 0
MAX_DESCRIPTORS, MAX_VOCABULARY_IMAGES = 200_000, 1_000
"""Number of descriptors that PCA and mixture are learned from, and maximum number of images that they come from."""


def dense_sift(pixels: NDArray[np.uint8]) -> Array:
    """(H, W, 3) -> descriptors (M, 128) of Lowe 2004 on a grid: unit length, values clipped at 0.2."""
    from scipy.ndimage import uniform_filter

    gray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    down, right = np.gradient(gray)
    direction = (np.arctan2(down, right) * np.float32(ORIENTATIONS / (2 * np.pi))) % ORIENTATIONS
    magnitude = np.hypot(down, right)
    # (8, H, W): each gradient is shared between the two nearest bins
    distance = np.abs(direction - np.arange(ORIENTATIONS, dtype=np.float32)[:, None, None])
    maps = np.maximum(0, 1 - np.minimum(distance, ORIENTATIONS - distance)) * magnitude
    scales = []
    for side in CELL_SIZES:
        smooth = uniform_filter(maps, size=(0, side, side))
        cells = ((np.arange(4) - 1.5) * side).round().astype(int)
        rows, columns = (np.arange(2 * side, length - 2 * side, GRID_STEP)[:, None] + cells for length in gray.shape)
        values = smooth[:, rows[:, None, :, None], columns[None, :, None, :]]  # (8, Y, X, 4, 4)
        scales.append(values.transpose(1, 2, 3, 4, 0).reshape(-1, 16 * ORIENTATIONS))
    descriptors = np.concatenate(scales)
    clipped = np.minimum(descriptors / _lengths(descriptors), MAX_VALUE)
    return np.asarray(clipped / _lengths(clipped), np.float32)


def _lengths(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    lengths: NDArray[np.floating] = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return lengths


class FisherVectors:
    """PCA and a mixture of Gaussians, learned from the descriptors of some images; then one vector per image."""

    def __init__(self, descriptors: Array) -> None:
        """`descriptors` (M, 128)."""
        from sklearn.decomposition import PCA
        from sklearn.mixture import GaussianMixture

        modes = min(GAUSSIANS, len(descriptors) // 10)
        self._pca = PCA(min(PCA_DIM, len(descriptors)), random_state=SEED).fit(descriptors)
        self._gmm = GaussianMixture(modes, covariance_type="diag", max_iter=50, tol=1e-2, random_state=SEED)
        self._gmm.fit(self._pca.transform(descriptors))

    def encode(self, pixels: NDArray[np.uint8]) -> Array:
        """(H, W, 3) -> (8256,)."""
        from skimage.feature import fisher_vector

        values = self._pca.transform(dense_sift(pixels))
        return np.asarray(fisher_vector(values, self._gmm, improved=True), np.float32)  # type: ignore[no-untyped-call]


def evaluate_fisher(
    data: str,
    split: str,
    archive: Path | None,
    log: Callable[[str], None],
    exclude: Sequence[str] = (),
    limits: ImageLimits = DEFAULT_LIMITS,
) -> list[Measurement]:
    """Learn from the training split, without copies of held-out images, and measure on another split.

    Raises DatasetError, InvalidRequestError.
    """
    from sklearn.svm import LinearSVC

    if split == "all":
        raise InvalidRequestError("--baseline learns from the training split: measure it on --split test or validation")
    dataset = drop_copies(load_dataset(data, archive=archive, exclude=exclude), DEFAULT_CONTRACT, limits, log)
    train, measured = (_list_examples(dataset, name) for name in ("train", split))
    images, labels = _decode(train, "train", limits)
    log(f"learning a vocabulary from {len(images):,} images")
    vectors = FisherVectors(_sample_descriptors(images))
    classifier = LinearSVC(C=1.0, random_state=SEED)
    classifier.fit(_encode(vectors, images, "training vectors"), labels)
    images, labels = _decode(measured, split, limits)
    margins = classifier.decision_function(_encode(vectors, images, "measuring"))
    if margins.ndim == 1:  # two classes have one margin
        margins = np.stack([-margins, margins], 1)
    scores = np.full((len(labels), len(dataset.labels)), -np.inf, np.float32)
    scores[:, classifier.classes_] = margins
    title = f"{dataset.split_description}, {split}, SIFT and Fisher vectors"
    return [measure(scores, labels, title, 1, {})]


def _list_examples(dataset: Dataset, split: str) -> Sequence[Example]:
    examples = dataset.splits().get(split, ())
    if not examples:
        raise DatasetError(f"{dataset.name} has no images in the split {split!r}")
    return examples


def _decode(
    examples: Sequence[Example], split: str, limits: ImageLimits
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Pixels (256, 256, 3) and classes (N,) of the readable images. Raises DatasetError if there are none."""
    decode = partial(decode_or_skip, contract=DEFAULT_CONTRACT, limits=limits)
    decoded = zip(ordered_map(decode, examples), examples, strict=True)
    pairs = [(pixels, example.label) for pixels, example in decoded if pixels is not None]
    if not pairs:
        raise DatasetError(f"no image of the {split} split can be decoded")
    return [pixels for pixels, _ in pairs], np.array([label for _, label in pairs])


def _sample_descriptors(images: Sequence[NDArray[np.uint8]]) -> Array:
    """Descriptors (about `MAX_DESCRIPTORS`, 128)."""
    generator = np.random.default_rng(SEED)
    sample = [images[place] for place in generator.permutation(len(images))[:MAX_VOCABULARY_IMAGES]]
    count = -(-MAX_DESCRIPTORS // len(sample))
    descriptors = _with_progress(ordered_map(dense_sift, sample), len(sample), "descriptors to learn from")
    return np.concatenate([generator.permutation(of_image)[:count] for of_image in descriptors])


def _encode(vectors: FisherVectors, images: Sequence[NDArray[np.uint8]], title: str) -> Array:
    return np.stack(list(_with_progress(ordered_map(vectors.encode, images), len(images), title)))


def _with_progress(results: Iterable[Array], total: int, title: str) -> Iterator[Array]:
    yield from tqdm(results, total=total, desc=title, unit="image", disable=None)
