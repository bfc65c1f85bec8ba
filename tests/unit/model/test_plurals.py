"""Counts with their noun."""

from __future__ import annotations

from model.plurals import count_of


def test_one_and_many() -> None:
    assert [count_of(number, "step") for number in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]
    assert [count_of(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]
