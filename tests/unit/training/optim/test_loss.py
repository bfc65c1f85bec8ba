"""The loss of training, against torch's own and against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.optim.competition import Competition
from training.optim.loss import Targets, balanced_class_weights, chance_loss, training_loss

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2, 3, 0, 1])
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)


def test_without_options_it_is_torch_s_cross_entropy() -> None:
    assert training_loss(LOGITS, Targets(CLASSES)).equal(F.cross_entropy(LOGITS, CLASSES, reduction="sum"))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_with_itself_it_is_torch_s_too(smoothing: float, weights: torch.Tensor | None) -> None:
    each = F.cross_entropy(LOGITS, CLASSES, reduction="none", label_smoothing=smoothing)
    expected = each.sum() if weights is None else (weights[CLASSES] * each).sum()
    itself = Targets(CLASSES, CLASSES, torch.full((6,), 0.7))
    torch.testing.assert_close(training_loss(LOGITS, itself, smoothing, weights), expected)
    torch.testing.assert_close(training_loss(LOGITS, Targets(CLASSES), smoothing, weights), expected)


def test_a_mixed_image_has_the_losses_of_both_classes() -> None:
    partners, shares = CLASSES.flip(0), torch.linspace(0.5, 1, 6, dtype=torch.float64)
    own, other = (F.cross_entropy(LOGITS, classes, reduction="none") for classes in (CLASSES, partners))
    expected = (shares * own + (1 - shares) * other).sum()
    torch.testing.assert_close(training_loss(LOGITS, Targets(CLASSES, partners, shares)), expected)


def test_excluded_classes_have_no_probability_and_no_gradient() -> None:
    excluded = torch.zeros(6, 4, dtype=torch.bool)
    excluded[0, 2:] = True
    logits = LOGITS.clone().requires_grad_()
    loss = training_loss(logits, Targets(CLASSES, excluded=excluded), 0.1)
    expected = F.cross_entropy(LOGITS[:1, :2], CLASSES[:1], label_smoothing=0.1) + F.cross_entropy(
        LOGITS[1:], CLASSES[1:], reduction="sum", label_smoothing=0.1
    )
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[0, 2:].any()
    assert logits.grad.isfinite().all()


def test_class_weights_balance_classes() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2])
    weights = balanced_class_weights(labels, 3)
    assert weights[labels].mean() == pytest.approx(1)
    assert (weights * np.bincount(labels)).tolist() == pytest.approx([100 / 3] * 3)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_no_constant_prediction_is_better_than_guessing(smoothing: float, balanced: bool) -> None:
    labels = np.repeat(np.arange(3), (90, 9, 1))
    weights = balanced_class_weights(labels, 3) if balanced else None
    expected = chance_loss(labels, 3, smoothing, weights)
    loss_weights = None if weights is None else torch.from_numpy(weights)
    targets, logits = Targets(torch.from_numpy(labels)), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def measure() -> float:
        optimizer.zero_grad()
        loss = training_loss(logits.expand(100, 3), targets, smoothing, loss_weights) / 100
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(measure)  # type: ignore[no-untyped-call]
    assert measure() == pytest.approx(expected, rel=1e-6)
    if balanced and not smoothing:
        assert expected == pytest.approx(np.log(3))  # every class counts the same


def test_images_compete_within_their_source() -> None:
    sources, labels = ["a", "a", "b", "b", "a"], np.array([0, 1, 1, 2, 3])
    train = np.arange(4)  # the last image, of class 3, is of another split
    rows = np.array([0, 2])
    competition = Competition(sources, labels, train, 4, 1.0, 0)
    excluded = competition.excluded(0, rows)
    assert excluded is not None
    assert excluded.tolist() == [[False, False, True, True], [True, False, False, True]]
    mixed = competition.excluded(0, rows, np.array([3, 3]))
    assert mixed is not None
    assert mixed.tolist() == [[False, False, False, True], [True, False, False, True]]
    assert Competition(["a"] * 5, labels, train, 4, 1.0, 0).excluded(0, rows) is None
    many = np.tile(rows, 1)
    shares = [Competition(sources, labels, train, 4, 0.25, seed).excluded(0, many) for seed in range(400)]
    assert 0.2 < np.mean([share is not None and share[0].any() for share in shares]) < 0.3


def test_kinds_within_a_class_are_no_sources() -> None:
    """As in cat/siamese and dog/poodle: an image would compete with no other class, and teach nothing."""
    labels, rows = np.array([0, 0, 1, 1]), np.arange(4)
    competition = Competition(["siamese", "persian", "poodle", ""], labels, rows, 2, 1.0, 0)
    assert competition.excluded(0, rows) is None
    assert competition.num_sources == 1


@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_weigh_images_and_not_their_smoothed_targets(smoothing: float, mixes: bool) -> None:
    """The best answer to an image of a frequent class is that class, however rare the others are."""
    weights = torch.tensor([0.5, 50.0], dtype=torch.float64)
    logits = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    first = torch.tensor([0])
    targets = Targets(first, first, torch.tensor([0.7])) if mixes else Targets(first)
    loss = training_loss(logits, targets, smoothing, weights)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0.5 * np.log(2))
    target = np.array([1 - smoothing / 2, smoothing / 2])
    np.testing.assert_allclose(gradient.numpy()[0], 0.5 * (0.5 - target))


def test_a_rare_image_that_is_mixed_in_counts_by_its_share() -> None:
    weights = torch.tensor([0.5, 50.0])
    targets = Targets(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.75]))
    loss = training_loss(torch.zeros(1, 2), targets, 0.2, weights)
    assert loss.item() == pytest.approx((0.75 * 0.5 + 0.25 * 50) * np.log(2))


def test_other_images_compete_within_their_source_in_each_epoch() -> None:
    labels, rows = np.arange(40) % 4, np.arange(40)
    competition = Competition(["ab"[label % 2] for label in labels], labels, rows, 4, 0.5, 0)
    first, second = (competition.excluded(epoch, rows) for epoch in (0, 1))
    assert first is not None
    assert second is not None
    restricted = [excluded.any(1) for excluded in (first, second)]
    assert all(0 < each.sum() < 40 for each in restricted)
    assert (restricted[0] != restricted[1]).any()
