"""Rasters: a file's pixels, read in bands of rows, and their reduction to a small square.

Some pixels must be converted before they can be resized: converting a whole image at once, instead of bands, would need
twice the memory. The result is bit-identical to that of Pillow's `resize`, which also resizes rows before columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

BAND_PIXELS = 1_048_576
"""Pixels per band: a few megabytes."""
_PREMULTIPLIED = {"RGBA": "RGBa", "LA": "La"}
_STRAIGHT = {premultiplied: mode for mode, premultiplied in _PREMULTIPLIED.items()}

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True)
class Raster:
    """`width` x `height` pixels. `rows(top, bottom)`: these rows as an image that can be resized, converted on demand.

    `whole`: all rows, if they need no conversion.
    """

    width: int
    height: int
    rows: Callable[[int, int], Image.Image]
    whole: Image.Image | None = None

    @classmethod
    def of(cls, image: Image.Image, convert: Callable[[Image.Image], Image.Image] | None = None) -> Raster:
        """The raster of a decoded image; `convert` makes its bands resizable."""

        def rows(top: int, bottom: int) -> Image.Image:
            is_all = (top, bottom) == (0, image.height)
            band = image if is_all else image.crop((0, top, image.width, bottom))
            return band if convert is None else convert(band)

        resizable = convert is None and image.mode not in _PREMULTIPLIED
        return cls(image.width, image.height, rows, image if resizable else None)


def reduce_raster(raster: Raster, box: Box, side: int) -> Image.Image:
    """The pixels in `box` resized to `side` x `side`, bilinear with antialiasing, on colors premultiplied by alpha."""
    if raster.whole is not None:
        return raster.whole.resize((side, side), Image.Resampling.BILINEAR, box=box)
    left, top, right, bottom = box
    band_rows = max(1, BAND_PIXELS // raster.width)
    if band_rows >= raster.height:
        return raster.rows(0, raster.height).resize((side, side), Image.Resampling.BILINEAR, box=box)
    strip: Image.Image | None = None
    for start in range(0, raster.height, band_rows):
        rows = raster.rows(start, min(raster.height, start + band_rows))
        band = rows.convert(_PREMULTIPLIED.get(rows.mode, rows.mode))
        reduced = band.resize((side, band.height), Image.Resampling.BILINEAR, box=(left, 0, right, band.height))
        strip = strip or Image.new(reduced.mode, (side, raster.height))
        strip.paste(reduced, (0, start))
    assert strip is not None  # there is a first band
    reduced = strip.resize((side, side), Image.Resampling.BILINEAR, box=(0, top, side, bottom))
    return reduced.convert(_STRAIGHT.get(reduced.mode, reduced.mode))
