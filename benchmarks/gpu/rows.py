"""Write the rows of a GPU benchmark part, each as soon as it is measured, so that a crash loses no earlier row."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import typer

MAX_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class PartOptions:
    """Where and how a part is measured. `is_quick`: tiny sizes, which check the program and say nothing about speed."""

    device: Literal["cuda", "cpu"]
    is_quick: bool = False


@dataclass
class PartRows:
    """The rows of a part, by name: measured values, errors of failed rows, and reasons for rows that were left out."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> PartRows:
        """Read what `RowWriter` wrote, up to the last complete line; empty if there is no file."""
        result = cls()
        lines = file.read_text().split("\n")[:-1] if file.is_file() else []
        for name, kind, value in map(json.loads, lines):
            getattr(result, kind)[name] = value
        return result


class RowWriter:
    """Measures the rows of a part and appends each to a file. A row that fails is written with its error."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.num_errors = 0

    def measure(self, name: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any] | None:
        """The values that `measure` returns; None if it fails."""
        try:
            values = dict(measure())
            json.dumps(values, allow_nan=False)
        except (Exception, SystemExit) as error:
            self.fail(name, f"{type(error).__name__}: {error}")
            gc.collect()  # frees what the error's frames held, such as GPU memory
            return None
        self._write(name, "rows", values)
        return values

    def fail(self, name: str, reason: str) -> None:
        """Write that a row failed."""
        self.num_errors += 1
        self._write(name, "errors", reason.strip()[-MAX_ERROR_CHARACTERS:])

    def leave_out(self, name: str, reason: str) -> None:
        """Write why a row can't be measured here."""
        self._write(name, "left_out", reason.strip()[-MAX_ERROR_CHARACTERS:])

    def require_at_most(self, name: str, value: float, limit: float) -> None:
        """Write a difference, or an error if it exceeds `limit` or is NaN."""
        if value <= limit:
            self._write(name, "rows", {"difference": value, "limit": limit})
        else:
            self.fail(name, f"{value:.3g} is more than the limit of {limit:.3g}")

    def _write(self, name: str, kind: str, value: object) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps([name, kind, value]) + "\n")
        typer.echo(f"{name}: {value}")
