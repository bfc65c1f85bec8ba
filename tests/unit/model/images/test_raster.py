"""Reducing rasters band by band, compared with Pillow's resize of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.images.raster import BAND_PIXELS, Raster, reduce_raster

SIZE = (1_600, 1_400)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_bands_give_what_pillow_gives_for_the_whole(mode: str) -> None:
    width, height = SIZE
    assert width * height > 2 * BAND_PIXELS
    channels = len(mode)
    samples = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    samples[:700, :, -1] //= 8  # nearly transparent where the last channel is alpha
    image = Image.fromarray(samples.astype(np.uint8))
    assert image.mode == mode
    box = (0.5, 3.25, width - 7.0, height - 0.5)
    raster = Raster.of(image, lambda band: band)
    expected = image.resize((64, 64), Image.Resampling.BILINEAR, box=box)
    np.testing.assert_array_equal(np.asarray(reduce_raster(raster, box, 64)), np.asarray(expected))
