"""Formats are told by their first bytes; a refusal names what a file is; HEIC and JPEG XL come with extras."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  # lets Pillow write JPEG XL
import pytest
from PIL import Image

from model.exceptions import ImageTooLargeError, InvalidImageError, UnsupportedImageError
from model.images.extras import read_jxl_size
from model.images.formats import EXTRA_FORMATS, FORMATS, MEDIA_TYPES, identify_format
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, saved


def test_every_format_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == {*FORMATS, *EXTRA_FORMATS}
    registered = {name: Image.MIME[name] for name in MEDIA_TYPES if name in Image.MIME and name != "PPM"}
    assert {name: MEDIA_TYPES[name] for name in registered} == registered


REFUSED = {
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"8BPS\0\1": "PSD",
    b"%PDF-1.7": "PDF",
    b"%!PS-Adobe-3.0 EPSF": "EPS",
    b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>": "SVG",
    b"\xef\xbb\xbf<!DOCTYPE html><html>": "HTML",
    b"FUJIFILMCCD-RAW 0201": "Fujifilm RAF",
    b"IIRO\x08\0\0\0": "Olympus ORF",
    b"IIU\0\x18\0\0\0": "Panasonic RW2",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom": "Canon CR3",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom": r"video \(mp42\)",
    b"\x1aE\xdf\xa3\x01\0": "video",
    b"RIFF\x10\0\0\0AVI LIST": "video",
    b"\0\0\1\0\1\0": "ICO",
    b"v/1\x01\2\0\0\0": "OpenEXR",
    b"PF\n2 2\n-1.0\n": "PFM in color",
    bytes(128) + b"DICM": "DICOM",
    b"PK\3\4\x14\0": "ZIP",
    bytes(600): "zeros",
    b"": "the file is empty",
    b"just a text": "match none of these",
}


@pytest.mark.parametrize("data", REFUSED)
def test_a_refusal_names_the_format(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match=REFUSED[data]):
        decode_image(data)


@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_told_by_their_first_bytes(form: str) -> None:
    assert identify_format(saved(Image.fromarray(COLORS), form)[:4096]) == form


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95, chroma=444, **options)
    return file.getvalue()


MAKERS: dict[str, Callable[..., bytes]] = {
    "HEIC": heic,
    "JPEG XL": lambda image, **options: saved(image, "JXL", lossless=True, **options),
}


@pytest.mark.parametrize("name", MAKERS)
def test_formats_of_extras(name: str) -> None:
    decoded = decode_image(MAKERS[name](Image.fromarray(COLORS)))
    assert decoded.info.format == name
    assert np.abs(decoded.pixels.astype(int) - COLORS).max() <= 4


@pytest.mark.parametrize("name", MAKERS)
def test_they_are_turned_upright_once(name: str) -> None:
    image, exif = Image.fromarray(np.ascontiguousarray(COLORS[:200])), Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(MAKERS[name](image, exif=exif.tobytes()))
    turned = name == "HEIC"  # pillow-heif also writes the rotation itself; JPEG XL's EXIF orientation doesn't count
    assert (decoded.info.width < decoded.info.height) == turned


@pytest.mark.parametrize(("name", "module"), [("HEIC", "pillow_heif"), ("JPEG XL", "pillow_jxl.JpegXLImagePlugin")])
def test_without_the_extra_it_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = MAKERS[name](Image.fromarray(COLORS))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedImageError, match=rf"{name} image, .* extra `{EXTRA_FORMATS[name]}`"):
        decode_image(data)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_they_may_be_damaged(name: str, share: float) -> None:
    data = MAKERS[name](Image.fromarray(COLORS))
    with pytest.raises(InvalidImageError):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("size", [(8, 8), (256, 256), (300, 200), (200, 300), (256, 144), (17, 1000)])
@pytest.mark.parametrize("use_container", [False, True])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int], use_container: bool) -> None:
    data = saved(Image.new("RGB", size), "JXL", use_container=use_container)
    assert read_jxl_size(data) == size


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "JXL"])
def test_formats_that_need_much_memory_have_fewer_pixels(form: str) -> None:
    data = saved(Image.new("RGB", (300, 300)), form)
    with pytest.raises(ImageTooLargeError, match=r"of 300 x 300 pixels takes \d+ MB of memory to decode"):
        decode_image(data, ImageLimits(max_pixels=300 * 300))
    decode_image(data, ImageLimits(max_pixels=2 * 300 * 300))
