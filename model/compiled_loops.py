"""`compile_loop`: a decorator that has numba compile a function on its first call and cache it on disk if possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compile_loop(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a loop with `numba.njit`, which takes `options`; the loop releases the GIL.

    The machine code is cached beside the module, or below the home directory or NUMBA_CACHE_DIR. If none of these is
    writable, as for a service without a home directory, each process compiles again, which takes seconds.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return njit(nogil=True, **options)(function)

    return decorate
