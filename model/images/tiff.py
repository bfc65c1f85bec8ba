"""TIFF files: Pillow decodes ordinary 8-bit pixels; others are decoded as samples (`model.images.tiff_samples`)."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffImagePlugin

from model.images.info import WarningList
from model.images.libtiff import silence_libtiff
from model.images.limits import ImageLimits, check_memory, check_size
from model.images.raster import Raster
from model.images.tiff_layout import BLACK_IS_ZERO, FLOAT, MODES, UNSIGNED, PixelLayout
from model.images.tiff_pages import COLOR_PROFILE, ORIENTATION, PALETTE, Page, choose_page, keep_pixel_tags
from model.images.tiff_samples import load_samples


@dataclass(frozen=True)
class TiffImage:
    """A page of a TIFF file, not decoded yet. `memory`: bytes that decoding takes."""

    page: Page
    pixel_layout: PixelLayout
    memory: int

    @property
    def orientation(self) -> int:
        """Its orientation number, as in EXIF."""
        return self.page.directory.integer(ORIENTATION, 1)

    @property
    def color_profile(self) -> bytes:
        return self.page.directory.raw(COLOR_PROFILE)

    @property
    def mode(self) -> str:
        """Pixel mode, by Pillow's name if it has one."""
        layout = self.pixel_layout
        if not layout.needs_samples:
            return _open(self.page).mode
        if layout.photometric <= BLACK_IS_ZERO and layout.bits > 8:
            wide = "F" if layout.sample_format == FLOAT else "I"
            return "I;16" if (layout.sample_format, layout.bits) == (UNSIGNED, 16) else f"{wide};{layout.bits}"
        name = MODES[layout.photometric] + ("A" if layout.has_alpha else "")
        return name if layout.bits == 8 else f"{name};{layout.bits}"

    def load(self, warnings: WarningList) -> Raster:
        """Decode it. Raises InvalidImageError, and what Pillow raises."""
        layout = self.pixel_layout
        return load_samples(layout, warnings) if layout.needs_samples else _load_eight_bits(self.page)


def open_tiff(data: bytes, limits: ImageLimits, warnings: WarningList) -> TiffImage:
    """Choose the page and check its limits. Raises InvalidImageError or a subclass."""
    silence_libtiff()
    page = choose_page(data, warnings)
    check_size(page.width, page.height, limits.max_pixels, limits)
    layout = PixelLayout.of(page)
    memory = layout.count_memory()
    check_memory("a TIFF", page.width, page.height, memory, limits)
    return TiffImage(page, layout, memory)


def _open(page: Page) -> Image.Image:
    """The page as Pillow reads it, not decoded."""
    return TiffImagePlugin.TiffImageFile(io.BytesIO(keep_pixel_tags(page)))


def _load_eight_bits(page: Page) -> Raster:
    """The raster of a page with at most 8 bits per sample."""
    image = _open(page)
    image.load()
    if image.mode == "P":
        palette = page.directory.integers(PALETTE)
        if palette and max(palette) < 256:  # written with 8 bits for each color, instead of 16
            image.putpalette(np.array(palette, np.uint8).reshape(3, -1).T.tobytes())
    return Raster.of(image, _to_rgb if image.mode in ("1", "P", "PA") else None)


def _to_rgb(band: Image.Image) -> Image.Image:
    return band.convert("RGBA" if band.mode == "PA" else "RGB")
