"""TIFF files: how the pixels of a page are stored, whether they can be read, and the memory that this takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model.exceptions import InvalidImageError
from model.images.tiff_pages import (
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    NUM_SAMPLES,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    TILE_HEIGHT,
    TILE_WIDTH,
    Page,
)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, INDEXED, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
NUM_COLORS: Final = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, INDEXED: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}
"""Photometric interpretation -> its number of samples."""
MODES: Final = {
    WHITE_IS_ZERO: "L",
    BLACK_IS_ZERO: "L",
    RGB: "RGB",
    INDEXED: "P",
    CMYK: "CMYK",
    LAB: "LAB",
    ICC_LAB: "LAB",
}
"""Photometric interpretations whose samples can be read one by one -> mode."""
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
ALPHA_PREMULTIPLIED, ALPHA = 1, 2
HORIZONTAL, FLOATING_POINT = 2, 3
UNCOMPRESSED, OLD_JPEG, JPEG, PACK_BITS = 1, 6, 7, 32773
_PLAIN_COMPRESSIONS: Final = {UNCOMPRESSED, 5, 8, 32946, PACK_BITS, 34925, 50000}
"""None, LZW, Deflate (two numbers), PackBits, LZMA and Zstandard: they compress bytes, whatever the samples are."""
_WITHOUT_PREDICTOR: Final = {UNCOMPRESSED, PACK_BITS}
"""With these, a predictor that the tags name is ignored, as in libtiff."""
_SIZES: Final = {UNSIGNED: (8, 10, 12, 14, 16, 32, 64), SIGNED: (8, 16, 32, 64), FLOAT: (16, 32, 64)}
"""Sample format -> supported bits per sample."""
_SEPARATE = 2


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of a page are stored: the values of its tags.

    `is_planar`: each sample of the pixels is in a plane of its own. `tile`: width and height; None: strips.
    """

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
    def of(cls, page: Page) -> PixelLayout:
        """The layout from the tags of a page. Raises InvalidImageError, which names what can't be read."""
        tags = page.directory
        bits, formats = tags.integers(BITS) or (1,), tags.integers(SAMPLE_FORMAT) or (UNSIGNED,)
        photometric, compression = tags.integer(PHOTOMETRIC), tags.integer(COMPRESSION, UNCOMPRESSED)
        if compression == OLD_JPEG:  # from before 1995: its other tags say little
            photometric = YCBCR
        if photometric not in NUM_COLORS:
            raise InvalidImageError(
                f"unsupported pixels: this TIFF has photometric interpretation {photometric}; convert it to RGB"
            )
        if len(set(bits)) > 1 or len(set(formats)) > 1:
            raise InvalidImageError(
                "unsupported pixels: the samples of this TIFF differ in size or format; convert it to RGB"
            )
        tile = (tags.integer(TILE_WIDTH), tags.integer(TILE_HEIGHT)) if TILE_WIDTH in tags.entries else None
        if tile is not None and min(tile) < 1:
            raise InvalidImageError("damaged image: this TIFF has empty tiles")
        default_samples = NUM_COLORS[photometric] if compression in (OLD_JPEG, JPEG) else len(bits)
        layout = cls(
            page=page,
            photometric=photometric,
            compression=compression,
            bits=bits[0],
            sample_format=UNSIGNED if formats[0] == UNDEFINED else formats[0],
            num_samples=tags.integer(NUM_SAMPLES, default_samples),
            extra_samples=tags.integers(EXTRA_SAMPLES),
            is_planar=tags.integer(PLANAR, 1) == _SEPARATE,
            predictor=1 if compression in _WITHOUT_PREDICTOR else tags.integer(PREDICTOR, 1),
            tile=tile,
        )
        layout._check_supported()
        return layout

    @property
    def num_colors(self) -> int:
        """Color samples per pixel, without alpha and others."""
        return NUM_COLORS[self.photometric]

    @property
    def needs_samples(self) -> bool:
        """Whether Pillow would read the samples wrongly, or not at all."""
        if self.bits > 8 or self.sample_format != UNSIGNED or self.photometric == ICC_LAB:
            return True
        is_usual = self.num_samples == self.num_colors and not (self.is_planar and self.photometric == LAB)
        return not is_usual and self.bits == 8 and self._is_readable

    @property
    def _is_readable(self) -> bool:
        """Whether the samples can be read one by one."""
        return self.photometric in MODES and self.compression in _PLAIN_COMPRESSIONS

    @property
    def has_alpha(self) -> bool:
        """Whether there is a sample for transparency."""
        return self.num_samples > self.num_colors and self.alpha is not None

    @property
    def alpha(self) -> int | None:
        """The kind of alpha in the sample after the colors; None if it isn't alpha."""
        kind = self.extra_samples[0] if self.extra_samples else ALPHA if self.photometric == RGB else 0
        return kind if kind in (ALPHA, ALPHA_PREMULTIPLIED) else None

    @property
    def samples_per_plane(self) -> int:
        """Samples per pixel that are stored together: all of them, or one if planar."""
        return 1 if self.is_planar else self.num_samples

    @property
    def tiles_across(self) -> int:
        """Number of tiles side by side; 1 for strips, which are as wide as the page."""
        return 1 if self.tile is None else -(-self.page.width // self.tile[0])

    @property
    def row_bytes(self) -> int:
        """Bytes per row of a plane; with tiles, of whole tiles."""
        width = self.page.width if self.tile is None else self.tile[0]
        return self.tiles_across * ((width * self.samples_per_plane * self.bits + 7) // 8)

    def count_memory(self) -> int:
        """Bytes in memory during decoding: those of the image, and of one strip or tile."""
        width, height = self.page.width, self.page.height
        if self.compression == UNCOMPRESSED:
            part = len(self.page.directory.data)  # a copy of the file with other tags
        elif self.tile is not None:
            part = self.tile[0] * self.tile[1] * self.samples_per_plane * self.bits // 8
        else:
            part = self.row_bytes * min(height, self.page.directory.integer(ROWS_PER_STRIP, height) or height)
        if not self.needs_samples:
            is_narrow = self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, INDEXED) and self.num_samples == 1
            return width * height * (1 if is_narrow else 4) + part * (4 if self.photometric == YCBCR else 1)
        planes = min(self.num_samples, self.num_colors + 1) if self.is_planar else 1
        return self.row_bytes * height * planes + part

    def _check_supported(self) -> None:
        if not self.num_colors <= self.num_samples <= 16:
            raise InvalidImageError(f"unsupported pixels: this TIFF has {self.num_samples} samples per pixel")
        if not self.needs_samples:
            return
        kind = {UNSIGNED: "", SIGNED: "signed ", FLOAT: "floating-point "}.get(self.sample_format, "complex ")
        if self.bits not in _SIZES.get(self.sample_format, ()) or self.photometric not in MODES:
            raise InvalidImageError(
                f"unsupported pixels: this TIFF has {self.bits}-bit {kind}samples"
                + (" in YCbCr" if self.photometric == YCBCR else "")
                + "; convert it to 8 or 16 bits"
            )
        if self.compression not in _PLAIN_COMPRESSIONS:
            raise InvalidImageError(
                f"unsupported pixels: this TIFF has {self.bits}-bit samples with compression {self.compression}; "
                "save it with LZW or Deflate"
            )
