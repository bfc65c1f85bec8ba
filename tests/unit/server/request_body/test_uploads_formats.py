"""The table of images in docs/images.md: a real sample for each row, sent to a server."""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  # lets Pillow write JPEG XL
import pytest
from PIL import Image, ImageCms
from starlette.testclient import TestClient

from tests.helpers.image_files import ALPHA, COLORS, GRAY, bmp, png, png_chunk, saved, tiff

ROOT = Path(__file__).parents[4]
DOCUMENT = ROOT / "docs" / "images.md"
CASES = ROOT / "tests" / "cases" / "images"


def plain(mode: str = "RGB", size: tuple[int, int] = (300, 200), color: object = None) -> Image.Image:
    return Image.new(mode, size, color)  # type: ignore[arg-type]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))


def case(name: str) -> bytes:
    data = (CASES / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(noise()).save(file)
    return file.getvalue()


def oriented() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise(), "JPEG", exif=exif)


def of_other_colors() -> bytes:
    return saved(noise(), "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


def display_p3() -> bytes:
    """sRGB's profile under another name."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("sRGB", "sRGB built-in"):
        profile = profile.replace(name.encode("utf-16-be"), name.replace("sRGB", "P3  ").encode("utf-16-be"))
        profile = profile.replace(name.encode(), name.replace("sRGB", "P3  ").encode())
    return saved(noise(), "PNG", icc_profile=profile)


def animated(form: str) -> bytes:
    return saved(plain(color="red"), form, save_all=True, append_images=[plain(color="blue")])


def invisible() -> bytes:
    return bmp(np.zeros((64, 64), np.uint32), 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), header=124)


def claimed_size(width: int, height: int) -> bytes:
    """A small PNG whose header claims another size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = bytearray(saved(plain(size=(10, 10)), "PNG"))
    data[16:29], data[29:33] = header, struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(data)


def many_scans() -> bytes:
    data = saved(plain("L", (4000, 4000), 128), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * 1000 + data[-2:]


def crowded() -> bytes:
    data = png(GRAY[..., None], 0, 8)
    return data[:33] + png_chunk(b"prVt") * 70_000 + data[33:]


def with_text() -> bytes:
    data = png(GRAY[..., None], 0, 8)
    return data[:33] + png_chunk(b"tEXt", b"a\0" + bytes(1_500_000)) + png_chunk(b"prVt")[:-1] + b"?" + data[33:]


SAMPLES: dict[str, Callable[[], bytes]] = {
    "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, PPM": lambda: saved(noise(), "AVIF"),
    "HEIC": heic,
    "JPEG XL": lambda: saved(noise(), "JXL"),
    "EXIF orientation 1 to 8": oriented,
    "orientation in XMP only": lambda: case("turned-jpeg-xmp-orientation-only.jpg"),
    "damaged EXIF data": lambda: case("refused-png-broken-exif.png"),
    "a color profile: Display P3, Adobe RGB, CMYK, gray": display_p3,
    "wide colors or high dynamic range named by numbers: BT.2020, PQ, HLG (AVIF, HEIC, PNG)": lambda: png(
        COLORS.astype(np.int64), 2, 8, [(b"cICP", bytes([9, 16, 0, 1]))]
    ),
    "a color profile that is damaged or for other colors": of_other_colors,
    "CMYK": lambda: saved(plain("CMYK", color=(200, 30, 30, 10)), "JPEG"),
    "CIELAB": lambda: case("white-tiff-cielab.tif"),
    "palette with transparency": lambda: saved(Image.fromarray(GRAY).convert("P"), "PNG", transparency=0),
    "alpha": lambda: saved(Image.fromarray(np.dstack([COLORS, ALPHA])), "PNG"),
    "gray with alpha": lambda: saved(plain("LA", color=(9, 200)), "PNG"),
    "a transparent color, in a PNG of 1 to 16 bits": lambda: case("white-png-16bit-gray-trns.png"),
    "over twice as long as wide": lambda: saved(plain(size=(700, 300)), "PNG"),
    "fully transparent": invisible,
    "one bit": lambda: saved(plain("1"), "TIFF"),
    "16-bit gray": lambda: saved(Image.fromarray(np.full((300, 300), 40000, np.uint16)), "PNG"),
    "12 bits in 16": lambda: png(GRAY[..., None].astype(np.int64) * 16, 0, 16),
    "TIFF of 16 or 32 bits, with or without sign, in planes, either byte order, white or black as zero": lambda: case(
        "noise-tiff-16bit-rgb-planar.tif"
    ),
    "TIFF with negative samples that use under a sixteenth of its range": lambda: tiff(GRAY.astype(np.int16) - 100),
    "floating-point TIFF from 0 to 1, 255 or 65535": lambda: tiff((GRAY / 255).astype(np.float32)),
    "floating-point TIFF of another range": lambda: tiff(GRAY.astype(np.float32) - 9),
    "TIFF of several pages": lambda: case("thumbnail-tiff-small-page-first.tif"),
    "animated": lambda: animated("GIF"),
    "a GIF whose first frame is smaller than its screen": lambda: case("black-gif-small-first-frame.gif"),
    "a phone's multi-image JPEG": lambda: animated("MPO"),
    "a motion photo, or anything else behind the image": lambda: saved(noise(), "JPEG") + b"\xff\xda" * 90_000,
    "1 x 1": lambda: saved(plain(size=(1, 1)), "PNG"),
    "20000 x 1": lambda: saved(plain(size=(20000, 1)), "PNG"),
    "a megabyte of text in a PNG, or a wrong checksum in a chunk that doesn't matter": with_text,
    "a wrong checksum of a PNG's pixels": lambda: case("read-png-second-half-zeros.png"),
    "a JPEG or PNG that lacks only its end marker": lambda: saved(noise(), "JPEG")[:-2],
    "cut off": lambda: saved(noise(), "JPEG")[:9000],
    "a JPEG that was cut off and ended": lambda: case("read-jpeg-cut-and-ended.jpg"),
    "more parts than any image needs": crowded,
    "JPEG of up to 256 million pixels": lambda: saved(plain("L", (10_000, 9_000), 99), "JPEG"),
    "more pixels than `ALEXNET_MAX_PIXELS`, or 30,000 a side": lambda: claimed_size(60_000, 60_000),
    "a JPEG of very many scans": many_scans,
    "SVG, PDF, HTML, JPEG 2000, PSD, EPS, video, raw files of cameras": lambda: b"FUJIFILMCCD-RAW 0201",
    "an empty file": lambda: b"",
}


def rows() -> dict[str, tuple[str, int]]:
    """The table: what is sent -> what is done with it, and the status."""
    table = DOCUMENT.read_text().split("\n## ")[0]
    result = re.findall(r"^\| (.+?) \| (.+?) \| (\d+)[^|]*\|$", table, re.MULTILINE)
    return {sent: (done, int(status)) for sent, done, status in result}


def test_every_row_has_a_sample() -> None:
    assert list(rows()) == list(SAMPLES)


@pytest.mark.parametrize("sent", SAMPLES)
def test_the_row_is_true(sent: str, client: TestClient) -> None:
    answer = client.post("/classify", files={"image": ("image", SAMPLES[sent]())})
    done, status = rows()[sent]
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]["message"]
        return
    kinds = {warning["kind"] for warning in answer.json()["image"]["warnings"]}
    assert kinds == set(re.findall(r"warning `(\w+)`", done))


@pytest.mark.parametrize("sent", ["animated", "a phone's multi-image JPEG"])
def test_other_frames_are_ignored(sent: str, client: TestClient) -> None:
    assert client.post("/classify", content=SAMPLES[sent]()).json()["image"]["frames_ignored"]
