"""The results of an experiment: a JSON file that grows by a run at a time, so that one that was stopped goes on."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.errors import TrainingError
from training.config import replace_file
from training.provenance import commit, machine


class Results:
    """`runs` by name. `settings`: what all of them have in common; those of a file that is there must be the same."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._settings = json.loads(json.dumps(settings))
        self.runs: dict[str, dict[str, Any]] = {}
        if path.is_file():
            found = json.loads(path.read_text())
            if found["settings"] != self._settings:
                raise TrainingError(
                    f"expected {path} to be of {self._settings}, found {found['settings']}: move it away"
                )
            self.runs = found["runs"]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()

    def add(self, name: str, run: dict[str, Any]) -> None:
        """Keep a run; it is on disk when this returns. Its seconds are those since the one before, or the start."""
        now = time.monotonic()
        self.runs[name] = run | {"seconds": round(now - self._started), "commit": commit()}
        self._started = now
        text = {
            "settings": self._settings,
            "machine": machine(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "runs": self.runs,
        }
        replace_file(self.path, json.dumps(text, indent=1) + "\n")
