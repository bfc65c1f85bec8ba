"""TIFF files: pixels of 8 bits are decoded by Pillow as they are, others as bytes, which are made samples here.

Pillow reads some kinds of samples wrongly or not at all: planes of 16 bits, 12 bits, negatives, signs, palettes of 16
bits. So libtiff only decompresses them: the page is described as a gray image of as many bytes a row.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from model.exceptions import InvalidImageError
from model.images.info import WarningList
from model.images.limits import ImageLimits, check_memory, check_size
from model.images.raster import BAND_PIXELS, Raster
from model.images.samples import Scale, find_scale
from model.images.tiff_pages import (
    BITS,
    COLOR_PROFILE,
    COMPRESSION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    HEIGHT,
    LONG,
    NUM_SAMPLES,
    ORIENTATION,
    PALETTE,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SHORT,
    STRIP_BYTES,
    STRIP_OFFSETS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    WIDTH,
    Page,
    Tag,
    append_directory,
    choose_page,
    keep_pixel_tags,
)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, INDEXED, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_COLORS: Final = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, INDEXED: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}
"""Photometric interpretation -> its number of samples."""
_NAMES: Final = {
    WHITE_IS_ZERO: "L",
    BLACK_IS_ZERO: "L",
    RGB: "RGB",
    INDEXED: "P",
    CMYK: "CMYK",
    LAB: "LAB",
    ICC_LAB: "LAB",
}
"""Photometric interpretations whose samples can be read one by one -> mode."""
_PLAIN_COMPRESSIONS: Final = {1, 5, 8, 32946, 32773, 34925, 50000}
"""None, LZW, Deflate (two numbers), PackBits, LZMA and Zstandard: what they give is bytes, whatever the samples are."""
_WITHOUT_PREDICTOR: Final = {1, 32773}
"""None and PackBits: a predictor that the tags name isn't used, which is also how libtiff reads them."""
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_KINDS: Final = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}
_SIZES: Final = {_UNSIGNED: (8, 10, 12, 14, 16, 32, 64), _SIGNED: (8, 16, 32, 64), _FLOAT: (16, 32, 64)}
_ALPHA_PREMULTIPLIED, _ALPHA = 1, 2
_HORIZONTAL, _FLOATING_POINT = 2, 3
_SEPARATE = 2
_MAX_GRAY_BYTES = 80_000_000
"""Pillow refuses images of 179 million pixels, and warns of half as many."""

Samples = NDArray[Any]


@dataclass(frozen=True)
class TiffImage:
    """A page of a TIFF file, not decoded yet. `memory`: bytes that decoding takes."""

    page: Page
    pixels: _Pixels
    memory: int

    @property
    def orientation(self) -> int:
        """The number of its orientation, as in EXIF."""
        return self.page.directory.integer(ORIENTATION, 1)

    @property
    def color_profile(self) -> bytes:
        return self.page.directory.raw(COLOR_PROFILE)

    @property
    def mode(self) -> str:
        """Pixel mode, in Pillow's words where it has them."""
        layout = self.pixels
        if not layout.needs_samples:
            return layout.open().mode
        if layout.photometric <= BLACK_IS_ZERO and layout.bits > 8:
            wide = {_UNSIGNED: "I", _SIGNED: "I", _FLOAT: "F"}[layout.sample_format]
            return "I;16" if (layout.sample_format, layout.bits) == (_UNSIGNED, 16) else f"{wide};{layout.bits}"
        name = _NAMES[layout.photometric] + ("A" if layout.has_alpha else "")
        return name if layout.bits == 8 else f"{name};{layout.bits}"

    def load(self, warnings: WarningList) -> Raster:
        """Decode it. Raises InvalidImageError, and what Pillow raises."""
        return self.pixels.load_samples(warnings) if self.pixels.needs_samples else self.pixels.load_eight_bits()


def open_tiff(data: bytes, limits: ImageLimits, warnings: WarningList) -> TiffImage:
    """Choose the page and check its limits. Raises InvalidImageError or a subclass."""
    page = choose_page(data, warnings)
    check_size(page.width, page.height, limits.max_pixels, limits)
    pixels = _Pixels.of(page)
    memory = pixels.count_memory()
    check_memory("a TIFF", page.width, page.height, memory, limits)
    return TiffImage(page, pixels, memory)


