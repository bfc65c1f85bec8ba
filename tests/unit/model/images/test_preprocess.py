"""The image contract, with a real sample for each rule."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from model.exceptions import ImageTooLargeError, InvalidImageError, UnsupportedImageError
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def quarters(width: int = 320, height: int = 320) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (width, height), WHITE)
    for color, (x, y) in {RED: (0, 0), GREEN: (1, 0), BLUE: (0, 1)}.items():
        image.paste(color, (x * width // 2, y * height // 2, (x + 1) * width // 2, (y + 1) * height // 2))
    return image


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_allowed_format_is_read(form: str) -> None:
    image = decode_image(saved(quarters(), form))
    assert image.info.format == form
    assert image.pixels.shape == (256, 256, 3)
    assert image.pixels.dtype == np.uint8
    assert np.abs(image.pixels[30, 30].astype(int) - RED).max() < 12
    assert np.abs(image.pixels[220, 30].astype(int) - BLUE).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(320, 320), (400, 300), (301, 455), (256, 257), (259, 256)])
def test_orientation_gives_the_same_upright_image(orientation: int, size: tuple[int, int]) -> None:
    upright = quarters(*size)
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(saved(stored, "PNG", exif=exif))
    assert image.info.orientation == orientation
    expected = decode_image(saved(upright, "PNG")).pixels
    assert np.abs(image.pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "size",
    [(512, 768), (301, 455), (455, 301), (300, 300), (256, 257), (257, 256), (640, 427), (333, 1000), (100, 139)],
)
def test_the_center_of_the_resized_image(size: tuple[int, int]) -> None:
    """As in the paper: resize the shorter side to 256, then cut out the center between whole pixels."""
    width, height = size
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    shorter = min(size)
    resized = image.resize((256 * width // shorter, 256 * height // shorter), Image.Resampling.BILINEAR)
    left, top = (resized.width - 256) // 2, (resized.height - 256) // 2
    expected = np.asarray(resized.crop((left, top, left + 256, top + 256))).astype(int)
    assert np.abs(decode_image(saved(image, "PNG")).pixels - expected).max() <= 1


@pytest.mark.parametrize("side", [257, 259, 383])
def test_no_blur_where_the_excess_is_odd(side: int) -> None:
    """If the shorter side has 256 pixels, nothing is resized, so pixels keep their values."""
    pixels = np.random.default_rng(1).integers(0, 256, (256, side, 3), dtype=np.uint8)
    start = (side - 256) // 2
    np.testing.assert_array_equal(
        decode_image(saved(Image.fromarray(pixels), "PNG")).pixels, pixels[:, start : start + 256]
    )


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    samples = np.full((300, 300), 0x8000, np.uint16)
    image = decode_image(saved(Image.fromarray(samples), "PNG"))
    assert image.info.mode.startswith("I")
    assert (image.pixels == 127).all()


@pytest.mark.parametrize(
    ("image", "form"),
    [
        (Image.new("RGBA", (300, 300), (255, 0, 0, 0)), "PNG"),
        (Image.new("LA", (300, 300), (0, 0)), "PNG"),
        (Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "WEBP"),
    ],
)
def test_transparent_pixels_are_white(image: Image.Image, form: str) -> None:
    assert (decode_image(saved(image, form)).pixels == 255).all()


def test_palette_with_transparency_is_white_there() -> None:
    image = Image.new("P", (300, 300), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert (decode_image(saved(image, "PNG", transparency=0)).pixels == 255).all()


@pytest.mark.parametrize(("mode", "color"), [("L", 70), ("1", 1), ("CMYK", (255, 0, 0, 0)), ("YCbCr", (70, 128, 128))])
def test_other_modes_become_rgb(mode: str, color: object) -> None:
    form = "PNG" if mode in ("L", "1") else "JPEG"
    image = Image.new(mode, (300, 300), color)  # type: ignore[arg-type]
    expected = np.asarray(image.convert("RGB"))[0, 0].astype(int)
    assert np.abs(decode_image(saved(image, form)).pixels.astype(int) - expected).max() <= 4


def test_first_frame_of_an_animation_and_says_so() -> None:
    frames = [Image.new("RGB", (300, 300), color) for color in (RED, GREEN, BLUE)]
    image = decode_image(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.info.frames_ignored
    assert tuple(image.pixels[100, 100]) == RED


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (20000, 1), (1, 20000)])
def test_extreme_shapes_are_read(size: tuple[int, int]) -> None:
    assert (decode_image(saved(Image.new("RGB", size, GREEN), "PNG")).pixels == GREEN).all()


@pytest.mark.parametrize("data", [b"", b"hello", b"<html></html>" * 100, b"%PDF-1.7\n", bytes(1000)])
def test_no_image_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="not an image in a supported format"):
        decode_image(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_file_is_an_invalid_image(form: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    data = saved(noise, form)
    with pytest.raises(InvalidImageError):
        decode_image(data[: int(share * len(data))])


def test_a_bomb_is_refused_on_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = bytearray(saved(Image.new("RGB", (10, 10)), "PNG"))
    data[16:29] = header
    data[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(ImageTooLargeError):
        decode_image(bytes(data))


@pytest.mark.parametrize(
    ("limits", "advice"),
    [
        (ImageLimits(max_pixels=300 * 300 - 1), "downscale it; commands allow more with --max-pixels"),
        (ImageLimits(max_side=299), "downscale it"),
    ],
)
def test_limits_are_kept(limits: ImageLimits, advice: str) -> None:
    data = saved(Image.new("RGB", (300, 300)), "PNG")
    with pytest.raises(ImageTooLargeError, match=f"image too large: .* per side are allowed: {advice}$"):
        decode_image(data, limits)


def _raiser(error: Exception) -> Callable[..., Image.Image]:
    def fail(*_: object, **__: object) -> Image.Image:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [ValueError(), IndexError(), TypeError(), SyntaxError(), struct.error(), OSError(), KeyError(), OverflowError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_pillow_raises_is_an_invalid_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin, "PngImageFile", _raiser(error))
    with pytest.raises(InvalidImageError, match=type(error).__name__):
        decode_image(saved(quarters(), "PNG"))


def test_reduced_decoding_stays_close_to_full_decoding() -> None:
    y, x = np.mgrid[:3000, :4000]
    pixels = np.stack([x % 256, y % 256, (x + y) // 28], -1).astype(np.uint8)
    large = Image.fromarray(pixels).resize((4000, 3000))
    reduced = decode_image(saved(large, "JPEG", quality=95)).pixels.astype(int)
    full = decode_image(saved(large, "PNG")).pixels.astype(int)
    assert np.abs(reduced - full).mean() < 2


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_once_whatever_the_format(form: str, orientation: int) -> None:
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(saved(quarters().transpose(back), form, exif=exif))
    assert np.abs(image.pixels[40, 40].astype(int) - RED).max() < 12
    assert np.abs(image.pixels[40, 216].astype(int) - GREEN).max() < 12


def test_hidden_colors_do_not_bleed_over_the_edge_of_transparency() -> None:
    image = Image.new("RGBA", (512, 512), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 255, 512))
    assert (decode_image(saved(image, "PNG")).pixels == 255).all()


def test_a_phone_s_multi_image_file_is_a_jpeg() -> None:
    image = decode_image(saved(quarters(), "MPO", save_all=True, append_images=[quarters()]))
    assert (image.info.format, image.info.frames_ignored) == ("JPEG", True)


def test_a_jpeg_of_a_thousand_scans_is_refused_before_it_is_decoded() -> None:
    data = saved(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    bomb = data[:start] + data[start:-2] * 1000 + data[-2:]
    started = time.monotonic()
    with pytest.raises(ImageTooLargeError, match="scans"):
        decode_image(bomb)
    assert time.monotonic() - started < 1
    assert decode_image(data).pixels.shape == (256, 256, 3)


def test_an_orientation_that_is_no_number_is_ignored() -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, 2, 3, b"up\0\0", 0)  # type 2 is text
    assert decode_image(saved(quarters(), "JPEG", exif=exif)).info.orientation == 1


@pytest.mark.parametrize(
    ("size", "message"),
    [((600, 300), None), ((300, 1201), "only the middle 25 % of its longer side was used")],
)
def test_how_little_of_a_long_image_is_used_is_said(size: tuple[int, int], message: str | None) -> None:
    warnings = decode_image(saved(Image.new("RGB", size), "PNG")).info.warnings
    assert [(warning.kind, warning.message) for warning in warnings] == ([("narrow", message)] if message else [])
