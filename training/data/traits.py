"""What is kept of an image besides its 256 x 256 pixels: traits of its file, checksum and hash of the pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.datasets.image_files import read_image_file, skipped_file
from model.datasets.listing import Skipped
from model.exceptions import InvalidImageError
from model.images.contract import ImageContract
from model.images.info import WARNING_KINDS, DecodedImage, WarningKind, count_warnings
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from training.data.perceptual_hash import WORDS, difference_hash
from training.data.storage import reserve

TRAITS = np.dtype(
    [
        ("digest", np.uint64, (2,)),
        ("hash", np.uint64, (WORDS,)),
        ("format", "S8"),
        ("bytes", np.uint64),
        ("width", np.uint32),
        ("height", np.uint32),
        ("sharpness", np.float32),
        ("warnings", np.uint32),
    ]
)
"""`digest`: BLAKE2b of the decoded pixels; (0, 0) where a file couldn't be decoded. `hash`: of the pixels, see
`training.data.perceptual_hash`. Both are of the pixels in full detail, since training images may be read with another
detail than their copies in test. `format`, `bytes`, `width`, `height`: of the file. `sharpness`: `measure_sharpness` of
what the network sees. `warnings`: those raised in reading it, bit k for the kind `WARNING_KINDS[k]`.
"""

Traits = NDArray[np.void]
"""One or more records of `TRAITS`."""
TraitsFile = np.memmap[tuple[int], np.dtype[np.void]]


def decode_with_traits(
    file: str, contract: ImageContract, limits: ImageLimits
) -> tuple[DecodedImage, Traits] | Skipped:
    """A decoded image file and its record; or why it can't be decoded."""
    try:
        data = read_image_file(file, limits.max_file_bytes)
        decoded = decode_image(data, limits, contract)
    except (InvalidImageError, OSError) as error:
        return skipped_file(file, error)
    return decoded, read_traits(data, decoded)


def read_traits(data: bytes, decoded: DecodedImage) -> Traits:
    """The record of an image file, from its bytes `data` and what they decode to."""
    record = np.zeros((), TRAITS)
    digest = hashlib.blake2b(decoded.preview.tobytes(), digest_size=16).digest()
    record["digest"] = np.frombuffer(digest, np.uint64)
    record["hash"] = difference_hash(decoded.preview)
    record["format"] = decoded.info.format.encode()
    record["bytes"], record["width"], record["height"] = len(data), decoded.info.width, decoded.info.height
    record["sharpness"] = measure_sharpness(decoded.pixels)
    record["warnings"] = sum(1 << WARNING_KINDS.index(kind) for kind in count_warnings([decoded.info.warnings]))
    return record


def count_warning_bits(traits: Traits) -> dict[WarningKind, int]:
    """How many of the images (N,) were read with each kind of warning."""
    counts = {kind: int((traits["warnings"] >> bit & 1).sum()) for bit, kind in enumerate(WARNING_KINDS)}
    return {kind: count for kind, count in counts.items() if count}


def measure_sharpness(pixels: NDArray[np.uint8]) -> float:
    """Standard deviation of the Laplacian of the green channel of (H, W, 3) pixels, in gray levels."""
    green = pixels[..., 1].astype(np.int16)
    laplacian = 4 * green[1:-1, 1:-1] - green[:-2, 1:-1] - green[2:, 1:-1] - green[1:-1, :-2] - green[1:-1, 2:]
    return float(laplacian.std())


def is_decoded(traits: Traits) -> NDArray[np.bool_]:
    """Which of the records (N,) are of images that could be decoded."""
    decoded: NDArray[np.bool_] = np.any(traits["digest"] != 0, axis=1)
    return decoded


def open_traits(path: Path, count: int) -> tuple[TraitsFile, bool]:
    """The file of `count` records, created with zeros if it doesn't exist with this size; and whether it existed.

    Raises DatasetError if the disk has no room for it.
    """
    size = count * TRAITS.itemsize
    exists = path.is_file() and path.stat().st_size == size
    if not exists:
        reserve(path, size)
    return np.memmap(path, TRAITS, "r+", shape=(count,)), exists