@dataclass(frozen=True)
class _Pixels:
    """How the pixels of a page are stored."""

    page: Page
    photometric: int
    compression: int
    bits: int
    sample_format: int
    num_samples: int
    extra_samples: tuple[int, ...]
    is_planar: bool
    predictor: int
    tile: tuple[int, int] | None

    @classmethod
    def of(cls, page: Page) -> _Pixels:
        """Raises InvalidImageError, in words, for kinds that can't be read."""
        tags = page.directory
        bits, formats = tags.integers(BITS) or (1,), tags.integers(SAMPLE_FORMAT) or (_UNSIGNED,)
        photometric, compression = tags.integer(PHOTOMETRIC), tags.integer(COMPRESSION, 1)
        if compression == 6:  # JPEG of before 1995, whose other tags say little
            photometric = YCBCR
        if photometric not in _COLORS:
            raise InvalidImageError(
                f"unsupported pixels: this TIFF has colors of the kind {photometric} (photometric interpretation), "
                "which can't be read; convert it to RGB"
            )
        if len(set(bits)) > 1 or len(set(formats)) > 1:
            raise InvalidImageError(
                "unsupported pixels: the samples of this TIFF have different sizes; convert it to RGB"
            )
        tile = (tags.integer(TILE_WIDTH), tags.integer(TILE_HEIGHT)) if TILE_WIDTH in tags.entries else None
        if tile is not None and min(tile) < 1:
            raise InvalidImageError("damaged image: this TIFF has empty tiles")
        default_samples = _COLORS[photometric] if compression in (6, 7) else len(bits)
        pixels = cls(
            page=page,
            photometric=photometric,
            compression=compression,
            bits=bits[0],
            sample_format=_UNSIGNED if formats[0] == _UNDEFINED else formats[0],
            num_samples=tags.integer(NUM_SAMPLES, default_samples),
            extra_samples=tags.integers(EXTRA_SAMPLES),
            is_planar=tags.integer(PLANAR, 1) == _SEPARATE,
            predictor=1 if compression in _WITHOUT_PREDICTOR else tags.integer(PREDICTOR, 1),
            tile=tile,
        )
        pixels._check_supported()
        return pixels

    @property
    def needs_samples(self) -> bool:
        """Whether Pillow would read the samples wrongly, or not at all."""
        if self.bits > 8 or self.sample_format != _UNSIGNED or self.photometric == ICC_LAB:
            return True
        is_usual = self.num_samples == _COLORS[self.photometric] and not (self.is_planar and self.photometric == LAB)
        return not is_usual and self.bits == 8 and self._is_readable

    @property
    def _is_readable(self) -> bool:
        """Whether the samples can be read one by one."""
        return self.photometric in _NAMES and self.compression in _PLAIN_COMPRESSIONS

    @property
    def has_alpha(self) -> bool:
        """Whether there is a sample for transparency."""
        return self.num_samples > _COLORS[self.photometric] and self._alpha is not None

    def _check_supported(self) -> None:
        if not _COLORS[self.photometric] <= self.num_samples <= 16:
            raise InvalidImageError(f"unsupported pixels: this TIFF has {self.num_samples} samples per pixel")
        if not self.needs_samples:
            return
        kind = {_UNSIGNED: "", _SIGNED: "signed ", _FLOAT: "floating-point "}.get(self.sample_format, "complex ")
        if self.bits not in _SIZES.get(self.sample_format, ()) or self.photometric not in _NAMES:
            raise InvalidImageError(
                f"unsupported pixels: this TIFF has {kind}samples of {self.bits} bits"
                + (" in YCbCr" if self.photometric == YCBCR else "")
                + "; convert it to 8 or 16 bits"
            )
        if self.compression not in _PLAIN_COMPRESSIONS:
            raise InvalidImageError(
                f"unsupported pixels: this TIFF has samples of {self.bits} bits in the compression {self.compression}; "
                "save it with LZW or Deflate"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a plane; of tiles, whole ones."""
        samples = 1 if self.is_planar else self.num_samples
        if self.tile is None:
            return (self.page.width * samples * self.bits + 7) // 8
        return math.ceil(self.page.width / self.tile[0]) * ((self.tile[0] * samples * self.bits + 7) // 8)

    def count_memory(self) -> int:
        """Bytes in memory while it is decoded: the image, and one strip or tile in bytes."""
        width, height = self.page.width, self.page.height
        samples = 1 if self.is_planar else self.num_samples
        if self.compression == 1:
            part = len(self.page.directory.data)  # a copy with other tags
        elif self.tile is not None:
            part = self.tile[0] * self.tile[1] * samples * self.bits // 8
        else:
            part = self.row_bytes * min(height, self.page.directory.integer(ROWS_PER_STRIP, height) or height)
        if not self.needs_samples:
            is_narrow = self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, INDEXED) and self.num_samples == 1
            return width * height * (1 if is_narrow else 4) + part * (4 if self.photometric == YCBCR else 1)
        planes = min(self.num_samples, _COLORS[self.photometric] + 1) if self.is_planar else 1
        return self.row_bytes * height * planes + part

    def open(self) -> Image.Image:
        """The page as Pillow reads it, not decoded."""
        return TiffImagePlugin.TiffImageFile(io.BytesIO(keep_pixel_tags(self.page)))

    def load_eight_bits(self) -> Raster:
        """Pixels of at most 8 bits a sample."""
        image = self.open()
        image.load()
        if image.mode == "P":
            palette = self.page.directory.integers(PALETTE)
            if palette and max(palette) < 256:  # written with 8 bits for each color, instead of 16
                image.putpalette(np.array(palette, np.uint8).reshape(3, -1).T.tobytes())
        return Raster.of(image, _to_rgb if image.mode in ("1", "P", "PA") else None)

    def load_samples(self, warnings: WarningList) -> Raster:
        """Samples of other kinds, as pixels of 8 bits."""
        num_planes = self.num_samples if self.is_planar else 1
        colors = _COLORS[self.photometric]
        num_used = colors + self.has_alpha
        planes = [self._open_bytes(plane, num_planes) for plane in range(min(num_planes, num_used))]
        for plane in planes:
            plane.load()

        def read(top: int, bottom: int) -> Samples:
            bands = [self._read_band(plane, top, bottom) for plane in planes]
            return np.concatenate(bands, axis=2)[..., :num_used]

        make: Callable[[Samples], Image.Image]
        if self.photometric == INDEXED:
            make = self._palette_maker()
        elif self.photometric in (LAB, ICC_LAB):
            make = self._lab_maker()
        else:
            height, step = self.page.height, max(1, BAND_PIXELS // self.page.width)
            starts: Iterator[tuple[int, int]] = pairwise([*range(0, height, step), height])
            scale = find_scale((read(*rows)[..., :colors] for rows in starts), self.bits, warnings)
            make = self._level_maker(scale)
        return Raster(self.page.width, self.page.height, lambda top, bottom: make(read(top, bottom)))

    @property
    def _alpha(self) -> int | None:
        """The kind of alpha that the sample after the colors is; None: it isn't alpha."""
        kind = self.extra_samples[0] if self.extra_samples else _ALPHA if self.photometric == RGB else 0
        return kind if kind in (_ALPHA, _ALPHA_PREMULTIPLIED) else None

    def _open_bytes(self, plane: int, num_planes: int) -> Image.Image:
        """A plane as a gray image of bytes, not decoded; a large one with four bytes in a pixel of CMYK."""
        tags, order, is_tiled = self.page.directory, self.page.layout.order, self.tile is not None
        offsets = tags.integers(TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
        sizes = tags.integers(TILE_BYTES if is_tiled else STRIP_BYTES)
        per_plane = len(offsets) // num_planes
        part = slice(plane * per_plane, (plane + 1) * per_plane)
        is_large = self.row_bytes * self.page.height > _MAX_GRAY_BYTES
        samples = 4 if is_large and self.row_bytes % 4 == 0 else 1
        numbers: dict[int, tuple[int, ...]] = {
            WIDTH: (self.row_bytes // samples,),
            HEIGHT: (self.page.height,),
            BITS: (8,) * samples,
            COMPRESSION: (self.compression,),
            PHOTOMETRIC: (CMYK if samples == 4 else BLACK_IS_ZERO,),
            FILL_ORDER: (tags.integer(FILL_ORDER, 1),),
            NUM_SAMPLES: (samples,),
            TILE_OFFSETS if is_tiled else STRIP_OFFSETS: offsets[part],
            TILE_BYTES if is_tiled else STRIP_BYTES: sizes[part],
        }
        if self.tile is None:
            numbers[ROWS_PER_STRIP] = (min(self.page.height, tags.integer(ROWS_PER_STRIP, self.page.height)),)
        else:
            across = math.ceil(self.page.width / self.tile[0])
            numbers |= {TILE_WIDTH: (self.row_bytes // across // samples,), TILE_HEIGHT: (self.tile[1],)}
        shorts = {BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, NUM_SAMPLES}
        written = {
            tag: Tag.of_integers(SHORT if tag in shorts else LONG, values, order) for tag, values in numbers.items()
        }
        return TiffImagePlugin.TiffImageFile(io.BytesIO(append_directory(tags.data, order, written)))

    def _read_band(self, plane: Image.Image, top: int, bottom: int) -> Samples:
        """(rows, width, samples) of a band, in the machine's byte order."""
        rows = np.asarray(plane.crop((0, top, plane.width, bottom))).reshape(bottom - top, -1)
        num_samples = 1 if self.is_planar else self.num_samples
        parts = 1 if self.tile is None else self.row_bytes // ((self.tile[0] * num_samples * self.bits + 7) // 8)
        columns = [self._decode_part(part, num_samples) for part in np.split(rows, parts, axis=1)]
        return np.concatenate(columns, axis=1)[:, : self.page.width]

    def _decode_part(self, rows: NDArray[np.uint8], num_samples: int) -> Samples:
        """Rows of a strip or tile, as bytes -> samples (rows, columns, samples per pixel)."""
        if self.bits % 8:
            return _unpack(rows, self.bits, num_samples)
        kind, size = _KINDS[self.sample_format], self.bits // 8
        rows = np.ascontiguousarray(rows)
        samples: Samples
        if self.predictor == _FLOATING_POINT:
            sums = np.cumsum(rows.reshape(len(rows), -1, num_samples), axis=1, dtype=np.uint8)
            planes = np.ascontiguousarray(sums.reshape(len(rows), size, -1).transpose(0, 2, 1))
            samples = planes.reshape(len(rows), -1).view(f">{kind}{size}")
        else:
            samples = rows.view(f"{self.page.layout.order}{kind}{size}")
        samples = samples.reshape(len(rows), -1, num_samples)
        native = samples.astype(samples.dtype.newbyteorder("="))
        if self.predictor == _HORIZONTAL:
            whole: Samples = native.view(f"u{size}")
            native = np.cumsum(whole, axis=1, dtype=whole.dtype).view(native.dtype)
        return native

    def _level_maker(self, scale: Scale) -> Callable[[Samples], Image.Image]:
        """What makes samples an image of 8 bits."""
        colors = _COLORS[self.photometric]
        whole = Scale(0, 1.0 if self.sample_format == _FLOAT else 2**self.bits - 1)

        def make(samples: Samples) -> Image.Image:
            levels = scale.levels(samples[..., :colors])
            if self.photometric == WHITE_IS_ZERO:
                levels = 255 - levels
            if samples.shape[2] == colors or self.photometric == CMYK:
                return Image.fromarray(levels[..., 0] if colors == 1 else levels, "CMYK" if colors == 4 else None)
            pixels = np.concatenate([levels, whole.levels(samples[..., colors:])], axis=2)
            if self._alpha == _ALPHA_PREMULTIPLIED:
                pixels[..., :colors] = np.minimum(pixels[..., :colors], pixels[..., colors:])
                mode = "La" if colors == 1 else "RGBa"
                return Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes()).convert(mode.upper())
            return Image.fromarray(pixels)

        return make

    def _lab_maker(self) -> Callable[[Samples], Image.Image]:
        """Of 16 bits the upper 8 are used; ICC's variant has no signs, but an offset."""
        if self.sample_format == _FLOAT or self.bits not in (8, 16):
            raise InvalidImageError(f"unsupported pixels: CIELAB with samples of {self.bits} bits; convert it to RGB")
        offset = np.array([0, 128, 128] if self.photometric == ICC_LAB else [0, 0, 0], np.uint8)

        def make(samples: Samples) -> Image.Image:
            unsigned = samples.view(f"u{self.bits // 8}") >> (self.bits - 8)
            levels = unsigned[..., :3].astype(np.uint8) ^ offset
            return Image.frombytes("LAB", levels.shape[1::-1], levels.tobytes())

        return make

    def _palette_maker(self) -> Callable[[Samples], Image.Image]:
        palette = np.array(self.page.directory.integers(PALETTE), np.uint16)
        if self.sample_format != _UNSIGNED or len(palette) != 3 << self.bits:
            raise InvalidImageError("damaged image: the palette of this TIFF doesn't fit its pixels")
        table = (palette >> (8 if palette.max() > 255 else 0)).astype(np.uint8).reshape(3, -1).T
        return lambda samples: Image.fromarray(table[samples[..., 0]])


def _to_rgb(band: Image.Image) -> Image.Image:
    return band.convert("RGBA" if band.mode == "PA" else "RGB")


def _unpack(rows: NDArray[np.uint8], bits: int, num_samples: int) -> Samples:
    """Rows of unsigned samples that aren't whole bytes -> (rows, columns, samples per pixel) uint16."""
    digits = np.unpackbits(rows, axis=1)
    columns = digits.shape[1] // (bits * num_samples)
    digits = digits[:, : columns * bits * num_samples].reshape(len(rows), columns, num_samples, bits)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    return np.asarray(digits @ weights)
