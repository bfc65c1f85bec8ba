"""Color profiles are converted to sRGB, compared with the formulas of the color spaces; CIELAB; wrong profiles."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

from benchmarks.icc_profiles import ADOBE_RGB, DISPLAY_P3, SRGB
from model.images.contract import ImageContract
from model.images.icc import make_profile
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, GRAY, saved


def to_srgb(levels: NDArray[np.uint8], primaries: tuple[tuple[float, ...], ...], gamma: float) -> NDArray[np.int64]:
    """By the definitions: linear light, from `primaries` to sRGB's, then sRGB's curve."""
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
        (bytes(5_000_000), "its color profile is too large"),
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


@pytest.mark.parametrize(
    ("primaries", "gamma", "name"),
    [(SRGB, 1.0, "GIMP built-in Linear sRGB"), (ADOBE_RGB, 2.2, "ClayRGB-elle-V4-srgbtrc.icc")],
    ids=["linear", "other primaries"],
)
def test_a_profile_is_not_srgb_by_its_name(primaries: tuple[tuple[float, ...], ...], gamma: float, name: str) -> None:
    decoded = decode_image(saved(Image.fromarray(COLORS), "PNG", icc_profile=make_profile(primaries, gamma, name)))
    difference = np.abs(decoded.pixels - to_srgb(COLORS, primaries, gamma))
    assert np.percentile(difference, 95) <= 3
    assert [warning.kind for warning in decoded.info.warnings] == ["color_profile"]
