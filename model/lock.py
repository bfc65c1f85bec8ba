"""One process at a time: those of a run begin together, and one of them reads or fetches for all."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


@contextmanager
def alone(file: Path, doing: str) -> Iterator[None]:
    """Hold a lock on `file`, which is made if need be and stays. Waits for another holder, and says what that one is
    `doing`."""
    with file.open("w") as lock:  # for writing: network file systems refuse a lock on a file opened to be read
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tqdm.write(f"another process is {doing}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
