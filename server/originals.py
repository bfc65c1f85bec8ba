"""Original files of indexed images."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from index.protocol import Index
from model.exceptions import UnknownImageError

CHUNK_BYTES = 65_536
CACHE_HEADERS = {"Cache-Control": "private, max-age=3600"}
"""The bytes of an indexed image never change."""


def open_original(index: Index, image_id: int) -> tuple[BinaryIO, str]:
    """The file that was indexed, at its beginning, and its format.

    Raises UnknownImageError if it is gone or its bytes have changed.
    """
    entry = index.entry(image_id)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        if entry.source is not None and entry.source.is_file():  # an index may be somebody else's: no device, no pipe
            file = stack.enter_context(entry.source.open("rb"))
            if hashlib.file_digest(file, "sha256").hexdigest() == index.catalog.sha256(image_id):
                file.seek(0)
                stack.pop_all()
                return file, entry.format
    raise UnknownImageError(f"the file of image {image_id} is gone, or not as it was indexed")


def read_original(index: Index, image_id: int) -> bytes:
    """The bytes that were indexed. Raises UnknownImageError."""
    file, _ = open_original(index, image_id)
    with file:
        return file.read()


def iter_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file in parts: a large file isn't kept in memory for a slow client. Closes the file."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
