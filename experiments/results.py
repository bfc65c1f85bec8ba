"""Write experiments' results as JSON with machine, date and commit, also for experiments that resume run by run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from benchmarks.results import processor
from model.cpus import available_cpus
from model.exceptions import TrainingError
from model.files import atomic_write
from training.publish.provenance import commit

VARIABLE_SETTINGS = ("seeds", "first_rate")
"""Settings that may differ from the file's: more seeds only add runs, and a search may start elsewhere."""


def machine() -> str:
    """Name of the GPU, or of the processor with the number of cores that this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {available_cpus()} cores"


def today() -> str:
    """The date in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def write_report(target: Path, content: Mapping[str, Any]) -> None:
    """Write a result as JSON, with machine, date and commit."""
    target.parent.mkdir(parents=True, exist_ok=True)
    head = {"machine": machine(), "date": today(), "commit": commit()}
    with atomic_write(target) as file:
        file.write(json.dumps(head | dict(content), indent=1) + "\n")


class Results:
    """An experiment's runs by name.

    `settings`: common to all runs; an existing file must have the same, except for `VARIABLE_SETTINGS`. Raises
    TrainingError.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self._settings = json.loads(json.dumps(settings))
        self.runs: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                content = json.loads(path.read_text())
                before, self.runs = content["settings"], content["runs"]
            except (ValueError, KeyError, TypeError) as error:
                raise TrainingError(f"{path} doesn't contain the results of an experiment: {error!r}") from None
            for name in sorted((before.keys() | self._settings.keys()) - set(VARIABLE_SETTINGS)):
                if before.get(name) != self._settings.get(name):
                    raise TrainingError(
                        f"{path} was made with {name} {before.get(name)}, not {self._settings.get(name)}: choose "
                        "another --output, or the same settings"
                    )
        path.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()

    def start(self) -> None:
        """Write the settings before the first run, so that a stopped run isn't resumed with other settings."""
        if not self.path.is_file():
            self._write()

    def add(self, name: str, run: dict[str, Any]) -> None:
        """Write a run to the file. Its seconds count from the previous run, or from the start."""
        now = time.monotonic()
        added = {name: run | {"seconds": round(now - self._started), "commit": commit()}}
        self._started = now
        with FileLock(f"{self.path}.lock"):
            if self.path.is_file():  # another process may have added others
                self.runs |= json.loads(self.path.read_text())["runs"]
            self.runs |= added
            self._write()

    def _write(self) -> None:
        head = {"settings": self._settings, "machine": machine(), "date": today()}
        with atomic_write(self.path) as file:
            file.write(format_json(head, self.runs))


def format_json(head: dict[str, Any], runs: dict[str, dict[str, Any]]) -> str:
    """JSON with one run per line, so that a diff of two versions shows which runs are new."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(run)}" for name, run in runs.items())
    return json.dumps(head, indent=1).removesuffix("\n}") + f',\n "runs": {{\n{lines}\n }}\n}}\n'
