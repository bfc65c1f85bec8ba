"""A part of the GPU benchmark whose process crashes after its first rows."""

from __future__ import annotations

import os
import signal

from benchmarks.gpu.rows import PartOptions, RowWriter


def measure(options: PartOptions, rows: RowWriter) -> None:
    """Write a row with a result and one that fails, then crash the process as a broken driver would."""
    rows.measure("first", lambda: {"images_per_second": 12.5})
    rows.measure("no number", lambda: {"images_per_second": float("nan")})
    os.kill(os.getpid(), signal.SIGSEGV)
