"""Compiled loops: where nothing can be written, as for a service without a home, they are compiled without a cache."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.caching import CacheImpl

from model.compiled_loops import compile_loop


def double(values: np.ndarray, factor: int) -> None:
    for i in range(len(values)):
        values[i] *= factor


@pytest.mark.parametrize("is_writable", [True, False])
def test_loops_are_compiled_with_and_without_a_place_for_them(
    monkeypatch: pytest.MonkeyPatch, is_writable: bool
) -> None:
    if not is_writable:
        monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    compiled = compile_loop(error_model="numpy")(double)
    values = np.arange(3)
    compiled(values, 2)
    assert values.tolist() == [0, 2, 4]
    assert bool(compiled.stats.cache_path) == is_writable
