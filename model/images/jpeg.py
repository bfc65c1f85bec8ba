"""JPEG files: where the image ends, how many scans it has, and whether its pixel data are complete."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL import Image, ImageChops, JpegImagePlugin

from model.exceptions import ImageTooLargeError, InvalidImageError
from model.images.exif import warn_of_damaged_exif
from model.images.ifd import read_directory, read_layout
from model.images.info import WarningList
from model.images.limits import ImageLimits, check_memory, check_size

MAX_STEPS = 65_536
"""Maximum segments before and between scans, plus bytes between segments, which Pillow steps over one by one."""
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker: within the data of a scan, 0xff is followed by 0 or by a restart number instead."""
_NUM_IMAGES_TAG = 0xB001
_EXIF = b"Exif\0\0"
_END_MARK = b"\xff\xd9"
_ZEROS = bytes(64)
_NOISE = bytes(37 * number % 251 for number in range(1024))
"""Bytes, without a marker, that change the pixels if a scan continues there."""
_FILLED = range(126, 130)
"""Levels that libjpeg gives to pixels without data."""


@dataclass(frozen=True)
class JpegStructure:
    """The parts of a JPEG file.

    `samples_per_pixel`: of all components, which may be subsampled. `end`: the position after the end marker; None:
    there is none.
    """

    samples_per_pixel: float
    has_adobe_marker: bool
    num_scans: int
    end: int | None


@dataclass(frozen=True)
class JpegImage:
    """An opened JPEG, and the full size of its image. `memory`: bytes that decoding takes. `reduced_side`: each side
    is decoded to at least this many pixels."""

    image: JpegImagePlugin.JpegImageFile
    structure: JpegStructure
    width: int
    height: int
    memory: int
    reduced_side: int


def read_structure(data: bytes) -> JpegStructure:
    """Walk over segments and scans up to the end marker; what follows it isn't looked at. Raises InvalidImageError."""
    samples_per_pixel, adobe = 0.0, False
    position, steps = 2, 0
    while True:
        start = data.find(b"\xff", position)
        steps += 1 + (start if start >= 0 else len(data)) - position
        if steps > MAX_STEPS:
            raise InvalidImageError("invalid image: it has more parts than any image needs")
        if start < 0 or start + 1 >= len(data):
            raise InvalidImageError("damaged or incomplete image: this JPEG has no pixels")
        marker, position = data[start + 1], start + 1
        if marker == 0xFF:
            continue
        position += 1
        if marker == _SCAN:
            num_scans, end = _walk_scans(data, position, MAX_STEPS - steps)
            return JpegStructure(samples_per_pixel, adobe, num_scans, end)
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in _FRAMES:
            samples_per_pixel = _count_samples(data[position + 7 : position + 20])
        adobe = adobe or (marker == 0xEE and data[position + 2 : position + 7] == b"Adobe")
        position += int.from_bytes(data[position : position + 2], "big")


def _count_samples(frame: bytes) -> float:
    """Samples per pixel. `frame`: number of components, and id, sampling factors and table of each."""
    factors = [(factor >> 4) * (factor & 15) for factor in frame[2::3][: frame[0] if frame else 0]]
    return sum(factors) / max(1, *factors) if factors else 0.0


def _walk_scans(data: bytes, position: int, max_steps: int) -> tuple[int, int | None]:
    """Number of scans, and the position after the end marker. `position`: after the marker of the first scan."""
    end = data.find(_END_MARK, position)
    if end >= 0 and data.find(b"\xff\xda", position, end) < 0:  # one scan, as nearly always
        return 1, end + 2
    num_scans = 1
    position += int.from_bytes(data[position : position + 2], "big")
    for _ in range(max_steps):
        match = _MARKER.search(data, position)
        if match is None:
            return num_scans, None
        marker, position = data[match.start() + 1], match.end()
        if marker == _END:
            return num_scans, position
        num_scans += marker == _SCAN
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    raise InvalidImageError("invalid image: it has more parts than any image needs")


