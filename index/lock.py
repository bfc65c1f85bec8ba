"""One process at a time changes an index."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from model.exceptions import ReadOnlyIndexError

LOCK = "lock"


def lock(path: Path) -> IO[bytes]:
    """Hold the index at `path` for changing, until closed or the process ends. Raises ReadOnlyIndexError."""
    file = (path / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ReadOnlyIndexError(
            f"expected to be alone in changing {path}, found another process that does, such as a server"
        ) from None
    return file
