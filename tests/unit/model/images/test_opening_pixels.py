"""Every kind of pixels, compared with what was written, and with what libvips reads.

A generated matrix: format x mode x depth x compression x byte order x photometric interpretation. Expected levels are
those that were written; where libvips reads the kind, it must agree, so that the expectation isn't only ours.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image

from model.images.preprocess import decode_image
from tests.helpers.image_files import (
    ALPHA,
    COLORS,
    GRAY,
    SIDE,
    Levels,
    bmp,
    on_white,
    png,
    rgb,
    saved,
    tiff,
    widen,
)


class Case(NamedTuple):
    """A file, the (256, 256, 3) levels that it shows, their tolerance, and whether libvips agrees."""

    name: str
    data: bytes
    expected: Levels
    tolerance: int = 1
    vips_agrees: bool = True


GENERATOR = np.random.default_rng(0)
PALETTE_16 = GENERATOR.integers(0, 65_536, (3, 256), dtype=np.uint16)
ORDERS, PLANES = ("<", ">"), ("contig", "separate")


def planes(samples: Levels, planar: str) -> Levels:
    return np.moveaxis(samples, -1, 0) if planar == "separate" else samples


def tiff_grays() -> Iterator[Case]:
    """libvips doesn't scale 32-bit and signed samples, and treats white as zero only for unsigned samples."""
    kinds = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
    for dtype, order, photometric in itertools.product(kinds, ORDERS, ("minisblack", "miniswhite")):
        levels = widen(GRAY, dtype)
        expected = 255 - GRAY if photometric == "miniswhite" else GRAY
        name = f"TIFF gray {dtype} {order} {photometric}"
        yield Case(name, tiff(levels, byteorder=order, photometric=photometric), expected, 1, dtype in ("u1", "u2"))


def tiff_colors() -> Iterator[Case]:
    for dtype, order, planar, packed in itertools.product(("u1", "u2", "u4", "f4"), ORDERS, PLANES, (None, "zlib")):
        options = {"byteorder": order, "planarconfig": planar, "compression": packed, "rowsperstrip": 40}
        data = tiff(planes(widen(COLORS, dtype), planar), photometric="rgb", **options)
        yield Case(f"TIFF RGB {dtype} {order} {planar} {packed}", data, COLORS, 1, dtype in ("u1", "u2"))
    for dtype, order, planar in itertools.product(("u1", "u2"), ORDERS, PLANES):
        name, options = f"{dtype} {order} {planar}", {"byteorder": order, "planarconfig": planar}
        for levels, photometric in ((COLORS, "rgb"), (GRAY[..., None], "minisblack")):
            for extra in ("unassalpha", "assocalpha", "unspecified"):
                shown = np.rint(levels * (ALPHA[..., None] / 255)) if extra == "assocalpha" else levels
                samples = np.concatenate([shown.astype(np.uint8), ALPHA[..., None]], -1)
                data = tiff(
                    planes(widen(samples, dtype), planar), photometric=photometric, extrasamples=[extra], **options
                )
                flat = levels.squeeze()
                expected = flat if extra == "unspecified" else on_white(flat, ALPHA)
                is_usual = photometric == "rgb" or planar == "contig"  # libvips confuses planes of gray and alpha
                yield Case(f"TIFF {photometric} {extra} {name}", data, expected, 1, extra != "unspecified" and is_usual)
        inks = np.concatenate([255 - COLORS, np.zeros_like(ALPHA)[..., None]], -1)
        data = tiff(planes(widen(inks, dtype), planar), photometric="separated", **options)
        yield Case(f"TIFF CMYK {name}", data, COLORS, 1, False)  # libvips has its own profile for inks


def tiff_palettes() -> Iterator[Case]:
    wide = GENERATOR.integers(0, 65_536, (3, 65_536), dtype=np.uint16)
    indexes = GRAY.astype(np.uint16) * 250
    for order in ORDERS:
        options = {"byteorder": order, "photometric": "palette"}
        expected = (PALETTE_16 >> 8).T[GRAY]
        yield Case(f"TIFF palette 8 {order}", tiff(GRAY, colormap=PALETTE_16, **options), expected)
        yield Case(f"TIFF palette of 8 bits {order}", tiff(GRAY, colormap=PALETTE_16 >> 8, **options), expected)
        expected = (wide >> 8).T[indexes]
        yield Case(f"TIFF palette 16 {order}", tiff(indexes, colormap=wide, **options), expected, 1, False)


