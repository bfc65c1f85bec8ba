"""A stand-in for a loaded model, which counts who holds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class CountedModel:
    """Its index does nothing but say that it can be written."""

    def __init__(self) -> None:
        self.holders, self.model = 0, None

    def require_index(self) -> Any:
        return SimpleNamespace(check_writable=lambda: None)

    def hold(self) -> None:
        self.holders += 1

    def release(self) -> None:
        self.holders -= 1