def open_jpeg(data: bytes, reduced_side: int, limits: ImageLimits, warnings: WarningList) -> JpegImage:
    """Open a JPEG to be decoded at 1, 1/2, 1/4 or 1/8 scale, with sides of at least `reduced_side`.

    Raises InvalidImageError or a subclass.
    """
    structure = read_structure(data)
    try:
        image = _open(data)
    except Exception:  # Pillow reads the resolution from EXIF data, and may raise anything if they are damaged
        data = data.replace(_EXIF, bytes(len(_EXIF)), 1)
        image = _open(data)
        warn_of_damaged_exif(warnings)
    width, height = image.size
    check_size(width, height, max(limits.max_reduced_pixels, limits.max_pixels), limits)
    scans = structure.num_scans * (1 if structure.end else 2)
    if scans * width * height > (max_scanned := max(limits.max_scanned_pixels, limits.max_pixels)):
        raise ImageTooLargeError(
            f"JPEG with too many scans ({structure.num_scans:,}): all scans together may have at most "
            f"{max_scanned:,} pixels"
        )
    image.draft("RGB", (reduced_side, reduced_side))
    memory, kind = 4 * image.width * image.height, ""
    if structure.num_scans > 1:  # the coefficients of all scans are in memory, whatever the scale
        memory, kind = memory + int(2 * structure.samples_per_pixel * width * height), "progressive "
        memory += 0 if structure.end else 8 * image.width * image.height  # for `is_cut_in_scan`
    check_memory(f"a {kind}JPEG", width, height, memory, limits)
    if structure.end is None:
        if structure.num_scans == 1 and not is_complete(data):
            raise InvalidImageError("damaged or incomplete image: this JPEG ends before its pixels do")
        image = _open(data + _END_MARK)
        image.draft("RGB", (reduced_side, reduced_side))
        warnings.add("no_end_mark", "its end marker is missing: the file may be truncated")
    return JpegImage(image, structure, width, height, memory, reduced_side)


def has_several_images(image: Image.Image) -> bool:
    """Whether a JPEG states that more images follow it, as those of phones and stereo cameras do."""
    directory = image.info.get("mp", b"")
    try:
        header = read_layout(directory)
        return header is not None and read_directory(directory, *header).integer(_NUM_IMAGES_TAG) > 1
    except InvalidImageError:
        return False


def is_filled(image: Image.Image) -> bool:
    """Whether a decoded JPEG ends in the gray that stands for missing data."""
    end = image.crop((max(0, image.width - 2), max(0, image.height - 2), image.width, image.height))
    return all(level in _FILLED for level in end.tobytes())


def check_complete(jpeg: JpegImage, data: bytes) -> None:
    """Raise InvalidImageError if a decoded JPEG lacks pixel data, as far as that can be told.

    A progressive JPEG that was cut between two scans counts as complete, though coarse.
    """
    image, end = jpeg.image, jpeg.structure.end
    if end and not is_filled(image):
        return
    pixels = data[: end - 2] if end else data
    if jpeg.structure.num_scans > 1:
        if is_cut_in_scan(image, pixels, jpeg.reduced_side):
            raise InvalidImageError("damaged or incomplete image: this progressive JPEG ends within a scan")
    elif end and not is_complete(pixels):
        raise InvalidImageError("damaged or incomplete image: this JPEG has no data for its lower part")


def is_complete(data: bytes) -> bool:
    """Whether data of one scan, without an end marker, contain all pixels, as far as that can be told.

    If pixels are missing, libjpeg takes appended zeros for pixels, and then waits for more. After complete data, it
    reads over the zeros, looking for the end marker.
    """
    image = _open(data + _ZEROS)
    image.draft("RGB", (1, 1))
    try:
        image.load()
    except OSError:
        return False
    return True


def is_cut_in_scan(image: JpegImagePlugin.JpegImageFile, data: bytes, reduced_side: int) -> bool:
    """Whether the data of a progressive JPEG, without an end marker, end within a scan. `image`: decoded from them.

    libjpeg takes appended bytes for the rest of an incomplete scan, and skips them after a complete one.
    """
    other = _open(data.rstrip(b"\xff") + _NOISE + _END_MARK)
    other.draft("RGB", (reduced_side, reduced_side))
    other.load()
    return ImageChops.difference(image, other).getbbox(alpha_only=False) is not None


def _open(data: bytes) -> JpegImagePlugin.JpegImageFile:
    return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
