"""Provenance of a result: commit of the source, and machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from model.cpus import available_cpus
from model.requirements import DISTRIBUTION

SOURCE = "training/publish/provenance.py"
"""This file, below the root of its repository."""


def commit() -> str:
    """The commit of the source tree, with `+` if files were changed. Outside this program's repository, as in a virtual
    environment inside another one: "version X.Y.Z", or "unknown" if it isn't installed."""
    try:
        if _git("ls-files", "--full-name", "--error-unmatch", Path(__file__).name) == SOURCE:
            return _git("describe", "--always", "--abbrev=12", "--dirty=+")
    except (OSError, subprocess.CalledProcessError):
        pass  # no git, no repository, or a file that it doesn't track
    try:
        return f"version {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        return "unknown"


def _git(*arguments: str) -> str:
    """The output of a git command, run in the folder of this file."""
    folder = Path(__file__).parent
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


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
