"""Processors that this process may use, and the number of threads that options allow."""

from __future__ import annotations

import os
from pathlib import Path

MAX_THREADS = 1024
"""Maximum of the options that set a number of threads."""


def available_cpus() -> int:
    """Number of processors that this process may use: its affinity, limited by the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no control groups, or another version of them
    return count
