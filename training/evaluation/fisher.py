"""What came before (Table 1 of the paper: SIFT + FVs): dense SIFT, Fisher vectors, a linear SVM for each class.

Sanchez and Perronnin 2011, without their color statistics and at the size of a small data set: descriptors of three
scales on a grid of 8 pixels, reduced to 64 values by PCA, a mixture of 64 Gaussians, vectors of 8,256 values with
square roots and unit length. It sees the same 256 x 256 images and the same split as the network. Needs the extra
`baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.artifacts.artifact import Measurement
from model.exceptions import DatasetError, InvalidImageError
from model.images.preprocess import decode_image
from model.runtime import available_cpus
from training.data import datasets
from training.data.datasets import Dataset, Example
from training.evaluation.evaluate import score

Array = NDArray[np.float32]

BINS = (4, 6, 8)
"""Pixels a side of one of a descriptor's 4 x 4 cells."""
STEP, ORIENTATIONS, CLIP = 8, 8, 0.2
VALUES, GAUSSIANS = 64, 64
LEARNT_FROM, MOST_SAMPLED = 200_000, 1_000
"""Descriptors for PCA and mixture, of so many images."""


def dense_sift(pixels: NDArray[np.uint8]) -> Array:
    """(H, W, 3) -> descriptors (M, 128) of Lowe 2004 on a grid: lengths 1, values clipped at 0.2."""
    from scipy.ndimage import uniform_filter

    gray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    down, right = np.gradient(gray)
    turn = (np.arctan2(down, right) * np.float32(ORIENTATIONS / (2 * np.pi))) % ORIENTATIONS
    size = np.hypot(down, right)
    apart = np.abs(
        turn - np.arange(ORIENTATIONS, dtype=np.float32)[:, None, None]
    )  # (8, H, W): shared between the two nearest
    maps = np.maximum(0, 1 - np.minimum(apart, ORIENTATIONS - apart)) * size
    found = []
    for side in BINS:
        smooth = uniform_filter(maps, size=(0, side, side))
        cells = ((np.arange(4) - 1.5) * side).round().astype(int)
        rows, columns = (np.arange(2 * side, length - 2 * side, STEP)[:, None] + cells for length in gray.shape)
        taken = smooth[:, rows[:, None, :, None], columns[None, :, None, :]]  # (8, Y, X, 4, 4)
        found.append(taken.transpose(1, 2, 3, 4, 0).reshape(-1, 16 * ORIENTATIONS))
    descriptors = np.concatenate(found)
    clipped = np.minimum(descriptors / _lengths(descriptors), CLIP)
    return np.asarray(clipped / _lengths(clipped), np.float32)


def _lengths(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    lengths: NDArray[np.floating] = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return lengths


class FisherVectors:
    """PCA and mixture, learnt from the descriptors of some images; then a vector an image."""

    def __init__(self, descriptors: Array, seed: int = 0) -> None:
        """`descriptors` (M, 128)."""
        from sklearn.decomposition import PCA
        from sklearn.mixture import GaussianMixture

        modes = min(GAUSSIANS, len(descriptors) // 10)
        self._pca = PCA(min(VALUES, len(descriptors)), random_state=seed).fit(descriptors)
        self._gmm = GaussianMixture(modes, covariance_type="diag", max_iter=50, tol=1e-2, random_state=seed)
        self._gmm.fit(self._pca.transform(descriptors))

    def of(self, pixels: NDArray[np.uint8]) -> Array:
        """(H, W, 3) -> (8256,)."""
        from skimage.feature import fisher_vector

        values = self._pca.transform(dense_sift(pixels))
        return np.asarray(fisher_vector(values, self._gmm, improved=True), np.float32)  # type: ignore[no-untyped-call]


def evaluate(
    data: str, part: str, archive: Path | None, say: Callable[[str], None], seed: int = 0, most: int | None = None
) -> list[Measurement]:
    """Learn from the training part, and measure on another. `most`: of each part, only so many. Raises DatasetError."""
    try:
        from sklearn.svm import LinearSVC
    except ModuleNotFoundError as error:
        raise DatasetError(f"expected {error.name}, found none: pip install -e '.[cpu,baselines]'") from error
    dataset = datasets.load(data, archive=archive)
    learnt, measured = (_some(dataset, name, most, seed) for name in ("train", part))
    pixels, labels = _read(learnt)
    say(f"learning a vocabulary from {len(pixels):,} images")
    vectors = FisherVectors(_sample(pixels, seed), seed)
    machine = LinearSVC(C=1.0, random_state=seed)
    machine.fit(_all(vectors, pixels, "training vectors"), labels)
    asked, truth = _read(measured)
    margins = machine.decision_function(_all(vectors, asked, "measuring"))
    if margins.ndim == 1:  # two classes have one margin
        margins = np.stack([-margins, margins], 1)
    scores = np.full((len(truth), len(dataset.labels)), -np.inf, np.float32)
    scores[:, machine.classes_] = margins
    title = f"{dataset.split}, {part}, SIFT and Fisher vectors"
    return [score(scores, truth, title, 1, {})]


def _some(dataset: Dataset, part: str, most: int | None, seed: int) -> list[Example]:
    found = dataset.parts().get(part, ())
    if not found:
        raise DatasetError(f"expected images in the part {part!r} of {dataset.name}, found none")
    order = np.random.default_rng(seed).permutation(len(found))[:most]
    return [found[place] for place in np.sort(order)]


def _read(examples: Sequence[Example]) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    def pixels(example: Example) -> NDArray[np.uint8] | None:
        try:
            return decode_image(example.path.read_bytes()).pixels
        except (InvalidImageError, OSError) as error:
            tqdm.write(f"left out {example.path}: {error}")
            return None

    with ThreadPoolExecutor(available_cpus()) as pool:
        found = list(pool.map(pixels, examples))
    good = [(image, e.label) for image, e in zip(found, examples, strict=True) if image is not None]
    return [image for image, _ in good], np.array([label for _, label in good])


def _sample(pixels: Sequence[NDArray[np.uint8]], seed: int) -> Array:
    """Descriptors (about `LEARNT_FROM`, 128)."""
    generator = np.random.default_rng(seed)
    chosen = [pixels[place] for place in generator.permutation(len(pixels))[:MOST_SAMPLED]]
    each = -(-LEARNT_FROM // len(chosen))
    return np.concatenate(
        [generator.permutation(one)[:each] for one in _pooled(dense_sift, chosen, "descriptors to learn from")]
    )


def _all(vectors: FisherVectors, pixels: Sequence[NDArray[np.uint8]], title: str) -> Array:
    return np.stack(list(_pooled(vectors.of, pixels, title)))


def _pooled(
    work: Callable[[NDArray[np.uint8]], Array], pixels: Sequence[NDArray[np.uint8]], title: str
) -> Iterable[Array]:
    with ThreadPoolExecutor(available_cpus()) as pool:
        yield from tqdm(pool.map(work, pixels), total=len(pixels), desc=title, unit="image", disable=None)
