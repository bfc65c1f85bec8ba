"""TIFF files: samples that Pillow reads wrongly or not at all, such as 16-bit planes, 12-bit or signed samples,
negatives, and palettes with 16-bit indices.

libtiff only decompresses the page, which is described to it as a gray image with the same number of bytes per row. The
bytes are turned into samples here.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from model.exceptions import InvalidImageError
from model.images.info import WarningList
from model.images.raster import BAND_PIXELS, Raster
from model.images.samples import Samples, Scale, find_scale
from model.images.tiff_layout import (
    ALPHA_PREMULTIPLIED,
    BLACK_IS_ZERO,
    CMYK,
    FLOAT,
    FLOATING_POINT,
    HORIZONTAL,
    ICC_LAB,
    INDEXED,
    LAB,
    SIGNED,
    UNSIGNED,
    WHITE_IS_ZERO,
    PixelLayout,
)
from model.images.tiff_pages import (
    BITS,
    COMPRESSION,
    FILL_ORDER,
    HEIGHT,
    LONG,
    NUM_SAMPLES,
    PALETTE,
    PHOTOMETRIC,
    ROWS_PER_STRIP,
    SHORT,
    STRIP_BYTES,
    STRIP_OFFSETS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    Tag,
    append_directory,
)

_KINDS: Final = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
"""Sample format -> NumPy's kind of numbers."""
_MAX_GRAY_BYTES = 80_000_000
"""Pillow refuses images of 179 million pixels, and warns at half as many."""

MakeImage = Callable[[Samples], Image.Image]
"""Samples (rows, width, samples per pixel) -> an image of 8 bits per sample."""


