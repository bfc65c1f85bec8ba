"""PNG files: only the chunks that make up the image go to the decoder; checksums of the others don't matter."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from model.exceptions import InvalidImageError
from model.images.cicp import profile_from_cicp
from model.images.info import WarningList

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536
"""A PNG of 64 million pixels has some 30,000 chunks of 8 kB."""
MAX_METADATA_BYTES = 4_194_304
"""Maximum size of EXIF data or of a color profile."""
_PIXELS: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_METADATA: Final = (b"cICP", b"iCCP", b"eXIf", b"acTL")
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_GRAY, _COLOR, _GRAY_ALPHA = 0, 2, 4


@dataclass(frozen=True)
class PngFile:
    """A PNG as passed to its decoder, and the content of its metadata chunks. `depth`: bits per sample."""

    data: bytes
    depth: int
    color_type: int
    exif: bytes
    color_profile: bytes
    num_frames: int


class _Chunk(NamedTuple):
    """A chunk as it is in the file. `end`: its end according to its length, which may be beyond the end of the file."""

    name: bytes
    file: memoryview
    start: int
    end: int

    @property
    def is_whole(self) -> bool:
        return self.end <= len(self.file)

    @property
    def whole(self) -> memoryview:
        """The chunk with length, name and checksum."""
        return self.file[self.start : self.end]

    @property
    def content(self) -> memoryview:
        return self.file[self.start + 8 : self.end - 4]

    def is_intact(self) -> bool:
        """Whether the chunk is whole and its checksum right."""
        return self.is_whole and zlib.crc32(self.whole[4:-4]) == int.from_bytes(self.whole[-4:], "big")


def read_png(data: bytes, warnings: WarningList) -> PngFile:
    """Read the chunks. Raises InvalidImageError if one that the image needs is damaged."""
    kept: list[memoryview] = []
    metadata: dict[bytes, memoryview] = {}
    last_name, has_dropped_chunks = b"", False
    for chunk in _iter_chunks(data):
        last_name = chunk.name
        if chunk.name in _PIXELS and (not chunk.is_whole or chunk.is_intact()):
            kept.append(chunk.whole)
            continue
        has_dropped_chunks = True
        if chunk.name in _METADATA and chunk.is_intact():
            metadata.setdefault(chunk.name, chunk.content)
        elif chunk.name in _PIXELS and chunk.name[:1].isupper():
            raise InvalidImageError(f"damaged image: the checksum of its {chunk.name.decode()} chunk is wrong")
        elif chunk.name in _PIXELS or chunk.name in _METADATA:
            warnings.add("metadata", f"its {chunk.name.decode()} chunk is damaged and was ignored")
    header = bytes(kept[0]) if kept else b""
    if header[4:8] != b"IHDR" or len(header) != 25:
        raise InvalidImageError("damaged image: this PNG doesn't begin with a valid IHDR chunk")
    is_complete = last_name == b"IEND"
    if not is_complete:
        warnings.add("no_end_mark", "its end marker is missing: the file may be truncated")
        kept.append(memoryview(_END))
    return PngFile(
        data=b"".join([SIGNATURE, *kept]) if has_dropped_chunks or not is_complete else data,
        depth=header[16],
        color_type=header[17],
        exif=_exif(metadata, warnings),
        color_profile=_profile(metadata, header[17] in (_GRAY, _GRAY_ALPHA), warnings),
        num_frames=int.from_bytes(metadata.get(b"acTL", b"\0\0\0\1")[:4], "big"),
    )


def _iter_chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to IEND or, without it, the end of the file. Raises InvalidImageError for too many."""
    file, position = memoryview(data), len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, position)
        chunk = _Chunk(data[position + 4 : position + 8], file, position, position + 12 + length)
        yield chunk
        if chunk.name == b"IEND":
            return
        position = chunk.end
    raise InvalidImageError("invalid image: it has more parts than any image needs")


def transparent_color(png: PngFile, value: object) -> object:
    """The color that stands for transparency in a PNG, in Pillow's 8 bits; a palette's values stay as they are."""
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


def _profile(metadata: dict[bytes, memoryview], is_gray: bool, warnings: WarningList) -> bytes:
    points = bytes(metadata.get(b"cICP", b""))
    if len(points) == 4 and points[2:] == b"\0\1":  # full-range RGB; cICP takes precedence over iCCP
        return profile_from_cicp(points[0], points[1], is_gray, warnings)
    if points:
        warnings.add("color_profile_ignored", "its cICP chunk isn't full-range RGB and was ignored: colors may be off")
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
