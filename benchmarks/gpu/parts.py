"""Run each part of the GPU benchmark in its own process with a time limit, so that a failure doesn't end the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.gpu.rows import PartOptions, PartRows
from benchmarks.results import ROOT

PARTS = {name: f"benchmarks.gpu.{name}" for name in ("peaks", "training", "towers", "inference", "search", "serving")}
"""Name -> module with a function `measure(options, rows)`, in the order in which they run."""
MAX_OUTPUT_CHARACTERS = 4000

Status = Literal["finished", "failed", "out of time", "not run"]


@dataclass(frozen=True)
class PartResult:
    """The outcome of a part. `output`: the end of what it printed, unless it finished."""

    status: Status
    seconds: float = 0.0
    limit_seconds: float = 0.0
    measured: PartRows = field(default_factory=PartRows)
    output: str = ""

    def to_json(self) -> dict[str, object]:
        values = asdict(self)
        measured: dict[str, object] = values.pop("measured")
        return values | measured


def run_parts(
    parts: Mapping[str, str],
    options: PartOptions,
    part_seconds: float,
    total_seconds: float,
    report: Callable[[dict[str, PartResult]], None],
) -> dict[str, PartResult]:
    """Run the parts one after the other.

    `part_seconds`, `total_seconds`: time limits of one part and of all. `report`: called with the results so far after
    each part.
    """
    results, start = dict[str, PartResult](), time.monotonic()
    for name, module in parts.items():
        limit = min(part_seconds, start + total_seconds - time.monotonic())
        results[name] = run_part(module, options, limit) if limit > 0 else PartResult("not run")
        report(results)
    return results


def run_part(module: str, options: PartOptions, limit_seconds: float) -> PartResult:
    """Run a part in a new process; at the limit, the process and all that it started are killed."""
    command = [sys.executable, "-m", "benchmarks.gpu.part", module]
    with tempfile.TemporaryDirectory() as folder:
        rows, printed = Path(folder) / "rows", Path(folder) / "output"
        arguments = [str(rows), "--device", options.device, *(["--quick"] if options.is_quick else [])]
        start = time.monotonic()
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            status = _wait(process, limit_seconds)
        seconds = time.monotonic() - start
        text = "" if status == "finished" else printed.read_text(errors="replace")[-MAX_OUTPUT_CHARACTERS:]
        if status == "failed" and process.returncode < 0:
            text += f"\nended by signal {-process.returncode} ({signal.Signals(-process.returncode).name})"
        return PartResult(status, seconds, limit_seconds, PartRows.read(rows), text)


def _wait(process: subprocess.Popen[bytes], limit_seconds: float) -> Status:
    try:
        status: Status = "finished" if process.wait(limit_seconds) == 0 else "failed"
    except subprocess.TimeoutExpired:
        status = "out of time"
    finally:
        with suppress(ProcessLookupError):  # the group has the id of its first process
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return status
