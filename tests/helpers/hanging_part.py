"""A part of the GPU benchmark that never ends, nor does a process that it starts."""

from __future__ import annotations

import subprocess
import time

from benchmarks.gpu.rows import PartOptions, RowWriter


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Write the id of the other process, and wait."""
    child = subprocess.Popen(["sleep", "600"])
    rows.measure("before", lambda: {"process": child.pid})
    time.sleep(600)