def tiff_containers() -> Iterator[Case]:
    """Tiles, BigTIFF, and what libvips writes: compressions, predictors, few bits."""
    for order, big in itertools.product(ORDERS, (False, True)):
        options = {"byteorder": order, "bigtiff": big, "tile": (64, 48)}
        name = f"TIFF tiles {order} big={big}"
        yield Case(f"{name} gray", tiff(widen(GRAY, "u2"), photometric="minisblack", **options), GRAY)
        yield Case(f"{name} RGB", tiff(widen(COLORS, "u2"), photometric="rgb", compression="zlib", **options), COLORS)
        samples = planes(widen(COLORS, "u2"), "separate")
        data = tiff(samples, photometric="rgb", planarconfig="separate", **options)
        yield Case(f"{name} planes", data, COLORS)
    for packed, predictor, tile in itertools.product(("lzw", "deflate"), ("none", "horizontal"), (0, 1)):
        options = {"compression": packed, "predictor": predictor, "tile": tile, "tile_width": 96, "tile_height": 64}
        for name, levels, space in (("gray", GRAY, "grey16"), ("RGB", COLORS, "rgb16")):
            data = vips_image(widen(levels, "u2"), space).tiffsave_buffer(**options)
            yield Case(f"TIFF {name} 16 {packed} {predictor} tiles={tile}", data, levels)
    data = vips_image(widen(GRAY, "f4"), "b-w").tiffsave_buffer(compression="deflate", predictor="float", tile=True)
    yield Case("TIFF floating-point predictor", data, GRAY, 1, False)
    for bits, inverted in itertools.product((1, 2, 4), (False, True)):
        few = reduce_bits(GRAY, bits)
        data = vips_image(few, "b-w").tiffsave_buffer(bitdepth=bits, miniswhite=inverted, compression="packbits")
        yield Case(f"TIFF {bits} bits miniswhite={inverted}", data, few)
    data = vips_image(reduce_bits(GRAY, 1), "b-w").tiffsave_buffer(bitdepth=1, compression="ccittfax4")
    yield Case("TIFF fax", data, reduce_bits(GRAY, 1))
    yield Case("TIFF JPEG", vips_image(COLORS, "srgb").tiffsave_buffer(compression="jpeg", Q=95), COLORS, 8)


def pngs() -> Iterator[Case]:
    for depth, interlaced in itertools.product((1, 2, 4, 8, 16), (False, True)):
        levels = GRAY.astype(np.int64) * (2**depth - 1) // 255
        shown, name = levels * 255 // (2**depth - 1), f"PNG gray {depth} interlaced={interlaced}"
        yield Case(name, png(levels[..., None], 0, depth, interlaced=interlaced), shown)
        clear = int(levels[100, 100])
        data = png(levels[..., None], 0, depth, [(b"tRNS", struct.pack(">H", clear))], interlaced)
        yield Case(f"{name} transparent", data, np.where(levels == clear, 255, shown))
    for depth in (1, 2, 4, 8):
        indexes = GRAY.astype(np.int64) * (2**depth - 1) // 255
        colors = GENERATOR.integers(0, 256, (2**depth, 3), dtype=np.uint8)
        alpha = GENERATOR.integers(0, 256, 2**depth, dtype=np.uint8)
        chunks = [(b"PLTE", colors.tobytes()), (b"tRNS", alpha.tobytes())]
        yield Case(f"PNG palette {depth}", png(indexes[..., None], 3, depth, chunks[:1]), colors[indexes])
        data = png(indexes[..., None], 3, depth, chunks)
        yield Case(f"PNG palette {depth} alpha", data, on_white(colors[indexes], alpha[indexes]))
    for depth, scale in ((8, 1), (16, 257)):
        levels, clear = COLORS.astype(np.int64) * scale, COLORS[77, 99]
        yield Case(f"PNG RGB {depth}", png(levels, 2, depth), COLORS)
        data = png(levels, 2, depth, [(b"tRNS", struct.pack(">HHH", *(clear.astype(np.int64) * scale)))])
        shown = np.where((clear == COLORS).all(-1, keepdims=True), 255, COLORS)
        yield Case(f"PNG RGB {depth} transparent", data, shown)
        samples = np.stack([GRAY, ALPHA], -1).astype(np.int64) * scale
        yield Case(f"PNG gray and alpha {depth}", png(samples, 4, depth), on_white(GRAY, ALPHA))
        samples = np.concatenate([COLORS, ALPHA[..., None]], -1).astype(np.int64) * scale
        yield Case(f"PNG RGBA {depth}", png(samples, 6, depth), on_white(COLORS, ALPHA))


