"""TIFF: the page that is read, raw files, and the range of samples."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from model.exceptions import ImageTooLargeError, InvalidImageError, UnsupportedImageError
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, GRAY, saved, tiff, widen


def pages(*written: tuple[np.ndarray[Any, Any], dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for samples, options in written:
            writer.write(samples, metadata=None, **options)
    return file.getvalue()


SMALL, OTHER = COLORS[:64, :64], 255 - COLORS
REDUCED = {"subfiletype": 1}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([(COLORS, {}), (OTHER, {})], "it has 2 pages: page 1 was used"),
        ([(SMALL, {}), (COLORS, {}), (OTHER, {})], "it has 3 pages: page 2 was used"),
        ([(SMALL, REDUCED), (COLORS, {})], "it has 2 pages: page 2 was used"),
        ([(COLORS, {}), (SMALL, REDUCED)], None),
        ([(COLORS, {})], None),
    ],
    ids=["several", "preview, not marked", "preview", "pyramid", "one"],
)
def test_the_page_that_is_read(written: list[tuple[Any, Any]], said: str | None) -> None:
    decoded = decode_image(pages(*written))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert [warning.message for warning in decoded.info.warnings] == ([said] if said else [])


def test_a_chain_of_pages_that_bites_its_tail() -> None:
    data = bytearray(tiff(GRAY, photometric="minisblack"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    np.testing.assert_array_equal(decode_image(bytes(data)).pixels[..., 0], GRAY)


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ([(50706, 1, 4, (1, 4, 0, 0))], "DNG"),
        ([(262, 3, 1, 32803), (271, 2, 0, "NIKON CORPORATION")], "NIKON CORPORATION"),
    ],
)
def test_raw_files_are_refused_by_name(tags: list[tuple[Any, ...]], name: str) -> None:
    data = tiff(GRAY, extratags=[(*tag, True) for tag in tags if tag[0] != 262])
    if tags[0][0] == 262:
        place = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
        data = data[:place] + struct.pack("<H", 32803) + data[place + 2 :]
    with pytest.raises(UnsupportedImageError, match=rf"camera raw file \({name}\)"):
        decode_image(data)


@pytest.mark.parametrize(
    ("samples", "kind", "shown"),
    [
        (GRAY.astype(np.uint16) * 257, None, GRAY),
        (GRAY.astype(np.uint16) * 16, "stretched", GRAY),
        (GRAY.astype(np.uint16) * 4, "stretched", GRAY),
        (GRAY.astype(np.uint16), "stretched", GRAY),
        (GRAY.astype(np.uint32) * 257, "stretched", GRAY),
        (GRAY.astype(np.int16) * 128, "stretched", GRAY),
        (GRAY.astype(np.float32), "floating_point", GRAY),
        (GRAY.astype(np.float64) * 257, "floating_point", GRAY),
        (np.zeros_like(GRAY, np.uint16), None, np.zeros_like(GRAY)),
    ],
    ids=["16", "12 in 16", "10 in 16", "8 in 16", "16 in 32", "15 in 16", "to 255", "to 65535", "black"],
)
def test_the_range_of_samples(samples: np.ndarray[Any, Any], kind: str | None, shown: np.ndarray[Any, Any]) -> None:
    decoded = decode_image(tiff(samples, photometric="minisblack"))
    assert np.abs(decoded.pixels[..., 0].astype(int) - shown).max() <= 1
    assert [warning.kind for warning in decoded.info.warnings] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (GRAY - 100.0, "from -100 to 155, whose range is unknown"),
        (GRAY * 1e6, "whose range is unknown"),
        (np.where(GRAY == 7, np.nan, GRAY), "infinite or not a number"),
        (GRAY.astype(np.complex64), "64-bit complex samples"),
    ],
)
def test_an_unknown_range_is_refused(samples: np.ndarray[Any, Any], said: str) -> None:
    with pytest.raises(InvalidImageError, match=said):
        decode_image(tiff(samples, photometric="minisblack"))


@pytest.mark.parametrize("predictor", [2, 3])
@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_predictor_counts_only_where_the_compression_has_one(compression: str, predictor: int) -> None:
    samples = widen(GRAY, "u2" if predictor == 2 else "f4")
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "TIFF", compression=compression, tiffinfo={317: predictor})
    assert np.abs(decode_image(file.getvalue()).pixels[..., 0].astype(int) - GRAY).max() <= 1


def test_a_strip_counts_as_memory() -> None:
    samples = widen(np.concatenate([COLORS, GRAY[..., None]], -1), "u2")
    data = tiff(samples, photometric="rgb", extrasamples=["unassalpha"], compression="zlib", rowsperstrip=256)
    with pytest.raises(ImageTooLargeError, match=r"a TIFF of 256 x 256 pixels takes 1 MB"):
        decode_image(data, ImageLimits(max_pixels=2 * 256 * 256 - 1))
    decode_image(data, ImageLimits(max_pixels=2 * 256 * 256))


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3"])
def test_damaged_rows_of_a_fax_page_write_nothing_past_the_log(
    compression: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(saved(Image.fromarray(GRAY).convert("1"), "TIFF", compression=compression))
    data[8:3000] = np.random.default_rng(0).bytes(2992)
    capfd.readouterr()
    decode_image(bytes(data))
    assert capfd.readouterr().err == ""
