"""A linear probe: the output layer that fits given features best, found by regularized logistic regression.

The new output layer of a fine-tuned network starts from it instead of from random numbers, which would pull the copied
layers away from what they know before it has learned anything (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features").
"""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse regularization strengths that are tried, the strongest regularization first."""
MAX_ITERATIONS = 100
MAX_SECONDS = 180.0
"""After these no weaker regularization is tried."""


class LinearProbe(NamedTuple):
    """`weight` (classes, features) and `bias` (classes,) of an output layer; its errors on the validation images."""

    weight: Floats
    bias: Floats
    validation_loss: float
    validation_error: float


def fit_linear_probe(
    features: Floats,
    labels: NDArray[np.int64],
    validation_features: Floats,
    validation_labels: NDArray[np.int64],
    num_classes: int,
    balanced: bool = False,
) -> LinearProbe:
    """Fit (N, features) to (N,) labels; the regularization is that with the lowest loss on the validation images.

    Every class must have an image. `features` are scaled in place: they may take a gigabyte. `balanced`: images of
    small classes count more.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = float(np.linalg.norm(features) / np.sqrt(features.size)) or 1.0
    features /= np.float32(scale)
    model = LogisticRegression(
        max_iter=MAX_ITERATIONS, tol=1e-3, warm_start=True, class_weight="balanced" if balanced else None
    )
    best: LinearProbe | None = None
    started = time.monotonic()
    for strength in STRENGTHS:
        if best is not None and time.monotonic() - started > MAX_SECONDS:
            break
        model.C = strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is as good here
            model.fit(features, labels)
        weight, bias = _both_classes(model.coef_ / scale, model.intercept_, num_classes)
        loss, error = _measure(validation_features @ weight.T + bias, validation_labels)
        if best is None or loss < best.validation_loss:
            best = LinearProbe(weight, bias, loss, error)
    assert best is not None
    return best


def _both_classes(weight: NDArray[np.floating], bias: NDArray[np.floating], num_classes: int) -> tuple[Floats, Floats]:
    """One row per class, also of two classes, for which scikit-learn has the difference only."""
    if num_classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight.astype(np.float32), bias.astype(np.float32)


def _measure(logits: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Mean cross-entropy and top-1 error."""
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -float(log_probabilities[np.arange(len(labels)), labels].mean())
    return loss, float((logits.argmax(1) != labels).mean())
