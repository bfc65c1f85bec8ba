"""Fits the model of how familiar an image is (`model.artifacts.familiarity`) to the features of a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.artifacts.familiarity import Familiarity, Reference

Array = NDArray[np.float32]

MAX_COMPONENTS, IMAGES_PER_COMPONENT = 128, 4
"""Number of principal components: 128, or a quarter of the number of training images if that is less."""
RIDGE = 1e-3
"""Added to the variances within classes, as a share of the mean variance: for classes with one image."""


def fit_familiarity(features: Array, labels: NDArray[np.int64], held_out: Mapping[int, Array]) -> Familiarity:
    """Class means and covariance of (M, dim) training features with (M,) labels, and the scores of `held_out` images.

    `held_out`: number of crops -> their mean features (N, dim). Only classes in `labels` get a mean.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    components = _principal_components(unit)
    points = unit @ components
    classes, places = np.unique(labels, return_inverse=True)
    means = np.stack([points[places == place].mean(0) for place in range(len(classes))])
    whitening = _whitening(points - means[places], points)
    projection = (components @ whitening).astype(np.float16).astype(np.float32)  # as it is stored
    class_means = (means @ whitening).astype(np.float16).astype(np.float32)
    unscaled = Familiarity(projection, class_means, {})
    references = {crops: _refer(unscaled, values) for crops, values in held_out.items()}
    return Familiarity(projection, class_means, references)


def _principal_components(unit: Array) -> Array:
    """The first principal components of (M, dim), as (dim, n)."""
    from sklearn.decomposition import PCA

    if len(unit) == 1:  # a single image has no variance
        return unit.T
    count = min(MAX_COMPONENTS, unit.shape[1], max(1, len(unit) // IMAGES_PER_COMPONENT))
    components: Array = PCA(count, svd_solver="randomized", random_state=0).fit(unit).components_.T
    return components


def _whitening(within: Array, points: Array) -> Array:
    """(n, n): makes the covariance within classes the identity."""
    covariance = (within.T @ within / len(within)).astype(np.float64)
    total = float(points.var(0).mean())
    values, vectors = np.linalg.eigh(covariance + max(RIDGE * total, 1e-6) * np.eye(len(covariance)))
    whitening: Array = (vectors / np.sqrt(values)).astype(np.float32)
    return whitening


def _refer(familiarity: Familiarity, features: Array) -> Reference:
    """Means, standard deviations and sorted scores of held-out features (N, dim)."""
    scales = [(float(values.mean()), float(values.std()) or 1.0) for values in familiarity.measure(features)]
    reference = Reference(scales[0], scales[1], np.zeros(0, np.float32))
    fitted = Familiarity(familiarity.projection, familiarity.class_means, {0: reference})
    return Reference(scales[0], scales[1], np.sort(fitted.scores(features, 0)))
