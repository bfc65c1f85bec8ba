"""Open images by format: size, mode, orientation and color profile, and how to load the pixels afterwards."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    WebPImagePlugin,
)

from model.exceptions import InvalidImageError
from model.images.boxes import read_cicp
from model.images.cicp import profile_from_cicp
from model.images.contract import IMAGE_SIZE
from model.images.exif import UPRIGHT, read_orientation
from model.images.extras import JXL_BYTES_PER_PIXEL, open_heic, open_jxl
from model.images.formats import HEAD_BYTES, identify_format
from model.images.gif import check_structure, first_frame_box
from model.images.info import WarningList
from model.images.jpeg import check_complete, has_several_images, open_jpeg
from model.images.limits import ImageLimits, check_memory, check_size
from model.images.png import read_png, transparent_color
from model.images.ppm import check_text, load_pixels, open_ppm
from model.images.raster import BAND_PIXELS, Raster
from model.images.samples import Samples, find_scale
from model.images.tiff import open_tiff

REDUCED_SIDE = 2 * IMAGE_SIZE
"""Minimum side of a JPEG that is decoded at a reduced scale."""
WEBP_BYTES_PER_PIXEL, AVIF_BYTES_PER_PIXEL, HEIC_BYTES_PER_PIXEL = 16, 12, 10
"""Measured memory per pixel of these decoders and of Pillow's image."""
_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 2, "LA": 4, "PA": 4, "I;16": 2, "I;16B": 2}
"""Bytes per pixel in Pillow, by mode; 4 for all others."""


@dataclass(frozen=True)
class OpenedImage:
    """An image whose pixels aren't decoded yet.

    `memory`: bytes that decoding takes. `orientation`: EXIF orientation that is still to be applied. `is_inverted`: for
    CMYK, whether 255 means no ink.
    """

    format: str
    width: int
    height: int
    mode: str
    memory: int
    load: Callable[[], Raster]
    orientation: int = 1
    color_profile: bytes = b""
    frames_ignored: bool = False
    is_inverted: bool = False


