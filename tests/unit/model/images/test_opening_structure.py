"""Small images in files that would keep a decoder busy for long, or fill the memory."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.exceptions import ImageTooLargeError, InvalidImageError
from model.images.formats import FORMATS
from model.images.gif import MAX_BLOCKS
from model.images.ifd import MAX_TAGS, MAX_VALUES
from model.images.jpeg import MAX_STEPS
from model.images.png import MAX_CHUNKS, MAX_METADATA_BYTES
from model.images.preprocess import decode_image


def saved(form: str, **options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(tags: list[tuple[int, int, int, int]], big: bool = False) -> bytes:
    """Only a header and one directory, whose tags are (tag, type, count, value)."""
    if big:
        entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
        return b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(tags)) + entries + bytes(8)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II" + struct.pack("<HIH", 42, 8, len(tags)) + entries + bytes(4)


PNG, JPEG, GIF = saved("PNG"), saved("JPEG"), saved("GIF")
LAYOUT = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
CROWDED = {
    "png": PNG[:33] + chunk(b"prVt") * (MAX_CHUNKS + 1) + PNG[33:],
    "png, at its end": PNG[:-12] + chunk(b"prVt") * (MAX_CHUNKS + 1) + PNG[-12:],
    "jpeg": JPEG[:2] + b"\xff\xe5\x00\x02" * (MAX_STEPS + 1) + JPEG[2:],
    "jpeg, junk": JPEG[:20] + b"\x00" * (MAX_STEPS + 1) + JPEG[20:],
    "jpeg, padding": JPEG[:2] + b"\xff" * (MAX_STEPS + 1) + JPEG[2:],
    "jpeg, restarts": JPEG[:2] + b"\xff\xd0" * (MAX_STEPS + 1) + JPEG[2:],
    "gif": GIF[:-1] + b"\x21\xfe\x01x\x00" * MAX_BLOCKS + b";",
    "gif, in a block": GIF[:-1] + b"\x21\xfe" + b"\x01x" * (MAX_BLOCKS + 1) + b"\x00;",
    "gif, junk": GIF[:-1] + b"\x01" * (MAX_BLOCKS + 1) + b";",
    "tiff": tiff([*LAYOUT, (273, 4, MAX_VALUES + 1, 200)]),
    "big tiff": tiff([*LAYOUT, (273, 4, MAX_VALUES + 1, 200)], big=True),
    "big tiff, tags": tiff([(256, 4, 1, 16)] * (MAX_TAGS + 1), big=True),
}


@pytest.mark.parametrize("data", CROWDED.values(), ids=CROWDED)
def test_too_many_parts(data: bytes) -> None:
    with pytest.raises(InvalidImageError, match="more parts than any image needs"):
        decode_image(data)


@pytest.mark.parametrize("form", FORMATS)
def test_images_are_not_crowded(form: str) -> None:
    assert not decode_image(saved(form)).info.warnings


def test_damaged_files_are_named_so() -> None:
    for data in (b"", PNG[:20], JPEG[:3], GIF[:9], tiff(LAYOUT)[:9], b"GIF89a", b"\xff\xd8", b"II*\x00"):
        with pytest.raises(InvalidImageError):
            decode_image(data)


def test_tiles_larger_than_their_image() -> None:
    """libtiff decodes whole tiles: two gigabytes for 16 x 16 pixels."""
    tiles = [(322, 4, 1, 65_536), (323, 4, 1, 32_752), (324, 4, 1, 200), (325, 4, 1, 100)]
    with pytest.raises(ImageTooLargeError, match="a TIFF of 16 x 16 pixels takes 2,146 MB"):
        decode_image(tiff([*LAYOUT, *tiles]))


def test_exif_of_megabytes_is_ignored() -> None:
    """A good image stays readable, whatever is written beside its pixels."""
    entries = [(0x9000 + n % 1000, 4, 1, n) for n in range(60_000)]
    data = saved("PNG", exif=b"Exif\x00\x00" + tiff(entries) + bytes(MAX_METADATA_BYTES))
    (warning,) = decode_image(data).info.warnings
    assert warning.kind == "metadata"
