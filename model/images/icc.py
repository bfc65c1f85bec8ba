"""ICC color profiles made from primaries and a curve, for colors that a file names by number, benchmarks and tests."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Primaries = tuple[tuple[float, ...], ...]
"""XYZ of red, green and blue, adapted to D50."""
D50 = (0.96420, 1.0, 0.82491)

Curve = float | NDArray[np.float64]
"""Level -> light, both from 0 to 1: an exponent, or the light at evenly spaced levels."""


def make_profile(primaries: Primaries, curve: Curve, name: str) -> bytes:
    """A profile (ICC version 2) of RGB colors."""
    tags = {tag: _xyz(primary) for tag, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return _assemble(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve)), name)


def make_gray_profile(curve: Curve, name: str) -> bytes:
    """A profile (ICC version 2) of grays."""
    return _assemble(b"GRAY", {b"kTRC": _curve(curve)}, name)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65_536))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _curve(curve: Curve) -> bytes:
    if isinstance(curve, float):
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(curve * 256)) + b"\0\0"
    return b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + np.rint(curve * 65_535).astype(">u2").tobytes()


def _assemble(space: bytes, color_tags: dict[bytes, bytes], name: str) -> bytes:
    """`space`: signature of the color space, 4 bytes."""
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"wtpt": _xyz(D50), b"cprt": b"text\0\0\0\0none\0\0\0\0"} | color_tags
    start, table, content = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    header = b"lcms\x02\x10\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28) + b"".join(map(_fixed, D50))
    body = struct.pack(">I", len(tags)) + table + content
    return struct.pack(">I", 128 + len(body)) + header.ljust(124, b"\0") + body
