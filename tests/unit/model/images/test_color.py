"""Color profiles are converted to sRGB, compared with the formulas of the color spaces; CIELAB; wrong profiles."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

from model.images.contract import ImageContract
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, GRAY, saved

# columns: XYZ (D50) of the primaries, as in the profiles of Adobe (1998) and of Apple (Display P3)
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
D50 = (0.96420, 1.0, 0.82491)


def make_profile(primaries: tuple[tuple[float, ...], ...], gamma: float, name: str) -> bytes:
    """An ICC profile (version 2) of three primaries and a gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65_536))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"wtpt": xyz(D50), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= {name: xyz(primary) for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    start, table, content = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += tag + struct.pack(">II", start + len(content), len(value))
        content += padded
    header = b"lcms\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + b"".join(map(fixed, D50))
    body = struct.pack(">I", len(tags)) + table + content
    return struct.pack(">I", 128 + len(body)) + header.ljust(124, b"\0") + body


def to_srgb(levels: NDArray[np.uint8], primaries: tuple[tuple[float, ...], ...], gamma: float) -> NDArray[np.int64]:
    """By the definitions: linear light, primaries, sRGB's primaries, sRGB's curve."""
    light = (levels / 255) ** gamma
    linear = np.clip(light @ np.array(primaries) @ np.linalg.inv(np.array(SRGB)), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: NDArray[np.float64] = np.rint(encoded * 255)
    return rounded.astype(np.int64)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("primaries", "name"), [(ADOBE_RGB, "Adobe RGB (1998)"), (DISPLAY_P3, "Display P3")], ids=["adobe", "p3"]
)
def test_colors_are_converted(form: str, primaries: tuple[tuple[float, ...], ...], name: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(Image.fromarray(COLORS), form, icc_profile=make_profile(primaries, 563 / 256, name), **options)
    decoded = decode_image(data)
    difference = np.abs(decoded.pixels - to_srgb(COLORS, primaries, 563 / 256))
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 2
    (warning,) = decoded.info.warnings
    assert (warning.kind, warning.message) == ("color_profile", f"its colors were converted from {name} to sRGB")
    ignored = decode_image(data, contract=ImageContract(color_profiles=False))
    np.testing.assert_array_equal(ignored.pixels, COLORS)
    assert [warning.kind for warning in ignored.info.warnings] == ["color_profile_ignored"]


def test_libvips_converts_inks_to_the_same() -> None:
    image = pyvips.Image.new_from_memory(COLORS.tobytes(), 256, 256, 3, "uchar").copy(interpretation="srgb")
    data = image.icc_transform("cmyk", input_profile="srgb").jpegsave_buffer(Q=98, profile="cmyk")
    back = pyvips.Image.new_from_buffer(data, "").icc_transform(
        "srgb", embedded=True, intent="relative", black_point_compensation=True
    )
    expected = np.frombuffer(back.write_to_memory(), np.uint8).reshape(256, 256, 3).astype(int)
    assert np.abs(decode_image(data).pixels - expected).mean() < 4


def test_a_profile_of_srgb_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    decoded = decode_image(saved(Image.fromarray(COLORS), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert not decoded.info.warnings


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (b"no profile", "its color profile is damaged"),
        (make_profile(ADOBE_RGB, 2.2, "x")[:200], "its color profile is damaged"),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "its color profile is for Lab, not RGB"),
        (bytes(5_000_000), "its color profile is"),
    ],
    ids=["text", "cut", "of another space", "huge"],
)
def test_a_profile_that_can_not_be_used_is_said(profile: bytes, said: str) -> None:
    decoded = decode_image(saved(Image.fromarray(COLORS), "TIFF", icc_profile=profile))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    (warning,) = decoded.info.warnings
    assert warning.message.startswith(said)


def test_grays_with_a_profile_for_colors_stay() -> None:
    data = saved(Image.fromarray(GRAY), "PNG", icc_profile=make_profile(DISPLAY_P3, 2.2, "Display P3"))
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels[..., 0], GRAY)
    assert not decoded.info.warnings


def test_what_is_transparent_everywhere_is_said() -> None:
    image = Image.fromarray(COLORS)
    image.putalpha(0)
    decoded = decode_image(saved(image, "PNG"))
    assert (decoded.pixels == 255).all()
    assert [warning.kind for warning in decoded.info.warnings] == ["transparency"]
