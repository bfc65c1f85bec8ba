"""Each file of tests/cases/images gives the result that its row in the README calls right."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from model.exceptions import InvalidImageError, UnsupportedImageError
from model.images.info import DecodedImage
from model.images.preprocess import decode_image

FOLDER = Path(__file__).parents[3] / "cases" / "images"
FILES = {path.name for path in FOLDER.iterdir() if path.suffix in (".gif", ".gz", ".jpg", ".png", ".tif")}
EXPECTED = sorted(name.removesuffix(".expected.png") for name in FILES if name.endswith(".expected.png"))
DAMAGED = {
    "500-bigtiff-offset.tif": "an offset points outside the file",
    "read-png-second-half-zeros.png": "the checksum of its IDAT chunk is wrong",
    "read-jpeg-cut-and-ended.jpg": "no data for its lower part",
}
READ = ("refused-tiff-16bit-palette.tif.gz", "log-tiff-g3-broken-lines.tif")
MAX_DIFFERENCE = 3.0
"""Maximum mean difference of pixels: a JPEG doesn't equal its expected PNG exactly."""


def read(name: str) -> bytes:
    data = (FOLDER / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def decode(name: str) -> DecodedImage:
    return decode_image(read(name))


def test_no_file_is_forgotten() -> None:
    assert {name for name in FILES if not name.endswith(".expected.png")} == {*EXPECTED, *DAMAGED, *READ}


@pytest.mark.parametrize("name", EXPECTED)
def test_it_is_what_a_viewer_shows(name: str) -> None:
    expected = decode(f"{name}.expected.png").pixels.astype(int)
    assert np.abs(decode(name).pixels - expected).mean() < MAX_DIFFERENCE


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name: str) -> None:
    with pytest.raises(InvalidImageError, match=DAMAGED[name]) as caught:
        decode(name)
    assert not isinstance(caught.value, UnsupportedImageError)


@pytest.mark.parametrize("name", READ)
def test_it_is_read(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert decode(name).pixels.std() > 0
    assert capfd.readouterr() == ("", ""), "libtiff writes past the log"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("thumbnail-tiff-small-page-first.tif", "page"),
        ("refused-png-broken-exif.png", "metadata"),
        ("jpeg-broken-exif-3.jpg", "metadata"),
    ],
)
def test_what_was_done_is_said(name: str, kind: str) -> None:
    (warning,) = decode(name).info.warnings
    assert warning.kind == kind
