"""A linear probe: the output layer that fits given features best, found by regularized logistic regression.

The new output layer of a fine-tuned network starts from it. Random numbers would pull the copied layers away from what
they know before the output layer has learned anything (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features").
"""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.calibration import mean_softmax, negative_log_likelihood

Floats = NDArray[np.float32]

C_VALUES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse regularization strengths that are tried, the strongest regularization first."""
MAX_ITERATIONS = 100
LOWEST = 1e-12
"""Minimum probability in a loss."""
ABSENT = 10.0
"""By how much the bias of a class without images is below the lowest bias of the others."""


class LinearProbe(NamedTuple):
    """`weight` (classes, features) and `bias` (classes,) of an output layer.

    `validation_loss`: of the mean probabilities of each validation image's views. `ran_out_of_time`: whether weaker
    regularization, which might be better, wasn't tried.
    """

    weight: Floats
    bias: Floats
    validation_loss: float
    ran_out_of_time: bool = False


def fit_linear_probe(
    features: Floats,
    labels: NDArray[np.int64],
    validation_features: Floats,
    validation_labels: NDArray[np.int64],
    num_classes: int,
    balanced: bool = False,
    max_cpu_seconds: float = 600.0,
) -> LinearProbe:
    """Fit (N, features) to (N,) labels; the regularization is that with the lowest loss on the validation images.

    `validation_features` (M, views, features): an image is seen in several views, whose probabilities are averaged.

    A class without an image gets a bias that keeps it from being predicted. `features` are scaled in place: they may
    take a gigabyte. `balanced`: images of small classes count more. `max_cpu_seconds`: CPU time on all cores, after
    which no weaker regularization is tried; other programs don't change the result, as they would with wall-clock time.
    """
    present = np.unique(labels)
    if len(present) == 1:
        only = _all_classes(np.zeros((1, features.shape[1])), np.zeros(1), present, num_classes)
        return LinearProbe(*only, _measure_loss(*only, validation_features, validation_labels))
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = float(np.linalg.norm(features) / np.sqrt(features.size)) or 1.0
    features /= np.float32(scale)
    model = LogisticRegression(
        max_iter=MAX_ITERATIONS, tol=1e-3, warm_start=True, class_weight="balanced" if balanced else None
    )
    best: LinearProbe | None = None
    started = time.process_time()
    for inverse_strength in C_VALUES:
        if best is not None and time.process_time() - started > max_cpu_seconds:
            return best._replace(ran_out_of_time=True)
        model.C = inverse_strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is good enough here
            model.fit(features, labels)
        weight, bias = _all_classes(model.coef_ / scale, model.intercept_, present, num_classes)
        loss = _measure_loss(weight, bias, validation_features, validation_labels)
        if best is None or loss < best.validation_loss:
            best = LinearProbe(weight, bias, loss)
    assert best is not None
    return best


def _all_classes(
    weight: NDArray[np.floating], bias: NDArray[np.floating], present: NDArray[np.int64], num_classes: int
) -> tuple[Floats, Floats]:
    """One row per class, from those of the `present` classes; of two, scikit-learn returns only the difference."""
    if len(present) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    all_weights = np.zeros((num_classes, weight.shape[1]), np.float32)
    all_biases = np.full(num_classes, bias.min() - ABSENT, np.float32)
    all_weights[present], all_biases[present] = weight, bias
    return all_weights, all_biases


def _measure_loss(weight: Floats, bias: Floats, features: Floats, labels: NDArray[np.int64]) -> float:
    """Cross-entropy of the mean probabilities of (M, views, features)."""
    return negative_log_likelihood(mean_softmax(features @ weight.T + bias, 1.0).clip(min=LOWEST), labels)
