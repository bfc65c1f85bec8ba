"""Folders of artifacts that aren't published yet; the next process deletes those that killed processes left."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PREFIX = ".unpublished-"

logger = logging.getLogger(__name__)


@contextmanager
def unpublished_folder(home: Path) -> Iterator[Path]:
    """A new folder in `home`, deleted when the block ends unless it was renamed. Raises OSError.

    This process locks it. Unlocked folders were left by killed processes, and are deleted first.
    """
    with ExitStack() as stack:
        with _locked(home):  # or another process could find the new folder before it is locked, and delete it
            _delete_abandoned(home)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
            stack.enter_context(_locked(folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _delete_abandoned(home: Path) -> None:
    for folder in home.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # another process is writing it
        else:
            shutil.rmtree(folder, ignore_errors=True)
            logger.warning("deleted %s, which a killed process left behind", folder)
        finally:
            os.close(descriptor)
