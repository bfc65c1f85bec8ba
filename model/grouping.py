"""Groups of items that are alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def group_duplicates(items: Iterable[T], key: Callable[[T], Hashable | None]) -> list[list[T]]:
    """Groups of at least two items with the same key; items whose key is None are in no group."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        if (value := key(item)) is not None:
            groups.setdefault(value, []).append(item)
    return [group for group in groups.values() if len(group) > 1]
