"""The range test of the learning rate: what is found on curves with a known answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from training.optim.range_test import (
    HIGHEST,
    LOWEST,
    NUM_STEPS,
    RANGE_TEST,
    find_rate,
    has_diverged,
    rate_of_step,
    read_range_test,
)

RATES = [rate_of_step(step) for step in range(NUM_STEPS)]


def curve(falls_at: float) -> list[float]:
    """Losses that fall from 2 to 1 around the rate `falls_at`, and explode above ten times that rate."""
    position = np.log10(np.array(RATES) / falls_at)
    return [*(1.5 - 0.5 * np.tanh(3 * position) + 50 * np.maximum(position - 1, 0) ** 2)]


def test_rates_are_spread_evenly() -> None:
    assert math.isclose(RATES[0], LOWEST)
    assert math.isclose(RATES[-1], HIGHEST)
    assert np.allclose(np.diff(np.log(RATES)), np.log(RATES[1] / RATES[0]))


def test_the_rate_where_the_loss_falls_fastest_is_found() -> None:
    for falls_at in (0.0005, 0.01):
        best_rate = find_rate(RATES, curve(falls_at)).best_rate
        assert best_rate is not None
        assert falls_at / 2 < best_rate < 4 * falls_at  # the moving average lags behind


def test_a_fitted_output_layer_takes_a_tenth_of_the_rate_with_the_lowest_loss() -> None:
    """Its loss falls from the first step on, and fastest while the average has seen only a few losses."""
    position = np.log10(np.array(RATES) / 0.004)
    losses = [*(2 - 0.4 * np.minimum(position, 0) + 20 * np.maximum(position, 0) ** 2)]
    losses[:4] = [4.4, 5.5, 4.9, 3.5]
    alone, fitted = (find_rate(RATES, losses, fitted).best_rate for fitted in (False, True))
    assert alone is not None
    assert fitted is not None
    assert alone < 2e-5
    assert 0.0003 < fitted < 0.0009


def test_a_loss_that_never_falls_finds_none() -> None:
    noise = list(2 + 0.01 * np.random.default_rng(0).normal(size=NUM_STEPS))
    assert find_rate(RATES, noise).best_rate is None
    assert find_rate(RATES, [2.0, float("nan")]).best_rate is None


def test_it_ends_when_the_loss_explodes(tmp_path: Path) -> None:
    losses = curve(0.001)
    ends = [number for number in range(1, NUM_STEPS) if has_diverged(losses[:number])]
    assert RATES[ends[0]] < 0.1
    assert has_diverged([1.0, float("nan")])
    test = find_rate(RATES, [*losses[: ends[0]], float("inf")])
    assert len(test.losses) == ends[0]
    test.write(tmp_path)
    assert read_range_test(tmp_path) == test
    (tmp_path / RANGE_TEST).write_text("{")
    assert read_range_test(tmp_path) is None
