"""Files in numpy's format, also with headers that numpy doesn't write."""

from __future__ import annotations

import struct


def npy(header: bytes, content: bytes = b"") -> bytes:
    """A .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + content
