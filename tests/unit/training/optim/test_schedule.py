"""The plateau rule: a tenth after `patience` epochs without a better error, a fixed number of times, then the end.

Also the authors' fixed epochs, the cosine, and how each schedule adapts to the length of the run.
"""

from __future__ import annotations

import pytest

from model.network.registry import build_spec
from training.config import RecipeOptions
from training.optim.schedule import COSINE_END, Milestones, Plateau, create_schedule, warmup_factor
from training.optim.sgd import scheduled_learning_rates
from training.recipes import RECIPES


def test_three_drops_then_the_end() -> None:
    plateau = Plateau(patience=2, drops_left=3)
    plateau.update(0.5)
    factors = []
    for _ in range(8):
        assert not plateau.finished
        factors.append(plateau.factor)
        plateau.update(0.5)
    assert plateau.finished
    assert [f"{factor:g}" for factor in factors[1:]] == ["1", "0.1", "0.1", "0.01", "0.01", "0.001", "0.001"]


def test_a_better_error_resets_the_wait() -> None:
    plateau = Plateau(patience=2, drops_left=1)
    for error in (0.5, 0.5, 0.4, 0.4, 0.3):
        plateau.update(error)
    assert not plateau.finished
    assert plateau.factor == 1


@pytest.mark.parametrize("name", ["paper", "source", "photos"])
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
        rates = scheduled_learning_rates(spec, recipe, schedule.advance(0), epoch, {})
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


def test_biases_follow_a_cosine() -> None:
    """In the authors' program, biases don't follow the drops of the learning rate; it had no cosine."""
    recipe = RecipeOptions("source", schedule="cosine").resolve()
    rates = scheduled_learning_rates(build_spec(recipe.network), recipe, 0.5, 0, {})
    assert rates["conv2.bias"] == 2 * rates["conv2.weight"] == recipe.learning_rate


def test_a_shorter_run_has_its_epochs_in_proportion() -> None:
    recipe = RECIPES["source"].with_epochs(9)
    assert recipe.milestones == pytest.approx((25 * 9 / 91, 51 * 9 / 91, 79 * 9 / 91))
    assert recipe.color_end_epoch == pytest.approx(67 * 9 / 91)


def test_a_short_run_has_its_drops_at_the_latest() -> None:
    schedule = create_schedule(RecipeOptions("small", epochs=12).resolve())
    factors = []
    for epoch in range(12):
        factors.append(schedule.advance(epoch / 12))
        schedule.update(1 / (epoch + 1))  # always better
    assert factors == pytest.approx([1] * 8 + [0.1] * 2 + [0.01] * 2)
    assert create_schedule(RecipeOptions("small", epochs=12).resolve(), schedule.state()) == schedule
    early = create_schedule(RecipeOptions("small", epochs=12, patience=2).resolve())
    for _ in range(3):
        early.update(0.5)
    assert early.advance(0.1) == pytest.approx(0.1)  # the plateau comes first
    assert early.advance(0.7) == pytest.approx(0.1)  # the drop that is due was already made
    assert early.advance(0.9) == pytest.approx(0.01)


def test_a_longer_run_has_its_rate_again() -> None:
    short, long = (RecipeOptions("small", epochs=epochs).resolve() for epochs in (2, 4))
    schedule = create_schedule(short)
    schedule.update(0.5)
    assert schedule.advance(0.9) == pytest.approx(0.01)
    resumed = create_schedule(long, schedule.state(), new_length=True)
    assert [resumed.advance(progress) for progress in (0.5, 0.7, 0.9)] == pytest.approx([1, 0.1, 0.01])
    assert isinstance(resumed, Plateau)
    assert resumed.best == 0.5


def test_a_run_of_the_paper_has_no_latest_drops() -> None:
    schedule = create_schedule(RECIPES["paper"])
    assert [schedule.advance(progress) for progress in (0.0, 0.5, 0.99)] == [1, 1, 1]


def test_a_cosine_with_warm_up() -> None:
    recipe = RECIPES["photos"]
    schedule = create_schedule(recipe)
    factors = {p: schedule.advance(p) * warmup_factor(recipe, p) for p in (0.0, 0.015, 0.03, 0.25, 0.5, 0.75, 1.0)}
    assert factors[0.0] == pytest.approx(0.0005 / 0.03)
    assert factors[0.015] == pytest.approx(0.5, rel=0.05)
    assert factors[0.25] == pytest.approx((1 + 0.5**0.5) / 2, rel=0.01)
    assert factors[0.5] == pytest.approx(0.5, rel=0.01)
    assert factors[1.0] == COSINE_END
    assert warmup_factor(RECIPES["paper"], 0.0) == 1


def test_the_rate_is_in_proportion_to_the_batch() -> None:
    assert RECIPES["paper"].with_batch_size(256).learning_rate == pytest.approx(0.02)
