"""When a cached count is counted again."""

from __future__ import annotations

import pytest

from index import cached_count
from index.cached_count import CachedCount


class Images:
    """A number of images, which counts how often it is counted."""

    def __init__(self) -> None:
        self.number, self.times_counted = 5, 0
        self.cached = CachedCount(self.count)

    def count(self) -> int:
        self.times_counted += 1
        return self.number


def test_it_is_counted_again_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images()
    assert (images.cached.value(), images.cached.value(), images.times_counted) == (5, 5, 1)
    images.number = 6
    images.cached.invalidate()
    assert (images.cached.value(), images.cached.value(), images.times_counted) == (6, 6, 2)
    monkeypatch.setattr(cached_count, "MAX_AGE_SECONDS", 0)
    images.number = 7
    assert images.cached.value() == 7


def test_a_count_that_began_before_a_change_is_not_kept() -> None:
    """The change is committed and invalidates the count after the database was read, before its answer arrives."""
    number = 5

    def count() -> int:
        nonlocal number
        before, number = number, 6
        if before == 5:
            cached.invalidate()
        return before

    cached = CachedCount(count)
    assert cached.value() == 5
    assert cached.value() == 6
