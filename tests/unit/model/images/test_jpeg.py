"""JPEG: where the image ends, missing end markers and data, inks in both polarities, very large ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.exceptions import ImageTooLargeError, InvalidImageError
from model.images.info import ImageInfo
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, saved

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
SMOOTH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((401, 303))
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 4},
}


def kinds(info: ImageInfo) -> list[str]:
    return [warning.kind for warning in info.warnings]


@pytest.mark.parametrize("way", WAYS)
def test_what_stands_behind_the_image_is_not_looked_at(way: str) -> None:
    """A phone's clip contains thousands of byte pairs that look like the start of a scan or the end of an image."""
    data = saved(NOISE, "JPEG", **WAYS[way])
    clip = np.random.default_rng(1).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes() + b"\xff\xda" * 5000
    decoded = decode_image(data + clip, ImageLimits(max_scanned_pixels=20 * 300 * 400))
    np.testing.assert_array_equal(decoded.pixels, decode_image(data).pixels)
    assert not decoded.info.warnings


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("way", WAYS)
def test_only_the_end_mark_is_missing(way: str, mode: str) -> None:
    data = saved(NOISE.convert(mode), "JPEG", **WAYS[way])
    decoded = decode_image(data[:-2])
    np.testing.assert_array_equal(decoded.pixels, decode_image(data).pixels)
    assert kinds(decoded.info) == ["no_end_mark"]


@pytest.mark.parametrize("ended", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("way", ["baseline", "restarts"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_data_of_the_lower_part_are_missing(way: str, share: float, ended: bytes) -> None:
    data = saved(NOISE, "JPEG", **WAYS[way])
    with pytest.raises(InvalidImageError, match=r"ends before its pixels do|no data for its lower part"):
        decode_image(data[: int(share * len(data))].removesuffix(b"\xff") + ended)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_one_is_cut_within_a_scan(mode: str) -> None:
    """As by an interrupted download. After a scan's data, even zeros may be read as its end."""
    data = saved(SMOOTH.convert(mode), "JPEG", progressive=True)
    start, step = data.index(b"\xff\xda") + 20, len(data) // 60
    for length in range(start, len(data) - 2, step):
        if data[length] != 0xFF:  # a cut before the next scan's tables leaves whole scans
            with pytest.raises(InvalidImageError):
                decode_image(data[:length])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_gray_lower_part_is_no_damage(mode: str) -> None:
    image = NOISE.convert(mode)
    image.paste("#808080", (0, 200, 400, 300))
    assert not decode_image(saved(image, "JPEG")).info.warnings


def test_inks_without_adobes_marker_are_not_inverted() -> None:
    inks = Image.new("CMYK", (300, 300), (255, 0, 0, 0))
    data = saved(inks, "JPEG")
    assert decode_image(data).pixels[0, 0].tolist() == [0, 255, 255]
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    plain = data[:start] + data[start + 2 + length :]  # stored as 0, 255, 255, 255: all black
    assert decode_image(plain).pixels.max() == 0


def test_a_jpeg_of_120_megapixels_is_read_at_a_reduced_scale() -> None:
    data = saved(Image.new("L", (12_000, 10_000), 77), "JPEG")
    decoded = decode_image(data, ImageLimits(max_pixels=4_000_000))
    assert (decoded.info.width, decoded.info.height) == (12_000, 10_000)
    assert (decoded.pixels == 77).all()


def test_a_progressive_one_needs_memory_for_all_its_coefficients() -> None:
    data = saved(Image.new("L", (3_000, 2_000), 77), "JPEG", progressive=True)
    limits = ImageLimits(max_pixels=1_000_000)
    with pytest.raises(ImageTooLargeError, match=r"a progressive JPEG of 3,000 x 2,000 pixels takes \d+ MB of memory"):
        decode_image(data, limits)
    decode_image(saved(Image.new("L", (3_000, 2_000), 77), "JPEG"), limits)


def test_many_segments_between_scans_are_refused_quickly() -> None:
    data = saved(NOISE, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    crowded = data[:start] + b"\xff\xfe\x00\x02" * 100_000 + data[start:]
    began = time.monotonic()
    with pytest.raises(InvalidImageError, match="more parts than any image needs"):
        decode_image(crowded)
    assert time.monotonic() - began < 5


def test_damaged_exif_data_never_refuse_an_image() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010F] = 6, 72.0, "Maker"
    data = saved(Image.fromarray(COLORS), "JPEG", exif=exif)
    start, generator = data.index(b"Exif\0\0"), np.random.default_rng(0)
    end = start - 2 + int.from_bytes(data[start - 2 : start], "big")
    for _ in range(300):
        damaged = bytearray(data)
        for place in generator.integers(start, end, 5):
            damaged[place] = generator.choice([0, 1, 255, 128])
        decode_image(bytes(damaged))
