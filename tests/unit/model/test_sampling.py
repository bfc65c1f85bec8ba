"""Samples are random by their seed, and in order."""

from __future__ import annotations

from model.sampling import draw_sample


def test_a_sample_is_random_and_in_order() -> None:
    items = list(range(50))
    drawn = draw_sample(items, 10)
    assert len(drawn) == 10
    assert drawn == sorted(drawn) == draw_sample(items, 10) != items[:10]
    assert drawn != draw_sample(items, 10, seed=1)
    assert draw_sample(items, None) == draw_sample(items, 60) == items
