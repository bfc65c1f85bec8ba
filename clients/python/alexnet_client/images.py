"""Convert images as programs have them (paths, bytes, PIL images and numpy arrays) to the bytes that are sent.

Neither Pillow nor numpy is imported: a program with such an image already has them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alexnet_client.exceptions import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    ImageLike = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]
else:
    ImageLike = Any
    """An image file by its path, the bytes of one, a PIL image, or an array (height, width, 3) of uint8 in RGB."""

MAX_BATCH_IMAGES, MAX_BATCH_BYTES = 16, 24_000_000
"""Default limits of one request; the server's own default limits are 16 images and 32 MiB."""
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Modes of PIL images that PNG preserves."""
_TIFF_MODES = ("CMYK", "I", "F")
"""Other modes that TIFF preserves."""


@dataclass(frozen=True)
class ImageKey:
    """The key of an indexed image, used instead of its id."""

    text: str


def is_single(images: ImageLike | Iterable[ImageLike]) -> bool:
    """Whether this is one image and not several."""
    is_file = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview)
    return is_file or hasattr(images, "shape") or _is_pil(images)


def to_bytes(image: ImageLike) -> bytes:
    """The bytes of a file with this image, without loss. Raises InvalidInputError."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        try:
            with open(image, "rb") as file:  # noqa: PTH123
                return file.read()
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise InvalidInputError(f"can't read {os.fspath(image)}: {reason}") from error
    if _is_pil(image):
        return _encode_pil(image)
    if hasattr(image, "shape") and hasattr(image, "tobytes"):
        return _encode_array(image)
    hint = "; for an open file, pass its path or its read()" if hasattr(image, "read") else ""
    raise InvalidInputError(
        f"an image must be a path, bytes, a PIL image or a numpy array, not {type(image).__name__}{hint}"
    )


def split_batches(images: Iterable[ImageLike], max_images: int, max_bytes: int) -> Iterator[list[bytes]]:
    """The bytes of images, in batches of at most `max_images` and `max_bytes`; an image with more bytes is a batch of
    its own. Raises InvalidInputError."""
    batch, size = list[bytes](), 0
    for data in map(to_bytes, images):
        if batch and (len(batch) == max_images or size + len(data) > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(data)
        size += len(data)
    if batch:
        yield batch


def to_files(images: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Bytes of image files as parts of a form."""
    return [("image", ("image", data)) for data in images]


def _is_pil(image: object) -> bool:
    return hasattr(image, "getexif") and hasattr(image, "save")


def _encode_pil(image: Any) -> bytes:
    """A PNG, or a TIFF for modes that PNG lacks, with orientation and color profile."""
    buffer = io.BytesIO()
    try:
        metadata = {"icc_profile": image.info.get("icc_profile"), "exif": image.getexif().tobytes()}
        if image.mode not in (*_PNG_MODES, *_TIFF_MODES):
            image = _convert(image)
        if image.mode in _PNG_MODES:
            image.save(buffer, "PNG", compress_level=1, **metadata)
        else:
            image.save(buffer, "TIFF", compression="tiff_adobe_deflate", **metadata)
    except Exception as error:  # decoders raise various exceptions
        raise InvalidInputError(
            f"the PIL image can't be encoded (its file may be damaged or closed): {error or type(error).__name__}"
        ) from error
    return buffer.getvalue()


def _convert(image: Any) -> Any:
    """Convert a PIL image whose mode no file preserves to one that PNG preserves, with its 16 bits or transparency."""
    if image.mode.startswith("I;16"):  # of another byte order; a direct conversion would clip at 255
        return image.convert("I").convert("I;16")
    return image.convert({"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGB"))


def _encode_array(array: Any) -> bytes:
    """A PPM."""
    shape = tuple(array.shape)
    if str(array.dtype) != "uint8" or len(shape) != 3 or shape[2] != 3:
        shown = "x".join(map(str, shape))
        raise InvalidInputError(f"an array must be height x width x 3 of dtype uint8, not {shown} of {array.dtype}")
    pixels: bytes = array.tobytes()
    return b"P6\n%d %d\n255\n" % (shape[1], shape[0]) + pixels
