"""Random samples of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def draw_sample(items: Sequence[T], count: int | None, seed: int = 0) -> list[T]:
    """At most `count` random items, in their original order; None: all items."""
    drawn = np.random.default_rng(seed).permutation(len(items))[:count]
    return [items[place] for place in np.sort(drawn)]
