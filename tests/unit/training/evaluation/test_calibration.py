"""The fitted temperature is the one that drew the labels, and the calibration error is as computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    mean_softmax,
    negative_log_likelihood,
)


def draw_labels(temperature: float, crops: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of 4,000 images in five classes, and labels drawn from their probabilities at a temperature."""
    generator = np.random.default_rng(0)
    own, crop = generator.normal(0, 4, (4000, 1, 5)), generator.normal(0, 2, (4000, crops, 5))
    logits = (own + crop).astype(np.float32)
    chances = mean_softmax(logits, temperature)
    labels = (chances.cumsum(1) < generator.uniform(size=(4000, 1))).sum(1).clip(max=4)
    return logits, labels


@pytest.mark.parametrize(("temperature", "crops"), [(0.5, 1), (2.0, 1), (2.0, 10), (5.0, 10)])
def test_finds_the_temperature_that_made_the_labels(temperature: float, crops: int) -> None:
    logits, labels = draw_labels(temperature, crops)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.1)
    served, before = (mean_softmax(logits, value) for value in (fitted, 1.0))
    assert negative_log_likelihood(served, labels) < negative_log_likelihood(before, labels)
    assert expected_calibration_error(served, labels) < expected_calibration_error(before, labels)


def test_a_few_images_that_are_all_right_make_no_answer_certain() -> None:
    logits = np.array([[[2.0, 0.0]], [[0.0, 2.0]], [[1.5, 0.0]], [[2.5, 0.0]], [[0.0, 3.0]]], np.float32)
    labels = logits[:, 0].argmax(1)
    assert 0.3 < fit_temperature(logits, labels) < 1
    assert mean_softmax(logits, fit_temperature(logits, labels)).max() < 0.999
    assert fit_temperature(np.tile(logits, (400, 1, 1)), np.tile(labels, 400)) < 0.25


def test_the_order_of_the_classes_of_a_crop_stays() -> None:
    logits = np.random.default_rng(1).normal(0, 3, (50, 1, 7)).astype(np.float32)
    np.testing.assert_array_equal(mean_softmax(logits, 0.3).argsort(1), mean_softmax(logits, 4.0).argsort(1))


def test_the_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], np.float32)
    labels = np.array([0, 1, 0, 1])
    # 15 bins: 0.9 twice, one of them right; 0.6, right; 0.7, right
    assert expected_calibration_error(probabilities, labels) == pytest.approx((0.8 + 0.4 + 0.3) / 4, abs=1e-6)
    certain = np.eye(2, dtype=np.float32)[labels]
    assert expected_calibration_error(certain, labels) == 0
    assert expected_calibration_error(certain, 1 - labels) == 1
    last = np.array([[0.97, 0.03], [1.0, 0.0]], np.float32)  # in one bin, doubt and overconfidence cancel
    assert expected_calibration_error(last, np.array([0, 1])) == pytest.approx((1 - 0.03) / 2, abs=1e-6)
