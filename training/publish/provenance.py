"""Provenance of a result: the commit of the source."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
