"""The plateau rule: a tenth after `patience` epochs without a better error, a fixed number of times, then the end.

And the authors' fixed epochs.
"""

from __future__ import annotations

import pytest

from model.network.registry import build_spec
from training.config import RECIPES
from training.optim.schedule import Milestones, Plateau, create_schedule
from training.optim.sgd import scheduled_learning_rates


def test_three_drops_then_the_end() -> None:
    plateau = Plateau(patience=2, drops_left=3)
    plateau.update(0.5)
    factors = []
    while not plateau.finished:
        factors.append(plateau.factor)
        plateau.update(0.5)
    assert [f"{factor:g}" for factor in factors[1:]] == ["1", "0.1", "0.1", "0.01", "0.01", "0.001", "0.001"]


def test_a_better_error_resets_the_wait() -> None:
    plateau = Plateau(patience=2, drops_left=1)
    for error in (0.5, 0.5, 0.4, 0.4, 0.3):
        plateau.update(error)
    assert not plateau.finished
    assert plateau.factor == 1


@pytest.mark.parametrize("name", ["paper", "source"])
def test_state_round_trip(name: str) -> None:
    schedule = create_schedule(RECIPES[name])
    for error in (0.4, 0.5, 0.6):
        schedule.update(error)
    assert create_schedule(RECIPES[name], schedule.state()) == schedule


def test_the_authors_epochs() -> None:
    """145 on ILSVRC-2012: 1e-2, 1e-3 from epoch 25, 1e-4 from 51, 1e-5 from 79; conv1 1e-5 from 67, frozen from 72."""
    recipe = RECIPES["source"]
    spec = build_spec(recipe.network)
    schedule = create_schedule(recipe)
    assert isinstance(schedule, Milestones)
    seen = {}
    for epoch in range(recipe.epochs):
        rates = scheduled_learning_rates(spec, recipe, schedule.factor, epoch, {})
        seen[epoch] = tuple(
            f"{rate:.0e}" for rate in (rates["conv1.weight"], rates["conv2.weight"], rates["conv2.bias"])
        )
        schedule.update(0.5)
    assert [seen[epoch] for epoch in (24, 25, 51, 67, 72, 79)] == [
        ("1e-02", "1e-02", "2e-02"),
        ("1e-03", "1e-03", "2e-02"),
        ("1e-04", "1e-04", "2e-02"),
        ("1e-05", "1e-04", "2e-02"),
        ("0e+00", "1e-04", "2e-02"),
        ("0e+00", "1e-05", "2e-02"),
    ]


def test_a_shorter_run_has_its_epochs_in_proportion() -> None:
    recipe = RECIPES["source"].with_epochs(9)
    assert recipe.milestones == pytest.approx((25 * 9 / 91, 51 * 9 / 91, 79 * 9 / 91))
    assert recipe.color_end_epoch == pytest.approx(67 * 9 / 91)


def test_the_rate_is_in_proportion_to_the_batch() -> None:
    assert RECIPES["paper"].with_batch_size(256).learning_rate == pytest.approx(0.02)
