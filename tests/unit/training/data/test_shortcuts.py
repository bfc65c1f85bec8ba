"""Classes that file traits give away, and data in which they don't."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.artifacts.artifact import Label
from training.data.shortcuts import ClassShortcut, Shortcuts, can_use_sources, find_shortcuts
from training.data.traits import TRAITS, Traits

CLASSES = tuple(Label(id=name, name=name) for name in ("elm", "oak", "yew"))


def make_traits(count: int, seed: int = 0) -> tuple[Traits, NDArray[np.int64]]:
    """Traits and labels of images in three classes that the traits don't tell apart."""
    generator = np.random.default_rng(seed)
    traits = np.zeros(count, TRAITS)
    traits["digest"] = generator.integers(1, 2**63, (count, 2))
    traits["format"] = "JPEG"
    traits["width"], traits["height"] = generator.integers(300, 900, (2, count))
    traits["bytes"] = traits["width"] * traits["height"] * generator.uniform(0.1, 0.4, count)
    traits["sharpness"] = generator.uniform(5, 20, count)
    return traits, generator.integers(0, 3, count)


def find(traits: Traits, labels: NDArray[np.int64], sources: list[str] | None = None) -> Shortcuts:
    shortcuts = find_shortcuts(traits, labels, sources or [""] * len(labels), CLASSES)
    assert shortcuts is not None
    return shortcuts


def test_no_shortcut() -> None:
    for seed in range(5):
        shortcuts = find(*make_traits(300, seed))
        assert not shortcuts.is_suspicious
        assert shortcuts.interval[0] < shortcuts.majority + 0.05
        assert "source" not in shortcuts.by_trait


def test_a_class_in_another_format() -> None:
    traits, labels = make_traits(300)
    traits["format"][labels == 1] = "PNG"
    shortcuts = find(traits, labels)
    assert shortcuts.is_suspicious
    assert [str(shortcut) for shortcut in shortcuts.classes] == ["all of oak are PNG, none of the others"]
    assert shortcuts.by_trait["format"] > 0.6 > shortcuts.majority + 0.2
    assert shortcuts.by_trait["width"] < 0.45


def test_a_class_of_another_size_but_for_a_few() -> None:
    traits, labels = make_traits(400)
    places = np.flatnonzero(labels == 2)
    traits["width"][places[3:]] = 1024
    (shortcut,) = find(traits, labels).classes
    assert shortcut.label.id == "yew"
    assert shortcut.trait == f"are more than {traits['width'][traits['width'] < 1024].max()} pixels wide"
    assert shortcut.share == pytest.approx(1 - 3 / len(places))


def test_sources_that_are_not_kinds_of_a_class() -> None:
    traits, labels = make_traits(300)
    sources = [("home", "shop")[label % 2] for label in labels]
    assert can_use_sources(sources, labels)
    shortcuts = find(traits, labels, sources)
    assert shortcuts.by_trait["source"] > 0.6
    assert [shortcut.label.id for shortcut in shortcuts.classes] == ["oak"]
    assert shortcuts.classes[0].trait == "are from shop"
    kinds = [f"kind {label}{'ab'[place % 2]}" for place, label in enumerate(labels)]
    assert not can_use_sources(kinds, labels)


def test_what_an_image_shows_may_change_its_size_in_bytes() -> None:
    """Compression and sharpness that depend a little on the class are no shortcut; those that determine it are."""
    traits, labels = make_traits(400)
    traits["bytes"] = traits["bytes"] * np.where(labels == 0, 1.3, 1)
    assert not find(traits, labels).is_suspicious
    traits["bytes"][labels == 0] = 2 * traits["width"][labels == 0] * traits["height"][labels == 0]
    assert [shortcut.label.id for shortcut in find(traits, labels).classes] == ["elm"]


def test_copies_do_not_count_as_evidence() -> None:
    """Six images, fifty copies each: a tree must not be tested on copies of images that it was fitted to."""
    traits, _ = make_traits(6)
    labels = np.array([0, 1, 2, 0, 1, 2])
    shortcuts = find(np.repeat(traits, 50), np.repeat(labels, 50))
    assert shortcuts.accuracy < 0.6


def test_too_few_images() -> None:
    traits, labels = make_traits(30)
    assert find_shortcuts(traits, labels, [""] * 30, CLASSES) is None


def test_one_image_of_many_is_neither_none_nor_all() -> None:
    shares = [(1.0, 0.0), (0.997, 0.003), (0.974, 0.02)]
    assert [str(ClassShortcut(CLASSES[1], "are PNG", *pair)) for pair in shares] == [
        "all of oak are PNG, none of the others",
        "over 99 % of oak are PNG, under 1 % of the others",
        "97 % of oak are PNG, 2 % of the others",
    ]
