"""Make what all processes of a test run share only once, in the first process that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The file or folder `path`. If it is missing, `make` makes it while other processes wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of each file and folder: a file that came and went changes its folder's time."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}
