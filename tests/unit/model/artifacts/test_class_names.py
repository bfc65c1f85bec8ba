"""Class names where there is little room: two never look the same."""

from __future__ import annotations

from model.artifacts.class_names import name_in_figure, short_names


def test_synonyms_are_left_out_where_the_first_is_enough() -> None:
    assert short_names(["tench, Tinca tinca", "crane, machine", "crane, bird", "cat"]) == [
        "tench", "crane, machine", "crane, bird", "cat",
    ]  # fmt: skip


def test_names_with_a_comma_stay_apart() -> None:
    cells = [f"{kind}, defect {percent} %" for kind in ("mono", "poly") for percent in (0, 33, 67, 100)]
    assert short_names(cells) == cells


def test_long_names_are_wrapped() -> None:
    assert name_in_figure("poly, defect 100 %", 12) == "poly, defect\n100 %"
    assert name_in_figure("a b " * 40, 10, 2).endswith("…")
    assert name_in_figure("") == ""
