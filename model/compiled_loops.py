"""`compile_loop`: a function that numba compiles on its first call, and keeps on the disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compile_loop(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a loop with `numba.njit`, which takes `options`; it releases the GIL.

    Machine code is kept beside the module, or below the home directory or NUMBA_CACHE_DIR. Where none can be written,
    as for a service without a home, each process compiles again, which takes seconds.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return njit(nogil=True, **options)(function)

    return decorate
