"""The plateau rule: a tenth after `patience` epochs without a better error, a fixed number of times, then the end."""

from __future__ import annotations

from training.schedule import Plateau


def test_three_drops_then_the_end() -> None:
    plateau = Plateau(rate=0.01, patience=2, drops_left=3)
    plateau.update(0.5)
    rates = []
    while not plateau.over:
        rates.append(plateau.rate)
        plateau.update(0.5)
    rates = rates[1:]
    assert [f"{rate:g}" for rate in rates] == ["0.01", "0.001", "0.001", "0.0001", "0.0001", "1e-05", "1e-05"]


def test_a_better_error_resets_the_wait() -> None:
    plateau = Plateau(rate=0.01, patience=2, drops_left=1)
    for error in (0.5, 0.5, 0.4, 0.4, 0.3):
        plateau.update(error)
    assert not plateau.over
    assert plateau.rate == 0.01


def test_state_goes_round() -> None:
    plateau = Plateau(rate=0.01, patience=3, drops_left=2)
    plateau.update(0.4)
    plateau.update(0.5)
    assert Plateau(**plateau.state()) == plateau
