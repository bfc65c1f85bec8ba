"""Features of synthetic classes are familiar; features with other directions or lengths aren't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.artifacts.familiarity import UNFAMILIAR_QUANTILE, Familiarity
from training.evaluation.familiarity import fit_familiarity

DIM, CLASSES = 96, 6
CENTERS = np.random.default_rng(0).uniform(0, 4, (CLASSES, DIM)) * np.random.default_rng(1).integers(
    0, 2, (CLASSES, DIM)
)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of the classes, as after a ReLU, and their labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    features = np.maximum(CENTERS[labels] + generator.normal(0, 0.6, (count, DIM)), 0)
    return features.astype(np.float32), labels


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    return fit_familiarity(*draw(600, 1), {1: draw(300, 2)[0]})


def quantiles(fitted: Familiarity, features: np.ndarray) -> np.ndarray:
    return np.array([fitted.quantile(feature, 1) for feature in features])


def test_is_the_share_of_held_out_images_that_are_less_familiar(fitted: Familiarity) -> None:
    own = quantiles(fitted, draw(400, 3)[0])
    assert own.min() >= 0
    assert own.max() <= 1
    assert np.mean(own) == pytest.approx(0.5, abs=0.08)
    assert np.mean(own < UNFAMILIAR_QUANTILE) < 0.06


@pytest.mark.parametrize("kind", ["other direction", "too long", "too short", "nothing"])
def test_other_features_are_unfamiliar(fitted: Familiarity, kind: str) -> None:
    features = draw(50, 4)[0]
    others = {
        "other direction": np.random.default_rng(5).permuted(features, axis=1),
        "too long": 3 * features,
        "too short": features / 3,
        "nothing": 0 * features,
    }[kind]
    assert np.mean(quantiles(fitted, others) < UNFAMILIAR_QUANTILE) > 0.9


def test_classes_vary_alike_in_all_directions(fitted: Familiarity) -> None:
    """The covariance within classes becomes the identity, however far apart their means are."""
    features, labels = draw(600, 1)
    points = features / np.linalg.norm(features, axis=1, keepdims=True) @ fitted.projection
    within = points - np.stack([points[labels == label].mean(0) for label in range(CLASSES)])[labels]
    np.testing.assert_allclose(np.cov(within.T, bias=True), np.eye(points.shape[1]), atol=0.05)  # but for the ridge
    assert points.var(0).max() > 10


def test_only_for_crops_that_were_measured(fitted: Familiarity) -> None:
    assert fitted.quantile(draw(1, 6)[0][0], 10) is None


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_images_are_enough_to_say_something(count: int) -> None:
    features, labels = draw(count, 7)
    fitted = fit_familiarity(features, labels, {1: draw(3, 8)[0]})
    assert np.isfinite(fitted.scores(features, 1)).all()


def test_the_file_is_small_and_has_what_was_fitted(fitted: Familiarity, tmp_path: Path) -> None:
    fitted.write(tmp_path / "familiarity.npz")
    fitted.write(tmp_path / "again.npz")
    data = (tmp_path / "familiarity.npz").read_bytes()
    assert data == (tmp_path / "again.npz").read_bytes()
    assert len(data) < 2 * (DIM + CLASSES) * DIM + 4 * 300 + 2000
