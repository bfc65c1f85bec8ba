"""PNG: chunks that don't matter never make a good image unreadable; those that do are checked."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image

from model.exceptions import InvalidImageError
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, GRAY, png, png_chunk, saved

PLAIN = png(COLORS.astype(np.int64), 2, 8)
HEAD, REST = PLAIN[:33], PLAIN[33:]


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0" + bytes(2_000_000)),
        png_chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(50_000_000))),
        png_chunk(b"iTXt", b"x"),
        png_chunk(b"pHYs", b"x"),
        png_chunk(b"gAMA"),
        png_chunk(b"prVt", b"of some program")[:-4] + b"damn",
        png_chunk(b"tEXt", b"a\0b")[:-1] + b"?",
    ],
    ids=["text", "compressed text", "broken text", "broken size", "broken gamma", "wrong checksum", "text's checksum"],
)
def test_chunks_that_do_not_matter(chunk: bytes) -> None:
    decoded = decode_image(HEAD + chunk + REST)
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert not decoded.info.warnings


@pytest.mark.parametrize("name", [b"eXIf", b"iCCP", b"tRNS"])
def test_a_wrong_checksum_of_what_may_matter_is_said(name: bytes) -> None:
    decoded = decode_image(HEAD + png_chunk(name, b"something")[:-1] + b"?" + REST)
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    (warning,) = decoded.info.warnings
    assert warning.message == f"its {name.decode()} chunk is damaged and was ignored"


@pytest.mark.parametrize("place", [20, 60])
def test_a_wrong_checksum_of_pixels_is_damage(place: int) -> None:
    damaged = bytearray(PLAIN)
    damaged[place] ^= 1
    with pytest.raises(InvalidImageError, match=r"the checksum of its I... chunk"):
        decode_image(bytes(damaged))


def test_behind_the_end_is_nothing() -> None:
    np.testing.assert_array_equal(decode_image(PLAIN + b"\0\0\0\0IDATxxxx" * 9).pixels, COLORS)


def test_without_an_end_mark() -> None:
    decoded = decode_image(PLAIN[:-12])
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert [warning.kind for warning in decoded.info.warnings] == ["no_end_mark"]


def test_an_animation_shows_its_first_image() -> None:
    frames = [Image.fromarray(COLORS), Image.fromarray(255 - COLORS)]
    decoded = decode_image(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert decoded.info.frames_ignored


def test_twelve_bits_in_sixteen() -> None:
    gray = decode_image(png(GRAY[..., None].astype(np.int64) * 16, 0, 16))
    assert np.abs(gray.pixels[..., 0].astype(int) - GRAY).max() <= 1
    assert gray.info.warnings[0].message == "only the lowest 12 of its 16 bits are used: 4,095 was read as white"
    colors = decode_image(png(COLORS.astype(np.int64) * 16, 2, 16))
    assert colors.info.warnings[0].kind == "nearly_black"
