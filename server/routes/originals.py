"""Original files of indexed images."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from index.protocol import Index
from model.exceptions import UnknownImageError
from server.exceptions import DeadlineExceededError

CHUNK_BYTES = 65_536
HASH_CHUNK_BYTES = 1024 * 1024


class OriginalFile(io.FileIO):
    """An open original file, closed when nothing refers to it any more: its client may leave before it is sent.

    It has no buffer: the garbage collector could find the file inside a buffer before the buffer, and warn about it.
    """

    def __del__(self) -> None:
        self.close()


def open_original(index: Index, image_id: int, deadline_passed: Callable[[], bool]) -> tuple[BinaryIO, str]:
    """The file that was indexed, positioned at its beginning, and its format.

    `deadline_passed`: called while the file is read, since it may have become very large.

    Raises UnknownImageError if the file is gone or its bytes have changed, or DeadlineExceededError.
    """
    entry = index.entry(image_id)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        if entry.source is not None and entry.source.is_file():  # no device or pipe: an index may be somebody else's
            file = stack.enter_context(OriginalFile(entry.source))
            if _sha256(file, deadline_passed) == index.catalog.sha256(image_id):
                file.seek(0)
                stack.pop_all()
                return file, entry.format
    raise UnknownImageError(f"the file of image {image_id} is missing or has changed since indexing")


def _sha256(file: BinaryIO, deadline_passed: Callable[[], bool]) -> str:
    checksum = hashlib.sha256()
    while chunk := file.read(HASH_CHUNK_BYTES):
        checksum.update(chunk)
        if deadline_passed():
            raise DeadlineExceededError("deadline exceeded while reading the original file")
    return checksum.hexdigest()


def read_original(index: Index, image_id: int, deadline_passed: Callable[[], bool]) -> bytes:
    """The bytes that were indexed. Raises what `open_original` raises."""
    file, _ = open_original(index, image_id, deadline_passed)
    with file:
        return file.read()


def iter_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file in chunks, so that memory doesn't hold a large file for a slow client. Closes the file."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
