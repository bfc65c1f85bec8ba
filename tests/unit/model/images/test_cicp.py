"""Colors that a file names by code points, compared with published matrices and values; high dynamic range."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.images.cicp import linearize
from model.images.contract import ImageContract
from model.images.preprocess import decode_image
from tests.helpers.image_files import COLORS, GRAY, png, saved

TO_SRGB = {
    1: np.eye(3),
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    12: np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]]),
}
"""Matrices from linear BT.2020 (ITU-R BT.2087) and Display P3 to linear sRGB."""
LINEAR, SRGB, PQ, HLG = 8, 13, 16, 18


def with_code_points(levels: NDArray[np.uint8], primaries: int, transfer: int, end: bytes = b"\0\1") -> bytes:
    planes = levels[..., None] if levels.ndim == 2 else levels
    chunk = b"cICP", bytes([primaries, transfer]) + end
    return png(planes.astype(np.int64), 0 if levels.ndim == 2 else 2, 8, [chunk])


def encode(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light as sRGB levels."""
    clipped = np.clip(light, 0, 1)
    curved = 1.055 * clipped ** (1 / 2.4) - 0.055
    rounded: NDArray[np.float64] = np.rint(255 * np.where(clipped <= 0.0031308, 12.92 * clipped, curved))
    return rounded


@pytest.mark.parametrize(
    ("primaries", "transfer", "name"),
    [
        (1, LINEAR, "sRGB with linear light"),
        (9, SRGB, "BT.2020"),
        (12, SRGB, "Display P3"),
        (9, PQ, "BT.2020 with PQ"),
        (9, HLG, "BT.2020 with HLG"),
    ],
)
def test_colors_are_converted_to_srgb(primaries: int, transfer: int, name: str) -> None:
    decoded = decode_image(with_code_points(COLORS, primaries, transfer))
    expected = encode(linearize(COLORS / 255, transfer) @ TO_SRGB[primaries].T)
    difference = np.abs(decoded.pixels - expected)
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 2
    (warning,) = decoded.info.warnings
    assert (warning.kind, warning.message) == ("color_profile", f"its colors were converted from {name} to sRGB")


@pytest.mark.parametrize(
    ("transfer", "level", "light"),
    [(PQ, 0.5081, 100), (PQ, 0.5807, 203), (PQ, 0.7518, 1000), (HLG, 0.75, 203), (HLG, 1.0, 1000), (PQ, 0.0, 0)],
)
def test_luminances_of_the_standards_are_compressed(transfer: int, level: float, light: float) -> None:
    """By ITU-R BT.2100 and BT.2408, whose reference white has 203 cd/m2, and Reinhard et al. 2002, equation 4."""
    relative, peak = light / 203, 1000 / 203
    expected = relative * (1 + relative / peak**2) / (1 + relative)
    assert linearize(np.array([level]), transfer)[0] == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("transfer", [4, 5, LINEAR, SRGB, PQ, HLG])
def test_light_rises_from_black_to_white(transfer: int) -> None:
    light = linearize(np.linspace(0, 1, 1001), transfer)
    assert light[0] == 0
    assert light[-1] == pytest.approx(1)
    assert (np.diff(light) >= 0).all()


@pytest.mark.parametrize("transfer", [1, 2, 6, 13, 14, 15])
@pytest.mark.parametrize("primaries", [1, 2])
def test_what_is_shown_as_srgb_stays(primaries: int, transfer: int) -> None:
    decoded = decode_image(with_code_points(COLORS, primaries, transfer))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert not decoded.info.warnings


def test_grays_have_a_curve_and_no_primaries() -> None:
    decoded = decode_image(with_code_points(GRAY, 9, PQ))
    expected = encode(linearize(GRAY / 255, PQ))
    assert np.abs(decoded.pixels[..., 1] - expected).max() <= 2
    assert [warning.message for warning in decoded.info.warnings] == ["its colors were converted from PQ to sRGB"]
    stays = decode_image(with_code_points(GRAY, 9, SRGB))
    np.testing.assert_array_equal(stays.pixels[..., 0], GRAY)
    assert not stays.info.warnings


@pytest.mark.parametrize(
    ("primaries", "transfer", "end", "said"),
    [
        (22, 13, b"\0\1", r"its color space \(primaries 22, transfer function 13 of ITU-T H.273\) is unknown"),
        (9, 17, b"\0\1", r"its color space \(primaries 9, transfer function 17 of ITU-T H.273\) is unknown"),
        (9, 16, b"\0\0", "its cICP chunk isn't full-range RGB"),
        (9, 16, b"\x09\1", "its cICP chunk isn't full-range RGB"),
        (9, 16, b"\0", "its cICP chunk isn't full-range RGB"),
    ],
    ids=["primaries", "transfer function", "narrow range", "YCbCr", "cut"],
)
def test_what_is_not_known_is_said_and_ignored(primaries: int, transfer: int, end: bytes, said: str) -> None:
    decoded = decode_image(with_code_points(COLORS, primaries, transfer, end))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    (warning,) = decoded.info.warnings
    assert warning.kind == "color_profile_ignored"
    assert re.match(said, warning.message)


def coded(form: str, primaries: int, transfer: int, **options: object) -> bytes:
    """An AVIF or HEIC file whose code points are replaced."""
    file = io.BytesIO()
    if form == "AVIF":
        Image.fromarray(COLORS).save(file, form, quality=100, subsampling="4:4:4", **options)
    else:
        pillow_heif.from_pillow(Image.fromarray(COLORS)).save(file, quality=100, chroma=444, **options)
    data = file.getvalue()
    place = data.index(b"colrnclx") + 8
    return data[:place] + struct.pack(">HH", primaries, transfer) + data[place + 4 :]


@pytest.mark.parametrize("form", ["AVIF", "HEIC"])
def test_files_of_boxes_name_theirs(form: str) -> None:
    decoded = decode_image(coded(form, 9, PQ))
    expected = decode_image(with_code_points(COLORS, 9, PQ)).pixels.astype(int)
    assert np.abs(decoded.pixels - expected).mean() < 4
    (warning,) = decoded.info.warnings
    assert warning.message == "its colors were converted from BT.2020 with PQ to sRGB"
    ignored = decode_image(coded(form, 9, PQ), contract=ImageContract(color_profiles=False))
    assert [warning.kind for warning in ignored.info.warnings] == ["color_profile_ignored"]
    assert np.abs(ignored.pixels.astype(int) - COLORS).mean() < 4
    assert not decode_image(coded(form, 1, 1)).info.warnings


def test_the_chunk_goes_before_a_profile() -> None:
    """PNG, third edition, 4.3."""
    profile = saved(Image.fromarray(COLORS), "PNG", icc_profile=b"no profile")
    start = profile.index(b"iCCP") - 4
    plain = with_code_points(COLORS, 1, 13)
    length = struct.unpack_from(">I", profile, start)[0]
    decoded = decode_image(plain[:33] + profile[start : start + 12 + length] + plain[33:])
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert not decoded.info.warnings
