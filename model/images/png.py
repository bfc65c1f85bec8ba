"""PNG files: only the chunks that make the image go to the decoder; checksums of the others don't matter."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from model.exceptions import InvalidImageError
from model.images.info import WarningList

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536
"""A PNG of 64 million pixels has some 30,000 chunks of 8 kB."""
MAX_METADATA_BYTES = 4_194_304
"""Size of EXIF data or of a color profile that is read."""
_PIXELS: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_METADATA: Final = (b"iCCP", b"eXIf", b"acTL")
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_GRAY, _COLOR = 0, 2


@dataclass(frozen=True)
class PngFile:
    """A PNG as its decoder gets it, and what was in its other chunks. `depth`: bits per sample."""

    data: bytes
    depth: int
    color_type: int
    exif: bytes
    color_profile: bytes
    num_frames: int


def read_png(data: bytes, warnings: WarningList) -> PngFile:
    """Walk over the chunks. Raises InvalidImageError where one that matters is damaged."""
    kept: list[memoryview] = []
    metadata: dict[bytes, memoryview] = {}
    buffer, position, is_complete = memoryview(data), len(SIGNATURE), False
    copies = False
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, position)
        name, end = data[position + 4 : position + 8], position + 12 + length
        if name in _PIXELS or name in _METADATA:
            is_whole = end <= len(data)
            is_right = is_whole and zlib.crc32(buffer[position + 4 : end - 4]) == int.from_bytes(
                data[end - 4 : end], "big"
            )
            if name in _PIXELS and (is_right or not is_whole):
                kept.append(buffer[position:end])
            elif name in _METADATA and is_right:
                metadata.setdefault(name, buffer[position + 8 : end - 4])
                copies = True
            elif name[:1].isupper():
                raise InvalidImageError(f"damaged image: the checksum of its chunk {name.decode()} is wrong")
            else:
                warnings.add("metadata", f"its chunk {name.decode()} is damaged and was ignored")
                copies = True
        else:
            copies = True
        position = end
        if name == b"IEND":
            is_complete = True
            break
    else:
        raise InvalidImageError("invalid image: it has more parts than any image needs")
    header = bytes(kept[0]) if kept else b""
    if header[4:8] != b"IHDR" or len(header) != 25:
        raise InvalidImageError("damaged image: this PNG doesn't begin with its size")
    if not is_complete:
        warnings.add("no_end_mark", "its end mark is missing: the end of the file may have been lost")
        kept.append(memoryview(_END))
        copies = True
    return PngFile(
        data=b"".join([SIGNATURE, *kept]) if copies else data,
        depth=header[16],
        color_type=header[17],
        exif=_exif(metadata, warnings),
        color_profile=_profile(metadata, warnings),
        num_frames=int.from_bytes(metadata.get(b"acTL", b"\0\0\0\1")[:4], "big"),
    )


def transparent_color(png: PngFile, value: object) -> object:
    """The color of a PNG that stands for transparency, as Pillow's 8 bits have it; a palette's values as they are."""
    if png.color_type == _GRAY and png.depth < 8 and isinstance(value, int):
        return value * 255 // ((1 << png.depth) - 1)
    if png.color_type == _COLOR and png.depth == 16 and isinstance(value, tuple):
        return tuple(level >> 8 for level in value)
    return value


def _exif(metadata: dict[bytes, memoryview], warnings: WarningList) -> bytes:
    exif = metadata.get(b"eXIf", memoryview(b""))
    if len(exif) > MAX_METADATA_BYTES:
        warnings.add("metadata", f"its {len(exif):,} bytes of EXIF data were ignored: it may not be upright")
        return b""
    return bytes(exif)


def _profile(metadata: dict[bytes, memoryview], warnings: WarningList) -> bytes:
    chunk = bytes(metadata.get(b"iCCP", b""))
    if not chunk:
        return b""
    try:
        decompressor = zlib.decompressobj()
        profile = decompressor.decompress(chunk[chunk.index(b"\0") + 2 :], MAX_METADATA_BYTES)
        if decompressor.eof:
            return profile
    except (ValueError, zlib.error):
        pass
    warnings.add("color_profile_ignored", "its color profile is damaged and was ignored: colors may be off")
    return b""
