"""Files: atomic and durable writes, checksums, and locks between processes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout
from tqdm import tqdm


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` (`NAME.partial`, text in UTF-8) that replaces it when the block ends.

    Readers see the old file or the new one, never a partial file, even after a crash or a power cut. If the block or
    the disk fails, `path` is unchanged and the temporary file is removed. Concurrent writers of one file take turns.
    Raises OSError: before the block runs if `path` is a folder, or a device or pipe that the file would replace.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a device or a pipe, and would be replaced by a file", str(path))
    partial = path.with_name(f"{path.name}.partial")
    descriptor = _open_locked(partial)  # closing the file unlocks it
    with os.fdopen(descriptor, mode, encoding="utf-8" if mode == "w" else None) as file:
        try:
            yield file
            file.flush()
            move_durably(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _open_locked(path: Path) -> int:
    """Open an empty file for writing, and lock it against other processes that call this."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            opened = os.fstat(descriptor)
            with suppress(FileNotFoundError):  # the other process renamed the file, or removed it
                if os.path.samestat(opened, path.stat()):
                    if opened.st_size:  # left by a writer that was killed
                        os.ftruncate(descriptor, 0)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def move_durably(source: Path, target: Path) -> None:
    """Rename a file, replacing `target`; its contents and its name are on the disk when this returns."""
    fsync(source)
    os.replace(source, target)
    fsync(target.parent)


def fsync(path: Path) -> None:
    """Flush a file's contents, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_lock(path: Path, activity: str) -> Iterator[None]:
    """Hold a lock on the file `path`, which is created if missing and never removed. While another process holds the
    lock, print its `activity` and wait."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"another process is {activity}: waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