def bmps() -> Iterator[Case]:
    for bits in (1, 4, 8):
        indexes = GRAY.astype(np.int64) * (2**bits - 1) // 255
        colors = GENERATOR.integers(0, 256, (2**bits, 3), dtype=np.uint8)
        four, three = np.pad(colors[:, ::-1], ((0, 0), (0, 1))).tobytes(), colors[:, ::-1].tobytes()
        yield Case(f"BMP {bits}", bmp(indexes, bits, palette=four), colors[indexes])
        yield Case(f"BMP {bits} top down", bmp(indexes, bits, palette=four, top_down=True), colors[indexes])
        yield Case(f"BMP {bits} OS/2", bmp(indexes, bits, palette=three, header=12), colors[indexes])
    yield Case("BMP 24", bmp(COLORS, 24), COLORS)
    red, green, blue = (COLORS[..., channel].astype(np.uint32) for channel in range(3))
    fives = np.rint((COLORS >> 3) * (255 / 31))
    yield Case("BMP 16", bmp((red >> 3) << 10 | (green >> 3) << 5 | blue >> 3, 16), fives)
    packed = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    yield Case("BMP 16 of 5, 6 and 5 bits", bmp(packed, 16, masks=(0xF800, 0x7E0, 0x1F)), COLORS, 8)
    opaque, masks = red << 16 | green << 8 | blue, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    alpha = ALPHA.astype(np.uint32) << 24
    yield Case("BMP 32", bmp(opaque, 32), COLORS)
    yield Case("BMP 32, alpha not declared", bmp(opaque | alpha, 32), COLORS)
    for header in (108, 124):
        data = bmp(opaque | alpha, 32, masks=masks, header=header)
        yield Case(f"BMP 32 alpha {header}", data, on_white(COLORS, ALPHA))
    yield Case("BMP 32, all of it invisible", bmp(opaque, 32, masks=masks, header=124), COLORS)


def ppms() -> Iterator[Case]:
    black = GRAY <= 127
    yield Case("PBM", b"P4\n256 256\n" + np.packbits(black, axis=1).tobytes(), np.where(black, 0, 255))
    yield Case("PBM text", b"P1\n256 256\n" + text(black.astype(int)), np.where(black, 0, 255))
    for largest in (1, 15, 100, 255, 1000, 4095, 65_535):
        dtype = ">u2" if largest > 255 else "u1"
        for magic, levels in ((b"P5", GRAY), (b"P6", COLORS)):
            values = np.rint(levels * (largest / 255)).astype(np.int64)
            head, name = magic + b"\n# made here\n256 256\n%d\n" % largest, f"{magic.decode()} {largest}"
            shown = np.rint(values * (255 / largest))
            yield Case(name, head + values.astype(dtype).tobytes(), shown, 1, False)
    yield Case("PGM text", b"P2\n256 256\n255\n" + text(GRAY), GRAY)
    for order, sign in (("<f4", b"-1.0"), (">f4", b"1.0")):
        data = b"Pf\n256 256\n" + sign + b"\n" + widen(GRAY[::-1], "f4").astype(order).tobytes()
        yield Case(f"PFM {order}", data, GRAY, 1, False)


