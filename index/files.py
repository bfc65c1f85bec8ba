"""The files of an index: opened only if they are regular, locked for writing, and checked for replacement."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from model.exceptions import IndexReplacedError, IndexStoreError, ReadOnlyIndexError, StorageFullError

FileId = tuple[int, int]
"""Device and inode: identify a file, whatever its name."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
MAX_LOCK_ATTEMPTS = 10


def storage_error(path: Path, error: OSError) -> IndexStoreError:
    """The exception for an operating system error about a file of an index."""
    if error.errno in DISK_FULL:
        return StorageFullError(
            "no space left on the index's disk: free some, then try again; earlier changes are kept"
        )
    if error.errno in NOT_WRITABLE:
        return ReadOnlyIndexError(f"its {path.name} can't be written ({error.strerror}): the index can only be read")
    return IndexStoreError(f"{path} can't be opened, read or written: {error.strerror}")


def check_regular(path: Path) -> None:
    """Raise IndexStoreError if `path` exists and is a link, pipe, device or folder. The file isn't opened.

    Opening and closing a database file that this process already has open would drop SQLite's locks on it.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(path, error) from error
    if not stat.S_ISREG(mode):
        raise _irregular(path)


def open_regular(path: Path, flags: int) -> int:
    """Open a file of an index and return its descriptor. Opening never truncates the file and never blocks.

    Raises IndexStoreError for a link, pipe, device or folder, and, if opened to write, for a file with several names
    (hard links); FileNotFoundError; StorageFullError; ReadOnlyIndexError.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        raise
    except OSError as error:
        check_regular(path)
        raise storage_error(path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _irregular(path)
    if flags & os.O_RDWR and status.st_nlink > 1:
        os.close(descriptor)
        raise IndexStoreError(
            f"{path} has another hard link, so changing it here would change it there, too: replace it with a copy"
        )
    return descriptor


def file_id(path: Path) -> FileId | None:
    """The identity of what is at `path` now, without following links; None if nothing is there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def descriptor_id(descriptor: int) -> FileId:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def replaced_error(what: str) -> IndexReplacedError:
    """The exception for files that are no longer the ones that were opened."""
    return IndexReplacedError(
        f"the index has been replaced since it was opened: {what}. Nothing was changed; reload the server, or run the "
        "command again"
    )


def check_same(path: Path, known: FileId | None) -> None:
    """Raise IndexReplacedError unless `path` is still the file `known`; if that is None, nothing is checked."""
    if known is not None and file_id(path) != known:
        raise replaced_error(f"its {path.name} is a different file, or gone")


class WriteLock:
    """The lock of the process that may change an index, held from construction to `release` or the end of the process.

    The file is created if it is missing, and never deleted. Raises ReadOnlyIndexError if another process holds the lock
    or the folder can't be written; IndexReplacedError; IndexStoreError; StorageFullError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for _ in range(MAX_LOCK_ATTEMPTS):
            self._descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._descriptor)
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise storage_error(path, error) from error
                raise ReadOnlyIndexError(
                    f"another process, such as a server, has the index at {path.parent} open for writing: stop it and "
                    "try again, or add images through the server, on its page or with POST /images or POST /sync; "
                    "`alexnet serve --read-only` leaves an index to other programs"
                ) from None
            self.id = descriptor_id(self._descriptor)
            if file_id(path) == self.id:
                return
            os.close(self._descriptor)  # it was replaced between opening and locking
        raise IndexReplacedError(f"{path} keeps being replaced by another process: try again when that has finished")

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _irregular(path: Path) -> IndexStoreError:
    return IndexStoreError(
        f"{path} is a link or not a regular file, so it wasn't opened: put the file itself in its place"
    )
