"""Cursors of a similarity search: where the next page begins, and which query it belongs to."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterable

from index.search import Position
from model.exceptions import InvalidRequestError

PACKED_CURSOR = struct.Struct("<8sIqd")
"""Fingerprint of the query; rank, id and distance of the last neighbor."""
MAX_RANK = 10_000_000


def query_fingerprint(parts: Iterable[object]) -> bytes:
    """8 bytes that identify a query: a hash of the network, images and parameters that its ranking depends on."""
    return hashlib.sha256(repr([*parts]).encode()).digest()[:8]


def encode_cursor(fingerprint: bytes, position: Position) -> str:
    """The cursor of the page after `position`."""
    packed = PACKED_CURSOR.pack(fingerprint, position.rank, position.image_id, position.distance)
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str, fingerprint: bytes) -> Position:
    """The position of a cursor. Raises InvalidRequestError if it is damaged, or belongs to another query."""
    try:
        own, rank, image_id, distance = PACKED_CURSOR.unpack(base64.b64decode(cursor + "==", b"-_", validate=True))
    except (struct.error, ValueError):
        raise InvalidRequestError("invalid cursor: send the `next_cursor` of the previous page unchanged") from None
    if own != fingerprint:
        raise InvalidRequestError("the cursor belongs to another query or network: start from the first page")
    if not 1 <= rank <= MAX_RANK or image_id < 1 or not (math.isfinite(distance) and distance >= 0):
        raise InvalidRequestError(f"invalid cursor: pages end after {MAX_RANK:,} neighbors")
    return Position(rank, distance, image_id)