def open_image(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    """Identify and open an image, and check its limits. Raises InvalidImageError, and whatever Pillow raises."""
    return _OPENERS[identify_format(data[:HEAD_BYTES])](data, limits, warnings)


def _open_jpeg(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    jpeg = open_jpeg(data, REDUCED_SIDE, limits, warnings)
    image = jpeg.image

    def load() -> Raster:
        image.load()
        check_complete(jpeg, data)
        return Raster.of(image)

    return OpenedImage(
        format="JPEG",
        width=jpeg.width,
        height=jpeg.height,
        mode=image.mode,
        memory=jpeg.memory,
        load=load,
        orientation=read_orientation(image.info.get("exif"), warnings),
        color_profile=image.info.get("icc_profile") or b"",
        frames_ignored=has_several_images(image),
        is_inverted=image.mode == "CMYK" and not jpeg.structure.has_adobe_marker,
    )


def _open_png(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    png = read_png(data, warnings)
    image = PngImagePlugin.PngImageFile(io.BytesIO(png.data))
    memory = _check(image, "a PNG", limits)

    def load() -> Raster:
        image.load()
        transparent = image.info.get("transparency")
        if image.mode.startswith("I"):
            return _high_depth_raster(image, warnings, transparent)
        if transparent is not None:
            image.info["transparency"] = transparent_color(png, transparent)
            return Raster.of(image, lambda band: band.convert("RGBA"))
        raster = _eight_bit_raster(image)
        if png.depth == 16:
            _warn_if_dark(image, warnings)
        return raster

    return OpenedImage(
        format="PNG",
        width=image.width,
        height=image.height,
        mode=image.mode,
        memory=memory,
        load=load,
        orientation=read_orientation(png.exif, warnings),
        color_profile=png.color_profile,
        frames_ignored=_warn_of_frames(png.num_frames, warnings),
    )


def _open_tiff(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    tiff = open_tiff(data, limits, warnings)
    return OpenedImage(
        format="TIFF",
        width=tiff.page.width,
        height=tiff.page.height,
        mode=tiff.mode,
        memory=tiff.memory,
        load=lambda: tiff.load(warnings),
        orientation=tiff.orientation if tiff.orientation in UPRIGHT else 1,
        color_profile=tiff.color_profile,
        frames_ignored=tiff.page.several,
    )


def _open_gif(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    check_structure(data)
    image = GifImagePlugin.GifImageFile(io.BytesIO(data))
    memory = _check(image, "a GIF", limits)
    box = first_frame_box(image)

    def load() -> Raster:
        image.load()
        if box == (0, 0, *image.size):
            return _eight_bit_raster(image)

        def rows(top: int, bottom: int) -> Image.Image:
            screen = Image.new("RGBA", (image.width, bottom - top))
            upper, lower = max(top, box[1]), min(bottom, box[3])
            if upper < lower:
                frame = image.crop((box[0], upper, box[2], lower)).convert("RGBA")
                screen.paste(frame, (box[0], upper - top))
            return screen

        return Raster(image.width, image.height, rows)

    frames_ignored = _warn_of_frames(2 if image.is_animated else 1, warnings)
    return OpenedImage("GIF", *image.size, image.mode, memory, load, frames_ignored=frames_ignored)


def _open_bmp(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    try:
        image = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    except OSError as error:
        raise InvalidImageError(
            "damaged image, or unsupported pixels: this BMP has an unusual header; convert it to PNG"
        ) from error
    memory = _check(image, "a BMP", limits)

    def load() -> Raster:
        image.load()
        if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
            warnings.add("transparency", "its transparency was ignored: the whole image would be invisible")
            return Raster.of(image, lambda band: band.convert("RGB"))
        return _eight_bit_raster(image)

    return OpenedImage("BMP", *image.size, image.mode, memory, load)


def _open_ppm(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    image = open_ppm(data)
    memory = _check(image, "a PPM", limits)
    check_text(image, data, limits)

    def load() -> Raster:
        loaded = load_pixels(image, data)
        return _high_depth_raster(loaded, warnings) if loaded.mode in ("I", "I;16", "F") else _eight_bit_raster(loaded)

    return OpenedImage("PPM", *image.size, image.mode, memory, load)


def _open_webp(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    return _open_coded("WEBP", image, WEBP_BYTES_PER_PIXEL, limits, warnings)


def _open_avif(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    return _open_coded("AVIF", image, AVIF_BYTES_PER_PIXEL, limits, warnings, cicp=read_cicp(data))


def _open_heic(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    image, points = open_heic(data), read_cicp(data)
    return _open_coded("HEIC", image, HEIC_BYTES_PER_PIXEL, limits, warnings, is_upright=True, cicp=points)


def _open_jxl(data: bytes, limits: ImageLimits, warnings: WarningList) -> OpenedImage:
    return _open_coded("JPEG XL", open_jxl(data, limits), JXL_BYTES_PER_PIXEL, limits, warnings, is_upright=True)


_OPENERS: dict[str, Callable[[bytes, ImageLimits, WarningList], OpenedImage]] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "TIFF": _open_tiff,
    "GIF": _open_gif,
    "BMP": _open_bmp,
    "PPM": _open_ppm,
    "WEBP": _open_webp,
    "AVIF": _open_avif,
    "HEIC": _open_heic,
    "JPEG XL": _open_jxl,
}


def _open_coded(
    name: str,
    image: ImageFile.ImageFile,
    bytes_per_pixel: int,
    limits: ImageLimits,
    warnings: WarningList,
    is_upright: bool = False,
    cicp: tuple[int, int] | None = None,
) -> OpenedImage:
    """An image with metadata, whose decoder needs memory of its own. `is_upright`: the decoder turns it upright.

    `cicp`: the code points of its colors (`read_cicp`); a color profile takes precedence over them.
    """
    width, height = image.size
    check_size(width, height, limits.max_pixels, limits)
    memory = bytes_per_pixel * width * height
    check_memory(f"a {name} image", width, height, memory, limits)

    color_profile = image.info.get("icc_profile") or b""
    if cicp is not None and not color_profile:
        color_profile = profile_from_cicp(*cicp, image.mode.startswith(("L", "I")), warnings)

    def load() -> Raster:
        image.load()
        return _high_depth_raster(image, warnings) if image.mode in ("I;16", "F") else _eight_bit_raster(image)

    return OpenedImage(
        format=name,
        width=width,
        height=height,
        mode=image.mode,
        memory=memory,
        load=load,
        orientation=1 if is_upright else read_orientation(image.info.get("exif"), warnings),
        color_profile=color_profile,
        frames_ignored=_warn_of_frames(getattr(image, "n_frames", 1), warnings),
    )


def _check(image: Image.Image, what: str, limits: ImageLimits) -> int:
    """The bytes that the pixels take in memory. Raises InvalidImageError or ImageTooLargeError."""
    width, height = image.size
    check_size(width, height, limits.max_pixels, limits)
    memory = _BYTES_PER_PIXEL.get(image.mode, 4) * width * height
    check_memory(what, width, height, memory, limits)
    return memory


def _warn_of_frames(num_frames: int, warnings: WarningList) -> bool:
    if num_frames > 1:
        warnings.add("frames", "it has several images: the first was used")
    return num_frames > 1


def _warn_if_dark(image: Image.Image, warnings: WarningList) -> None:
    """Warn if a 16-bit color image, of which Pillow kept the upper 8 bits, uses only the lowest 12 bits."""
    extrema = np.array(image.getextrema())
    if 0 < extrema[: 3 if extrema.ndim == 2 else None, -1].max() < 16:
        warnings.add("nearly_black", "its colors use only the lowest 12 of 16 bits: it was read as nearly black")


def _eight_bit_raster(image: Image.Image) -> Raster:
    """The raster of a decoded image of at most 8 bits per sample."""
    if image.mode in ("P", "1", "PA") or "transparency" in image.info:
        transparent = image.mode == "PA" or "transparency" in image.info
        return Raster.of(image, lambda band: band.convert("RGBA" if transparent else "RGB"))
    return Raster.of(image)


def _high_depth_raster(image: Image.Image, warnings: WarningList, transparent: object = None) -> Raster:
    """The raster of a decoded gray image with 16-bit or floating-point samples."""
    step = max(1, BAND_PIXELS // image.width)

    def samples(band: Image.Image) -> Samples:
        values = np.asarray(band)
        return values if values.dtype.kind == "f" else values.astype(np.uint16)

    bands = (image.crop((0, top, image.width, min(image.height, top + step))) for top in range(0, image.height, step))
    scale = find_scale((samples(band) for band in bands), 32 if image.mode == "F" else 16, warnings)

    def convert(band: Image.Image) -> Image.Image:
        values = samples(band)
        gray = Image.fromarray(scale.levels(values))
        if isinstance(transparent, int):
            gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        return gray

    return Raster.of(image, convert)
