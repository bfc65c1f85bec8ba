"""Samples of more than 8 bits, signed or floating-point: find their range, and map them to levels from 0 to 255."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.exceptions import InvalidImageError
from model.images.info import WarningList

Samples = NDArray[Any]

_USED_BITS = {16: (8, 10, 12), 32: (8, 10, 12, 16, 24), 64: (8, 10, 12, 16, 24, 32)}
"""Bits per sample -> how many low bits cameras and instruments use if they don't use all."""
_FLOAT_RANGES = (1.0, 255.0, 65_535.0)
"""Values of white in images of floating-point samples, as programs write them."""


@dataclass(frozen=True)
class Scale:
    """How samples become levels: the range from `low` to `high` is mapped to 0 to 255."""

    low: float
    high: float

    def levels(self, samples: Samples) -> NDArray[np.uint8]:
        """The levels of an array of samples."""
        if samples.dtype.kind == "f":
            spread = (samples - self.low) * (255 / (self.high - self.low))
            return np.clip(np.rint(spread), 0, 255).astype(np.uint8)
        low, high = int(self.low), int(self.high)
        if low == 0 and high == 65_535:
            return (samples // 257).astype(np.uint8)
        if samples.dtype.itemsize < 8:
            return ((samples.astype(np.int64) - low) * 255 // (high - low)).clip(0, 255).astype(np.uint8)
        return np.clip((samples.astype(np.float64) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def find_scale(bands: Iterable[Samples], bits: int, warnings: WarningList) -> Scale:
    """The scale of an image's samples, which are given in bands. `bits`: per sample.

    Integers that use only the lowest bits are stretched, such as a camera's 12 bits in 16, and floating-point samples
    are taken to be of the smallest usual range that holds them; both with a warning. Raises InvalidImageError if the
    range is unknown.
    """
    lows, highs, kind = [], [], "u"
    for band in bands:
        kind = band.dtype.kind
        lows.append(band.min())
        highs.append(band.max())
    low, high = min(lows), max(highs)
    if kind == "f":
        return _float_scale(float(low), float(high), bits, warnings)
    if low < 0:
        used = int(high) - int(low) + 1
        if used < 2**bits // 16:
            warnings.add("nearly_uniform", f"its samples use {used:,} of {2**bits:,} levels: it has little contrast")
        return Scale(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    available = bits if kind == "u" else bits - 1
    used = next((few for few in _USED_BITS.get(bits, ()) if int(high) < 2**few), available)
    if used != available and high > 0:
        warnings.add(
            "stretched", f"only the lowest {used} of its {bits} bits are used: {2**used - 1:,} was read as white"
        )
        return Scale(0, 2**used - 1)
    if kind == "i" and high > 0:
        warnings.add(
            "stretched", f"its samples are signed but none is negative: {2**available - 1:,} was read as white"
        )
    return Scale(0, 2**available - 1)


def _float_scale(low: float, high: float, bits: int, warnings: WarningList) -> Scale:
    if not np.isfinite([low, high]).all():
        raise InvalidImageError(
            "unsupported pixels: some floating-point samples are infinite or not a number; convert the image to 8 or "
            "16 bits"
        )
    white = next((white for white in _FLOAT_RANGES if high <= white), None)
    if low < 0 or white is None:
        raise InvalidImageError(
            f"unsupported pixels: floating-point samples from {low:g} to {high:g}, whose range is unknown; convert the "
            "image to 8 or 16 bits"
        )
    warnings.add("floating_point", f"its samples are {bits}-bit floating-point numbers: {white:,.0f} was read as white")
    return Scale(0, white)
