"""A part of the GPU benchmark that hangs, as does a process that it starts."""

from __future__ import annotations

import subprocess
import time

from benchmarks.gpu.rows import PartOptions, RowWriter


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Start a process, write its id, and hang."""
    child = subprocess.Popen(["sleep", "600"])
    rows.measure("before", lambda: {"process": child.pid})
    time.sleep(600)
