"""The results of an experiment: a JSON file that grows by a run at a time, so that one that was stopped goes on."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.exceptions import TrainingError
from training.config import replace_file
from training.publish.provenance import commit, machine

MORE = "seeds"
"""The setting that may differ from the file's: more seeds are more runs."""


class Results:
    """`runs` by name. `settings`: what all of them have in common; those of a file that is there must be the same, but
    for `MORE`. Raises TrainingError."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._settings = json.loads(json.dumps(settings))
        self.runs: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                found = json.loads(path.read_text())
                theirs, self.runs = found["settings"], found["runs"]
            except (ValueError, KeyError, TypeError) as error:
                raise TrainingError(f"expected the results of an experiment in {path}, found {error!r}") from None
            names = sorted((theirs.keys() | self._settings.keys()) - {MORE})
            for name in names:
                if theirs.get(name) != self._settings.get(name):
                    raise TrainingError(
                        f"expected {name} {self._settings.get(name)} in {path}, found {theirs.get(name)}: name "
                        "another folder with --output, or start as it was started"
                    )
        path.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()

    def add(self, name: str, run: dict[str, Any]) -> None:
        """Keep a run; it is on disk when this returns. Its seconds are those since the one before, or the start."""
        now = time.monotonic()
        self.runs[name] = run | {"seconds": round(now - self._started), "commit": commit()}
        self._started = now
        head = {"settings": self._settings, "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        replace_file(self.path, written(head, self.runs))


def written(head: dict[str, Any], runs: dict[str, dict[str, Any]]) -> str:
    """JSON with a run a line, so that a difference of two versions shows which runs are new."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(run)}" for name, run in runs.items())
    return json.dumps(head, indent=1).removesuffix("\n}") + f',\n "runs": {{\n{lines}\n }}\n}}\n'
