"""Decode images in the forms that Python programs have: paths, bytes of files, PIL images and numpy arrays."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.reading import BATCH_SIZE
from model.datasets.image_files import is_url, read_image_file
from model.exceptions import InvalidImageError, InvalidRequestError
from model.images.contract import ImageContract
from model.images.exif import ORIENTATION_TAG
from model.images.info import DecodedImage
from model.images.preprocess import decode_image
from model.thread_pool import ordered_map

ImageLike = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]
"""The path or the bytes of an image file, a PIL image, or an RGB array (height, width, 3) of dtype uint8."""
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
_OTHER_METADATA = {"xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1"}
_TIFF_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "F", "CMYK", "LAB")
"""Modes of PIL images that can be written to a TIFF as they are."""


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image. `sha256`: of its file, or of its pixels if it has no file. `path`: of its file, if any."""

    image: DecodedImage
    sha256: str
    path: Path | None


def is_single(images: ImageLike | Iterable[ImageLike]) -> bool:
    """Whether this is one image and not several."""
    return isinstance(images, _SINGLE)


def each_image(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """One image or several, to iterate over once. Raises InvalidRequestError for anything else, and for an open file,
    which would yield its lines."""
    if isinstance(images, _SINGLE):
        return [images]
    if not isinstance(images, Iterable) or hasattr(images, "read"):
        raise _unknown_kind(images)
    return images


def decode_batches(images: Iterable[ImageLike], contract: ImageContract) -> Iterator[list[LoadedImage]]:
    """Decode images ahead in threads; yield them in batches of at most BATCH_SIZE.

    Raises InvalidRequestError for an object of an unknown kind or a file that can't be read, and InvalidImageError for
    an image that can't be decoded; both name the path, if there is one.
    """
    decoded = ordered_map(lambda image: decode(image, contract), _load(images), ahead=BATCH_SIZE)
    while batch := list(islice(decoded, BATCH_SIZE)):
        yield batch


def _load(images: Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Yield the images, and load PIL images first: an image that is given twice mustn't be loaded by two threads."""
    for image in images:
        if isinstance(image, Image.Image):
            _load_pil(image)
        yield image


def decode(image: ImageLike, contract: ImageContract) -> LoadedImage:
    """Decode an image of any kind as the network's `contract` asks. Raises as `decode_batches` does."""
    if isinstance(image, str) and is_url(image):
        raise InvalidRequestError(f"URLs aren't supported: download {image}, and give its bytes")
    path = Path(image) if isinstance(image, str | os.PathLike) else None
    data = _read(path) if path is not None else _to_bytes(image)
    try:
        return LoadedImage(decode_image(data, contract=contract), hashlib.sha256(data).hexdigest(), path)
    except InvalidImageError as error:
        if path is None:
            raise
        raise type(error)(f"{error}: {path}") from error


def _read(path: Path) -> bytes:
    try:
        return read_image_file(path)
    except InvalidImageError as error:
        hint = "it is a folder; give the files in it" if path.is_dir() else str(error)
        raise type(error)(f"{hint}: {path}") from error
    except (OSError, ValueError) as error:  # a ValueError for a character that no path can have
        raise InvalidRequestError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error


def _to_bytes(image: Any) -> bytes:
    """The bytes of an image file: those given, or a lossless encoding of the pixels."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray):
        return _encode(Image.fromarray(_check_array(image)))
    if isinstance(image, Image.Image):
        return _encode(image)
    raise _unknown_kind(image)


def _check_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The array. Raises InvalidRequestError unless it has the shape (height, width, 3) and the dtype uint8."""
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
        return array
    if array.ndim == 4:
        hint = "; give several images as a list"
    elif array.dtype != np.uint8 and array.dtype.kind == "f":
        hint = "; multiply values from 0 to 1 by 255 and convert them to uint8"
    elif array.dtype != np.uint8:
        hint = "; scale its values to 0 to 255 and convert them to uint8"
    elif array.ndim == 3 and array.shape[0] == 3:
        hint = "; channels come last"
    elif array.ndim == 2:
        hint = "; for grayscale, give np.stack([array] * 3, axis=-1)"
    elif array.ndim == 3 and array.shape[2] == 4:
        hint = "; leave the alpha channel out: array[..., :3]"
    else:
        hint = ""
    shape = "x".join(map(str, array.shape))
    raise InvalidRequestError(f"an array must be height x width x 3 of dtype uint8, not {shape} of {array.dtype}{hint}")


def _encode(image: Image.Image) -> bytes:
    """Encode as an uncompressed TIFF with orientation and color profile. The same pixels give the same bytes.

    Gray of more than 8 bits with a transparent level becomes a PNG, since TIFF has no such level.
    """
    _load_pil(image)
    if 0 in image.size:
        raise InvalidImageError(f"the image has no pixels: its size is {image.width} x {image.height}")
    profile, orientation = image.info.get("icc_profile"), _orientation(image)
    has_transparency = image.info.get("transparency") is not None
    if has_transparency and image.mode.startswith(("I", "F")):
        return _encode_high_depth_with_transparency(image, profile, orientation)
    if has_transparency or image.mode in ("PA", "La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode.startswith("I;16") and image.mode != "I;16":  # another byte order
        image = image.convert("I").convert("I;16")
    elif image.mode not in _TIFF_MODES:
        image = image.convert("RGB")
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image = image.convert("RGB")  # as when its file is read: such a channel isn't transparency
    if image.format == "TIFF":
        image = image.copy()  # without its file's other tags, such as the resolution
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="raw", icc_profile=profile, tiffinfo={ORIENTATION_TAG: orientation})
    return buffer.getvalue()


def _orientation(image: Image.Image) -> int:
    """The orientation in the EXIF metadata; 1 if that is damaged. An orientation that only Pillow reads is ignored."""
    in_file = image.format in ("JPEG", "PNG", "WEBP") and "exif" not in image.info
    if in_file and _OTHER_METADATA & image.info.keys():
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises many kinds, such as a SyntaxError
        return 1
    return orientation if isinstance(orientation, int) and 0 <= orientation <= 65_535 else 1


def _encode_high_depth_with_transparency(image: Image.Image, profile: bytes | None, orientation: int) -> bytes:
    """A PNG: with an alpha channel, Pillow would clip the samples to 8 bits."""
    transparent = image.info["transparency"]
    samples = np.asarray(image)
    if image.mode == "F" or not isinstance(transparent, int) or samples.min() < 0 or samples.max() > 65_535:
        raise InvalidImageError(
            f"a PIL image of the mode {image.mode} can have a transparent level only if all samples and the level are "
            "integers from 0 to 65,535: delete its info['transparency'], or convert it to LA"
        )
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ORIENTATION_TAG] = orientation
    gray = Image.fromarray(samples.astype(np.uint16))
    gray.save(buffer, "PNG", compress_level=1, transparency=transparent, icc_profile=profile, exif=exif)
    return buffer.getvalue()


def _load_pil(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # decoders raise many kinds, such as an AssertionError if the file is closed
        raise InvalidImageError(
            f"the PIL image can't be loaded; its file may be damaged or closed: {error or type(error).__name__}"
        ) from error


def _unknown_kind(image: object) -> InvalidRequestError:
    hint = "; for an open file, give its path or the result of its read()" if hasattr(image, "read") else ""
    return InvalidRequestError(
        f"an image must be a path, bytes, a PIL image or a numpy array, not {type(image).__name__}{hint}"
    )
