"""Provenance of a result: commit of the source, and machine."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from model.runtime import available_cpus


def commit() -> str:
    """The commit of the source tree, with `+` if files were changed; `unknown` outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        process = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return process.stdout.strip()


def machine() -> str:
    """Name of the GPU, or of the processor with the number of cores that this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {available_cpus()} cores"


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
