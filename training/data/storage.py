"""How the cache stores its 256 x 256 images: uint8 in a memory map (196,608 bytes each), or JPEG (about 17,000)."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.exceptions import DatasetError
from model.images.preprocess import IMAGE_SIZE

JPEG_QUALITY = 90

Pixels = NDArray[np.uint8]


class RawImages:
    """(N, 256, 256, 3) uint8 in one file; rows are written in order and read in any order."""

    def __init__(self, folder: Path, count: int) -> None:
        self.path, self.count = folder / "images.u8", count

    @staticmethod
    def encode(pixels: Pixels) -> tuple[Pixels, bytes]:
        """The pixels that are read back later, and the bytes to store for them."""
        return pixels, b""

    def write(self, row: int, pixels: Pixels, encoded: bytes) -> None:
        """Write one row."""
        self.map[row] = pixels

    def flush(self) -> None:
        """Make what was written durable."""
        self.map.flush()

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(len(rows), 256, 256, 3)."""
        return np.asarray(self.map[rows])

    def resume(self, done: int) -> bool:
        """Open the file to write after its first `done` rows. False, with nothing changed, if these don't exist."""
        size = self.count * IMAGE_SIZE * IMAGE_SIZE * 3
        if not self.path.is_file() or self.path.stat().st_size != size:
            if done:
                return False
            _reserve(self.path, size)
        self.map = np.memmap(self.path, np.uint8, "r+", shape=(self.count, IMAGE_SIZE, IMAGE_SIZE, 3))
        return True


class JpegImages:
    """The same images, compressed: a twelfth of the space, but decoded again each time they are read."""

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
        """The pixels that are read back later, and the bytes to store for them."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return _decode(buffer.getvalue()), buffer.getvalue()

    def write(self, row: int, pixels: Pixels, encoded: bytes) -> None:
        """Write one row; it can be read after `flush`."""
        self._unwritten.append(encoded)
        self.ends[row + 1] = self.ends[row] + len(encoded)

    def flush(self) -> None:
        """Make what was written durable."""
        with self.path.open("ab") as file:
            file.writelines(self._unwritten)
            file.flush()
            os.fsync(file.fileno())
        self._unwritten.clear()
        self.ends.flush()

    def resume(self, done: int) -> bool:
        """Truncate the file after its first `done` rows. False, with the file empty, if these don't exist."""
        size = self.path.stat().st_size
        exists = done < len(self.ends) and (done == 0 or 0 < int(self.ends[done]) <= size)
        os.truncate(self.path, int(self.ends[done]) if exists else 0)
        return exists

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(len(rows), 256, 256, 3); black where no image is stored."""
        out = np.zeros((len(rows), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        with self.path.open("rb") as file:

            def decode(position: int) -> None:
                start, end = int(self.ends[rows[position]]), int(self.ends[rows[position] + 1])
                if end > start:
                    out[position] = _decode(os.pread(file.fileno(), end - start, start))

            list(self._decoders.map(decode, range(len(rows))))
        return out


def _decode(encoded: bytes) -> Pixels:
    with Image.open(io.BytesIO(encoded), formats=["JPEG"]) as image:
        return np.asarray(image)


def _reserve(path: Path, size: int) -> None:
    """Allocate the whole file now: a disk that fills up later would kill the process with SIGBUS."""
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DatasetError(
            f"cannot reserve {size:,} bytes for {path}: {error.strerror}; free some space, or use --cache-format jpeg, "
            "which needs a twelfth"
        ) from error
