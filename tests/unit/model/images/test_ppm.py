"""PPM files: samples of any range give the pixels of Pillow's own decoder, and comments are limited."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from model.exceptions import InvalidImageError
from model.images.ppm import load_pixels, open_ppm
from model.images.preprocess import decode_image

MAGICS = {b"P5": 1, b"P6": 3, b"P0CMYK": 4, b"PyRGBA": 4}


@pytest.mark.parametrize("largest", [1, 100, 254, 256, 4_095, 65_534])
@pytest.mark.parametrize("magic", MAGICS, ids=bytes.decode)
def test_pixels_are_those_of_pillow(magic: bytes, largest: int) -> None:
    """Even for samples above the declared maximum."""
    dtype = np.dtype("u1" if largest < 256 else ">u2")
    samples = np.random.default_rng(0).integers(0, 1 << 8 * dtype.itemsize, (30, 20, MAGICS[magic])).astype(dtype)
    data = magic + b"\n20 30\n%d\n" % largest + samples.tobytes()
    with Image.open(io.BytesIO(data)) as expected:
        loaded = load_pixels(open_ppm(data), data)
        assert (loaded.mode, loaded.size) == (expected.mode, expected.size)
        np.testing.assert_array_equal(np.asarray(loaded), np.asarray(expected))


@pytest.mark.parametrize("largest", [100, 1_000])
def test_missing_samples_are_refused(largest: int) -> None:
    with pytest.raises(InvalidImageError, match="damaged or incomplete"):
        decode_image(b"P6\n2 2\n%d\nabc" % largest)


PPM_COMMENTS = {
    "header": (b"P6 " + b"#\n" * 500_000 + b"1 1 255\nabc", "damaged or incomplete"),
    "header, one": (b"P6 #" + b"a" * 1_000_000 + b"\n1 1 255\nabc", "damaged or incomplete"),
    "numbers": (b"P3 1 1 255\n" + b"#\n" * 20_000 + b"1 2 3", "more parts than any image needs"),
}


@pytest.mark.parametrize(("data", "message"), PPM_COMMENTS.values(), ids=PPM_COMMENTS)
def test_a_ppm_of_comments(data: bytes, message: str) -> None:
    """Three megabytes of comments among the numbers kept a decoder busy for minutes."""
    with pytest.raises(InvalidImageError, match=message):
        decode_image(data)


def test_a_ppm_with_comments() -> None:
    data = b"P3 #a\n2 #b\n1 255\n" + b"#c\n" * 50 + b"1 2 3 #d\n4 5 6"
    info = decode_image(data).info
    assert (info.width, info.height) == (2, 1)
