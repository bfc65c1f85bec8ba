"""A linear probe fits classes that can be told apart, and never predicts a class that it hasn't seen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.evaluation.linear_probe import C_VALUES, fit_linear_probe


def clusters(num_classes: int, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features of `count` images per class, around one center per class, and their labels."""
    labels = np.arange(num_classes).repeat(count)
    centers = 3 * np.eye(num_classes, 16)
    return (centers[labels] + generator.normal(0, 0.5, (len(labels), 16))).astype(np.float32), labels


@pytest.mark.parametrize("num_classes", [2, 5])
def test_classes_are_told_apart(num_classes: int) -> None:
    generator = np.random.default_rng(0)
    train, validation = (clusters(num_classes, count, generator) for count in (20, 5))
    probe = fit_linear_probe(*train, validation[0][:, None], validation[1], num_classes)
    assert probe.weight.shape == (num_classes, 16)
    logits = validation[0] @ probe.weight.T + probe.bias
    assert (logits.argmax(1) == validation[1]).all()
    likelihoods = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(likelihoods[np.arange(len(logits)), validation[1]]).mean()
    assert probe.validation_loss == pytest.approx(expected, rel=1e-4)


def test_two_classes_have_the_probabilities_of_one_difference() -> None:
    """scikit-learn fits only one weight vector for two classes."""
    generator = np.random.default_rng(0)
    train, labels = clusters(2, 20, generator)
    train += generator.normal(0, 3, train.shape).astype(np.float32)
    probe = fit_linear_probe(train.copy(), labels, train[:, None], labels, 2)
    scale = np.linalg.norm(train) / np.sqrt(train.size)
    models = [LogisticRegression(C=strength, max_iter=1000).fit(train / scale, labels) for strength in C_VALUES]
    logits = train @ probe.weight.T + probe.bias
    ours = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert min(np.abs(model.predict_proba(train / scale) - ours).max() for model in models) < 0.01
    assert 0.6 < ours.max() < 1


def test_noise_is_regularized() -> None:
    """The features say nothing about the labels; an unregularized fit would be sure of its mistakes."""
    generator = np.random.default_rng(0)
    (train, labels), (validation, truth) = (clusters(2, count, generator) for count in (20, 20))
    noise, other = (generator.normal(0, 1, features.shape).astype(np.float32) for features in (train, validation))
    probe = fit_linear_probe(noise, labels, other[:, None], truth, 2)
    assert probe.validation_loss < 1.1 * np.log(2)


def test_a_class_without_images_is_never_predicted() -> None:
    generator = np.random.default_rng(0)
    (train, labels), (validation, truth) = (clusters(3, count, generator) for count in (20, 5))
    kept = labels != 1
    probe = fit_linear_probe(train[kept], labels[kept], validation[:, None], truth, 3)
    assert set((validation @ probe.weight.T + probe.bias).argmax(1)) == {0, 2}
    only = labels == 2
    alone = fit_linear_probe(train[only], labels[only], validation[:, None], truth, 3)
    assert set((validation @ alone.weight.T + alone.bias).argmax(1)) == {2}


def test_small_classes_count_more_if_balanced() -> None:
    generator = np.random.default_rng(0)
    labels = np.array([0] * 95 + [1] * 5)
    features = generator.normal(0, 1, (100, 4)).astype(np.float32)
    plain, balanced = (
        fit_linear_probe(features.copy(), labels, features[:20, None], labels[:20], 2, balanced=flag)
        for flag in (False, True)
    )
    assert plain.bias[0] - plain.bias[1] > 2 > abs(balanced.bias[0] - balanced.bias[1])


def test_the_regularization_is_chosen_for_all_crops() -> None:
    """The center crop alone needs little regularization; other crops that look like another class need more."""
    generator = np.random.default_rng(1)
    (train, labels), (validation, truth) = (clusters(5, count, generator) for count in (20, 20))
    others = [validation[(truth + 1) % 5 * 20] for _ in range(9)]
    center = fit_linear_probe(train.copy(), labels, validation[:, None], truth, 5)
    several = fit_linear_probe(train.copy(), labels, np.stack([validation, *others], 1), truth, 5)
    assert np.linalg.norm(several.weight) < 0.5 * np.linalg.norm(center.weight)
    for probe in (center, several):
        assert ((validation @ probe.weight.T + probe.bias).argmax(1) == truth).all()


def test_a_fit_without_time_for_all_strengths_says_so() -> None:
    generator = np.random.default_rng(0)
    (train, labels), (validation, truth) = (clusters(5, count, generator) for count in (20, 5))
    whole = fit_linear_probe(train.copy(), labels, validation[:, None], truth, 5)
    hurried = fit_linear_probe(train.copy(), labels, validation[:, None], truth, 5, max_cpu_seconds=0)
    assert (whole.ran_out_of_time, hurried.ran_out_of_time) == (False, True)
    assert hurried.validation_loss > whole.validation_loss