def coded() -> Iterator[Case]:
    image, alpha = Image.fromarray(COLORS), Image.fromarray(np.concatenate([COLORS, ALPHA[..., None]], -1))
    for subsampling, progressive in itertools.product((0, 1, 2), (False, True)):
        data = saved(image, "JPEG", quality=95, subsampling=subsampling, progressive=progressive)
        yield Case(f"JPEG {subsampling} progressive={progressive}", data, COLORS, 4)
    yield Case("JPEG gray", saved(Image.fromarray(GRAY), "JPEG", quality=95), GRAY, 4)
    yield Case("JPEG RGB", saved(image, "JPEG", quality=95, keep_rgb=True), COLORS, 4)
    inks = Image.fromarray(np.concatenate([255 - COLORS, np.zeros_like(ALPHA)[..., None]], -1), "CMYK")
    inverted = saved(inks, "JPEG", quality=95)
    yield Case("JPEG CMYK", inverted, COLORS, 4, False)
    swapped = saved(Image.fromarray(255 - np.asarray(inks), "CMYK"), "JPEG", quality=95)
    start = swapped.index(b"\xff\xee")
    length = int.from_bytes(swapped[start + 2 : start + 4], "big")
    yield Case("JPEG CMYK without Adobe's marker", swapped[:start] + swapped[start + 2 + length :], COLORS, 4, False)
    yield Case("WebP", saved(image, "WEBP", lossless=True), COLORS)
    yield Case("WebP alpha", saved(alpha, "WEBP", lossless=True, exact=True), on_white(COLORS, ALPHA))
    yield Case("AVIF", saved(image, "AVIF", quality=95, subsampling="4:4:4", speed=10), COLORS, 12)
    palette = image.quantize(64)
    indexes, clear = np.asarray(palette), int(np.asarray(palette)[100, 100])
    shown = np.asarray(palette.convert("RGB"))
    yield Case("GIF", saved(palette, "GIF"), shown)
    data = saved(palette, "GIF", transparency=clear)
    yield Case("GIF transparent", data, np.where((indexes == clear)[..., None], 255, shown))


def text(values: Levels) -> bytes:
    return b"\n".join(b" ".join(b"%d" % value for value in row) for row in values)


def reduce_bits(levels: Levels, bits: int) -> NDArray[np.uint8]:
    """`levels` reduced to what `bits` bits can represent."""
    largest = 2**bits - 1
    few: Levels = levels.astype(np.int64) * largest // 255
    return np.asarray(few * 255 // largest, np.uint8)


def vips_image(levels: Levels, space: str) -> pyvips.Image:
    formats = {"u1": "uchar", "u2": "ushort", "f4": "float"}
    bands = 1 if levels.ndim == 2 else levels.shape[2]
    data = np.ascontiguousarray(levels).tobytes()
    return pyvips.Image.new_from_memory(data, SIDE, SIDE, bands, formats[levels.dtype.str[1:]]).copy(
        interpretation=space
    )


def read_with_vips(data: bytes) -> Levels | None:
    """(256, 256, 3) as libvips reads it; None if it can't."""
    try:
        image = pyvips.Image.new_from_buffer(data, "")
        white = 65_535 if image.format == "ushort" else 255
        if image.hasalpha():
            image = image.flatten(background=[white] * (image.bands - 1))
        image = image.colourspace("srgb").cast("uchar")
        levels = np.frombuffer(image.write_to_memory(), np.uint8).reshape(image.height, image.width, -1)
    except pyvips.Error:
        return None
    return rgb(levels[..., 0] if levels.shape[2] == 1 else levels)


MATRIX = (tiff_grays, tiff_colors, tiff_palettes, tiff_containers, pngs, bmps, ppms, coded)


@pytest.mark.parametrize("cases", MATRIX)
def test_every_kind_of_pixels(cases: Callable[[], Iterator[Case]]) -> None:
    wrong = []
    for case in cases():
        expected = rgb(np.asarray(case.expected))
        ours = np.abs(decode_image(case.data).pixels - expected).max()
        vips = read_with_vips(case.data) if case.vips_agrees else None
        theirs = 0 if vips is None else np.abs(vips - expected).max()
        if max(ours, theirs) > case.tolerance:
            wrong.append(f"{case.name}: we are off by {ours} levels, libvips by {theirs}")
    assert not wrong, "\n".join(wrong)
