"""Original files of indexed images."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Iterator
from typing import BinaryIO

from index.protocol import Index
from model.exceptions import UnknownImageError
from server.exceptions import DeadlineExceededError

CHUNK_BYTES = 65_536
HASH_CHUNK_BYTES = 1024 * 1024
CACHE_HEADERS = {"Cache-Control": "private, max-age=3600"}
"""The bytes of an indexed image never change."""


class OriginalFile(io.BufferedReader):
    """An open original, closed when nobody holds it any more: its client may be gone before it is sent."""

    def __del__(self) -> None:
        self.close()


def open_original(index: Index, image_id: int, deadline: float) -> tuple[BinaryIO, str]:
    """The file that was indexed, at its beginning, and its format. `deadline` (time.monotonic): a file may have become
    very large, and nobody waits for it any longer.

    Raises UnknownImageError if it is gone or its bytes have changed, DeadlineExceededError.
    """
    entry = index.entry(image_id)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        if entry.source is not None and entry.source.is_file():  # an index may be somebody else's: no device, no pipe
            file = stack.enter_context(OriginalFile(io.FileIO(entry.source)))
            if _sha256(file, deadline) == index.catalog.sha256(image_id):
                file.seek(0)
                stack.pop_all()
                return file, entry.format
    raise UnknownImageError(f"the file of image {image_id} is gone, or not as it was indexed")


def _sha256(file: BinaryIO, deadline: float) -> str:
    checksum = hashlib.sha256()
    while chunk := file.read(HASH_CHUNK_BYTES):
        checksum.update(chunk)
        if time.monotonic() > deadline:
            raise DeadlineExceededError("deadline exceeded while the original file was read")
    return checksum.hexdigest()


def read_original(index: Index, image_id: int, deadline: float) -> bytes:
    """The bytes that were indexed. Raises what `open_original` raises."""
    file, _ = open_original(index, image_id, deadline)
    with file:
        return file.read()


def iter_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file in parts: a large file isn't kept in memory for a slow client. Closes the file."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
