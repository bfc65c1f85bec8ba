"""Create ICC color profiles of given primaries, for benchmarks and tests."""

from __future__ import annotations

import struct

Primaries = tuple[tuple[float, ...], ...]
"""XYZ (D50) of red, green and blue."""
ADOBE_RGB: Primaries = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3: Primaries = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB: Primaries = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
D50 = (0.96420, 1.0, 0.82491)


GAMMA = 563 / 256
"""Of Adobe RGB (1998)."""


def make_profile(primaries: Primaries, gamma: float, name: str) -> bytes:
    """An ICC profile (version 2) of three primaries and a gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65_536))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"wtpt": xyz(D50), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= {name: xyz(primary) for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    start, table, content = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += tag + struct.pack(">II", start + len(content), len(value))
        content += padded
    header = b"lcms\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + b"".join(map(fixed, D50))
    body = struct.pack(">I", len(tags)) + table + content
    return struct.pack(">I", 128 + len(body)) + header.ljust(124, b"\0") + body
