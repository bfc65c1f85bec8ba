"""docs/operations.md's table of images: one real sample a row, sent to a server."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from starlette.testclient import TestClient

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = (300, 200), color: object = None) -> Image.Image:
    return Image.new(mode, size, color)  # type: ignore[arg-type]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))


def oriented() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise(), "JPEG", exif=exif)


def animated(form: str) -> bytes:
    return saved(plain(color="red"), form, save_all=True, append_images=[plain(color="blue")])


def claimed_size(width: int, height: int) -> bytes:
    """A small PNG whose header says otherwise."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = bytearray(saved(plain(size=(10, 10)), "PNG"))
    data[16:29], data[29:33] = header, struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(data)


def many_scans() -> bytes:
    data = saved(plain("L", (4000, 4000), 128), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * 1000 + data[-2:]


def profiled() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(plain("CMYK", color=(200, 30, 30, 10)), "JPEG", icc_profile=profile)


SAMPLES: dict[str, Callable[[], bytes]] = {
    "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF": lambda: saved(noise(), "AVIF"),
    "EXIF orientation 1 to 8": oriented,
    "16-bit gray": lambda: saved(Image.fromarray(np.full((300, 300), 40000, np.uint16)), "PNG"),
    "CMYK": lambda: saved(plain("CMYK", color=(200, 30, 30, 10)), "JPEG"),
    "CMYK with a profile": profiled,
    "palette with transparency": lambda: saved(plain("P"), "PNG", transparency=0),
    "alpha": lambda: saved(plain("RGBA", color=(255, 0, 0, 0)), "PNG"),
    "gray with alpha": lambda: saved(plain("LA", color=(9, 0)), "PNG"),
    "one bit": lambda: saved(plain("1"), "TIFF"),
    "animated": lambda: animated("GIF"),
    "a phone's multi-image JPEG": lambda: animated("MPO"),
    "1 x 1": lambda: saved(plain(size=(1, 1)), "PNG"),
    "20000 x 1": lambda: saved(plain(size=(20000, 1)), "PNG"),
    "cut off": lambda: saved(noise(), "JPEG")[:9000],
    "floating-point pixels": lambda: saved(plain("F"), "TIFF"),
    "more pixels than `ALEXNET_MAX_PIXELS`, or 30,000 a side": lambda: claimed_size(60_000, 60_000),
    "a JPEG of very many scans": many_scans,
    "SVG, PDF, HTML, HEIC, PSD, EPS, video": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "an empty file": lambda: b"",
}


def rows() -> dict[str, tuple[str, int]]:
    """The table: what is sent -> what is done with it, and the status."""
    table = DOCUMENT.read_text().split("## How images are read")[1].split("\n## ")[0]
    result = re.findall(r"^\| (.+?) \| (.+?) \| (\d+)[^|]*\|$", table, re.MULTILINE)
    return {sent: (done, int(status)) for sent, done, status in result}


def test_every_row_has_a_sample() -> None:
    assert list(rows()) == list(SAMPLES)


@pytest.mark.parametrize("sent", SAMPLES)
def test_the_row_is_true(sent: str, client: TestClient) -> None:
    answer = client.post("/classify", files={"image": ("image", SAMPLES[sent]())})
    assert answer.status_code == rows()[sent][1], answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]


def test_a_profile_changes_nothing(client: TestClient) -> None:
    with_profile, without = (
        client.post("/classify", content=SAMPLES[sent]()).json() for sent in ("CMYK with a profile", "CMYK")
    )
    assert with_profile == without
    assert without["image"]["mode"] == "CMYK"
