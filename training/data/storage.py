"""Where the cache keeps its 256 x 256 images: as bytes in a memory map (196,608 each), or as JPEG (about 17,000)."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.exceptions import DatasetError
from model.images.preprocess import SIDE

JPEG_QUALITY = 90

Pixels = NDArray[np.uint8]


class RawImages:
    """(N, 256, 256, 3) uint8 in one file; rows are written in order, and read in any."""

    def __init__(self, folder: Path, count: int) -> None:
        self.path, self.count = folder / "images.u8", count

    @staticmethod
    def encode(pixels: Pixels) -> tuple[Pixels, bytes]:
        """What is read back later, and what is stored."""
        return pixels, b""

    def write(self, row: int, pixels: Pixels, stored: bytes) -> None:
        self.map[row] = pixels

    def flush(self) -> None:
        self.map.flush()

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(len(rows), 256, 256, 3)."""
        return np.asarray(self.map[rows])

    def go_on(self, done: int) -> bool:
        """Prepare to write after the first `done` rows; whether these are there. Where not, nothing is prepared."""
        size = self.count * SIDE * SIDE * 3
        if not self.path.is_file() or self.path.stat().st_size != size:
            if done:
                return False
            _reserve(self.path, size)
        self.map = np.memmap(self.path, np.uint8, "r+", shape=(self.count, SIDE, SIDE, 3))
        return True


class JpegImages:
    """The same images, compressed: a twelfth of the space, and a decoder's work at each reading."""

    def __init__(self, folder: Path, count: int) -> None:
        self.path = folder / "images.jpg"
        self.path.touch()
        ends = folder / "ends.u64"
        if not ends.is_file() or ends.stat().st_size != 8 * (count + 1):
            np.zeros(count + 1, np.uint64).tofile(ends)
        self.ends = np.memmap(ends, np.uint64, "r+", shape=(count + 1,))
        self._unwritten: list[bytes] = []
        self._decoders = ThreadPoolExecutor(thread_name_prefix="jpeg")

    @staticmethod
    def encode(pixels: Pixels) -> tuple[Pixels, bytes]:
        """What is read back later, and what is stored."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return _decode(buffer.getvalue()), buffer.getvalue()

    def write(self, row: int, pixels: Pixels, stored: bytes) -> None:
        self._unwritten.append(stored)
        self.ends[row + 1] = self.ends[row] + len(stored)

    def flush(self) -> None:
        with self.path.open("ab") as file:
            file.writelines(self._unwritten)
            file.flush()
            os.fsync(file.fileno())
        self._unwritten.clear()
        self.ends.flush()

    def go_on(self, done: int) -> bool:
        """Prepare to write after the first `done` rows; whether these are there."""
        size = self.path.stat().st_size
        there = done < len(self.ends) and (done == 0 or 0 < int(self.ends[done]) <= size)
        os.truncate(self.path, int(self.ends[done]) if there else 0)
        return there

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(len(rows), 256, 256, 3); black where nothing is stored."""
        out = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8)
        with self.path.open("rb") as file:

            def decode(position: int) -> None:
                start, end = int(self.ends[rows[position]]), int(self.ends[rows[position] + 1])
                if end > start:
                    out[position] = _decode(os.pread(file.fileno(), end - start, start))

            list(self._decoders.map(decode, range(len(rows))))
        return out


def _decode(stored: bytes) -> Pixels:
    with Image.open(io.BytesIO(stored), formats=["JPEG"]) as image:
        return np.asarray(image)


def _reserve(path: Path, size: int) -> None:
    """Take the space at once: running out of it later would kill the process without a word."""
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DatasetError(
            f"expected {size:,} bytes of free space for {path}, found: {error.strerror}; --cache-format jpeg needs a "
            "twelfth"
        ) from error