def load_samples(layout: PixelLayout, warnings: WarningList) -> Raster:
    """Decode a page whose layout `needs_samples`. Raises InvalidImageError, and what Pillow raises."""
    num_planes = layout.num_samples if layout.is_planar else 1
    num_used = layout.num_colors + layout.has_alpha
    planes = [_open_bytes(layout, plane, num_planes) for plane in range(min(num_planes, num_used))]
    for plane in planes:
        plane.load()
    width, height = layout.page.width, layout.page.height

    def read(top: int, bottom: int) -> Samples:
        bands = [_read_band(layout, plane, top, bottom) for plane in planes]
        return np.concatenate(bands, axis=2)[..., :num_used]

    make: MakeImage
    if layout.photometric == INDEXED:
        make = _palette_maker(layout)
    elif layout.photometric in (LAB, ICC_LAB):
        make = _lab_maker(layout)
    else:
        starts: Iterator[tuple[int, int]] = pairwise([*range(0, height, max(1, BAND_PIXELS // width)), height])
        scale = find_scale((read(*rows)[..., : layout.num_colors] for rows in starts), layout.bits, warnings)
        make = _level_maker(layout, scale)
    return Raster(width, height, lambda top, bottom: make(read(top, bottom)))


def _open_bytes(layout: PixelLayout, plane: int, num_planes: int) -> Image.Image:
    """A plane as a gray image of bytes, not decoded yet; a large one as CMYK, with four bytes per pixel."""
    page = layout.page
    tags, order, is_tiled = page.directory, page.layout.order, layout.tile is not None
    offsets = tags.integers(TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
    sizes = tags.integers(TILE_BYTES if is_tiled else STRIP_BYTES)
    per_plane = len(offsets) // num_planes
    part = slice(plane * per_plane, (plane + 1) * per_plane)
    is_large = layout.row_bytes * page.height > _MAX_GRAY_BYTES
    samples = 4 if is_large and layout.row_bytes % 4 == 0 else 1
    numbers: dict[int, tuple[int, ...]] = {
        WIDTH: (layout.row_bytes // samples,),
        HEIGHT: (page.height,),
        BITS: (8,) * samples,
        COMPRESSION: (layout.compression,),
        PHOTOMETRIC: (CMYK if samples == 4 else BLACK_IS_ZERO,),
        FILL_ORDER: (tags.integer(FILL_ORDER, 1),),
        NUM_SAMPLES: (samples,),
        TILE_OFFSETS if is_tiled else STRIP_OFFSETS: offsets[part],
        TILE_BYTES if is_tiled else STRIP_BYTES: sizes[part],
    }
    if layout.tile is None:
        numbers[ROWS_PER_STRIP] = (min(page.height, tags.integer(ROWS_PER_STRIP, page.height)),)
    else:
        tile_bytes = layout.row_bytes // layout.tiles_across
        numbers |= {TILE_WIDTH: (tile_bytes // samples,), TILE_HEIGHT: (layout.tile[1],)}
    shorts = {BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, NUM_SAMPLES}
    written = {tag: Tag.of_integers(SHORT if tag in shorts else LONG, values, order) for tag, values in numbers.items()}
    return TiffImagePlugin.TiffImageFile(io.BytesIO(append_directory(tags.data, order, written)))


def _read_band(layout: PixelLayout, plane: Image.Image, top: int, bottom: int) -> Samples:
    """(rows, width, samples) of a band, in the machine's byte order."""
    rows = np.asarray(plane.crop((0, top, plane.width, bottom))).reshape(bottom - top, -1)
    columns = [_decode_part(layout, part) for part in np.split(rows, layout.tiles_across, axis=1)]
    return np.concatenate(columns, axis=1)[:, : layout.page.width]


def _decode_part(layout: PixelLayout, rows: NDArray[np.uint8]) -> Samples:
    """Rows of a strip or tile, as bytes -> samples (rows, columns, samples per pixel)."""
    num_samples = layout.samples_per_plane
    if layout.bits % 8:
        return _unpack(rows, layout.bits, num_samples)
    kind, size = _KINDS[layout.sample_format], layout.bits // 8
    rows = np.ascontiguousarray(rows)
    samples: Samples
    if layout.predictor == FLOATING_POINT:
        sums = np.cumsum(rows.reshape(len(rows), -1, num_samples), axis=1, dtype=np.uint8)
        planes = np.ascontiguousarray(sums.reshape(len(rows), size, -1).transpose(0, 2, 1))
        samples = planes.reshape(len(rows), -1).view(f">{kind}{size}")
    else:
        samples = rows.view(f"{layout.page.layout.order}{kind}{size}")
    samples = samples.reshape(len(rows), -1, num_samples)
    native = samples.astype(samples.dtype.newbyteorder("="))
    if layout.predictor == HORIZONTAL:
        whole: Samples = native.view(f"u{size}")
        native = np.cumsum(whole, axis=1, dtype=whole.dtype).view(native.dtype)
    return native


def _unpack(rows: NDArray[np.uint8], bits: int, num_samples: int) -> Samples:
    """Rows of unsigned samples that aren't whole bytes -> (rows, columns, samples per pixel) uint16."""
    digits = np.unpackbits(rows, axis=1)
    columns = digits.shape[1] // (bits * num_samples)
    digits = digits[:, : columns * bits * num_samples].reshape(len(rows), columns, num_samples, bits)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    return np.asarray(digits @ weights)


def _level_maker(layout: PixelLayout, scale: Scale) -> MakeImage:
    colors = layout.num_colors
    whole = Scale(0, 1.0 if layout.sample_format == FLOAT else 2**layout.bits - 1)

    def make(samples: Samples) -> Image.Image:
        levels = scale.levels(samples[..., :colors])
        if layout.photometric == WHITE_IS_ZERO:
            levels = 255 - levels
        if samples.shape[2] == colors or layout.photometric == CMYK:
            return Image.fromarray(levels[..., 0] if colors == 1 else levels, "CMYK" if colors == 4 else None)
        pixels = np.concatenate([levels, whole.levels(samples[..., colors:])], axis=2)
        if layout.alpha == ALPHA_PREMULTIPLIED:
            pixels[..., :colors] = np.minimum(pixels[..., :colors], pixels[..., colors:])
            mode = "La" if colors == 1 else "RGBa"
            return Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes()).convert(mode.upper())
        return Image.fromarray(pixels)

    return make


def _lab_maker(layout: PixelLayout) -> MakeImage:
    """Of 16 bits, only the upper 8 are used; ICC's variant has an offset instead of signs."""
    if layout.sample_format == FLOAT or layout.bits not in (8, 16):
        raise InvalidImageError(f"unsupported pixels: CIELAB with {layout.bits}-bit samples; convert it to RGB")
    offset = np.array([0, 128, 128] if layout.photometric == ICC_LAB else [0, 0, 0], np.uint8)

    def make(samples: Samples) -> Image.Image:
        unsigned = samples.view(f"u{layout.bits // 8}") >> (layout.bits - 8)
        levels = unsigned[..., :3].astype(np.uint8) ^ offset
        return Image.frombytes("LAB", levels.shape[1::-1], levels.tobytes())

    return make


def _palette_maker(layout: PixelLayout) -> MakeImage:
    palette = np.array(layout.page.directory.integers(PALETTE), np.uint16)
    if layout.sample_format != UNSIGNED or len(palette) != 3 << layout.bits:
        raise InvalidImageError("damaged image: the palette of this TIFF doesn't match its pixels")
    table = (palette >> (8 if palette.max() > 255 else 0)).astype(np.uint8).reshape(3, -1).T
    return lambda samples: Image.fromarray(table[samples[..., 0]])
