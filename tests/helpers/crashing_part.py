"""A part of the GPU benchmark whose process is killed after its first row."""

from __future__ import annotations

import os
import signal

from benchmarks.gpu.rows import PartOptions, RowWriter


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Write a row that is measured and one that fails, and end as a broken driver would end the process."""
    rows.measure("first", lambda: {"images_per_second": 12.5})
    rows.measure("no number", lambda: {"images_per_second": float("nan")})
    os.kill(os.getpid(), signal.SIGSEGV)
