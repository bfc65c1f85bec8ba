"""ICC profiles of colors that a file names by two numbers ("code points", ITU-T H.273) instead of a profile.

Wide gamuts and high dynamic range are stored this way: in AVIF and HEIC files, and in the chunk cICP of a PNG.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.images.icc import D50, Primaries, make_gray_profile, make_profile
from model.images.info import WarningList

Floats = NDArray[np.float64]

_D65, _DCI_WHITE = (0.3127, 0.3290), (0.314, 0.351)
_PRIMARIES: Final = {
    1: ("sRGB", (0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    5: ("BT.601 (625 lines)", (0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ("BT.601 (525 lines)", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ("BT.2020", (0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ("DCI-P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI_WHITE),
    12: ("Display P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
"""Number -> name; x and y of red, green, blue and white."""
_UNSPECIFIED: Final = 2
_SAME_PRIMARIES: Final = {_UNSPECIFIED: 1, 7: 6}
_SRGB_CURVES: Final = (1, _UNSPECIFIED, 6, 13, 14, 15)
"""sRGB's own transfer function, and those of television, whose images are shown like sRGB's."""
_CURVES: Final = {4: "gamma 2.2", 5: "gamma 2.8", 8: "linear light", 16: "PQ", 18: "HLG"}
_CURVE_POINTS: Final = 4_096
_WHITE, _PEAK = 203.0, 1000.0
"""Candelas per square meter of white paper (ITU-R BT.2408), and of the brightest highlights that stay distinct."""
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_from_cicp(primaries: int, transfer: int, is_gray: bool, warnings: WarningList) -> bytes:
    """An ICC profile of these colors; empty if they are sRGB's, or unknown, for which a warning is added.

    For high dynamic range (PQ, HLG), the profile's light is compressed to sRGB's range of brightness.
    """
    primaries = _SAME_PRIMARIES.get(primaries, primaries)
    transfer = 13 if transfer in _SRGB_CURVES else transfer
    if primaries not in _PRIMARIES or (transfer != 13 and transfer not in _CURVES):
        warnings.add(
            "color_profile_ignored",
            f"its color space (primaries {primaries}, transfer function {transfer} of ITU-T H.273) is unknown and was "
            "ignored: colors may be off",
        )
        return b""
    is_neutral = transfer == 13 and (is_gray or primaries == 1)
    return b"" if is_neutral else _make(primaries, transfer, is_gray)


@lru_cache(maxsize=64)
def _make(primaries: int, transfer: int, is_gray: bool) -> bytes:
    name, *colors = _PRIMARIES[primaries]
    curve = linearize(np.linspace(0, 1, _CURVE_POINTS), transfer)
    if transfer != 13:
        name = _CURVES[transfer] if is_gray else f"{name} with {_CURVES[transfer]}"
    return make_gray_profile(curve, name) if is_gray else make_profile(_adapt(*colors), curve, name)


def linearize(levels: Floats, transfer: int) -> Floats:
    """Levels -> light, both from 0 to 1, where 1 is white; high dynamic range is compressed."""
    if transfer == 16:
        power = levels ** (32 / 2523)
        light = (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (16384 / 2610)
        return _tone_map(10_000 * light)
    if transfer == 18:
        scene = np.where(levels <= 0.5, levels**2 / 3, (np.exp((levels - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        return _tone_map(_PEAK * scene**1.2)
    if transfer == 13:
        return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    exponent: float = {4: 2.2, 5: 2.8, 8: 1.0}[transfer]
    return np.asarray(levels**exponent)


def _tone_map(luminance: Floats) -> Floats:
    """Candelas per square meter -> light from 0 to 1, by Reinhard et al. 2002, equation 4, as browsers do."""
    light, peak = luminance / _WHITE, _PEAK / _WHITE
    return np.minimum(light * (1 + light / peak**2) / (1 + light), 1)


def _adapt(*chromaticities: tuple[float, float]) -> Primaries:
    """XYZ of red, green and blue adapted to D50, from the x and y of these colors and of white."""
    *colors, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in chromaticities)
    columns = np.stack(colors, 1)
    columns = columns * np.linalg.solve(columns, white)
    gains = (_BRADFORD @ D50) / (_BRADFORD @ white)
    adapted = np.linalg.solve(_BRADFORD, gains[:, None] * _BRADFORD) @ columns
    return tuple(tuple(map(float, color)) for color in adapted.T)
