"""Calibration: one temperature for the logits, and how far probabilities are from the share of correct answers.

Guo et al. 2017, "On Calibration of Modern Neural Networks". The temperature is fitted to the mean of the softmax over
the crops, since that is what is served: averaging ten crops already makes probabilities less extreme, and the best
temperature for one crop would make them underconfident.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NUM_BINS = 15
"""Of equal width, as in Guo et al. 2017."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
PRIOR_STD = 1.0
"""Standard deviation of the prior of the log temperature, centered at temperature 1. It decides if there are few
images: with five that are all right, likelihood alone would make every answer certain."""


def fit_temperature(logits: Array, labels: NDArray[np.int64]) -> float:
    """The most probable temperature for (M,) labels, from (M, crops, classes) logits.

    For hundreds of images it is the one with the lowest negative log-likelihood; for a few it is closer to 1.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        probabilities = mean_softmax(logits, float(np.exp(log_temperature)))
        prior = (log_temperature / PRIOR_STD) ** 2 / 2
        return negative_log_likelihood(probabilities, labels) + prior / len(labels)

    bounds = (float(np.log(MIN_TEMPERATURE)), float(np.log(MAX_TEMPERATURE)))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def mean_softmax(logits: Array, temperature: float) -> Array:
    """(M, crops, classes) logits -> (M, classes): the mean over the crops of the softmax at a temperature."""
    scaled = logits / np.float32(temperature)
    exponentials = np.exp(scaled - scaled.max(2, keepdims=True))
    probabilities: Array = (exponentials / exponentials.sum(2, keepdims=True)).mean(1)
    return probabilities


def negative_log_likelihood(probabilities: Array, labels: NDArray[np.int64]) -> float:
    """Mean of -log of the (M, classes) probability of each image's class."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def expected_calibration_error(probabilities: Array, labels: NDArray[np.int64]) -> float:
    """Mean distance between the largest probability and the share of correct answers, in 15 bins of the former.

    `probabilities` (M, classes), `labels` (M,). Bins are weighted by their images. 0 is perfect; 0.1: ten points too
    sure or too cautious.
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    sums = np.bincount(bins, confidence - right, NUM_BINS)
    return float(np.abs(sums).sum() / len(labels))
