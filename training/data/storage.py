"""How the cache stores its 256 x 256 images: uint8 in a memory map (196,608 bytes each), or JPEG (about 17,000).

Each image has a CRC-32 checksum in `checksums.u32`, which is verified when the image is first read. A damaged image is
decoded from its file again.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.exceptions import DatasetError
from model.images.contract import IMAGE_SIZE

JPEG_QUALITY = 90
MAX_ENCODED_BYTES = 2**20
"""A larger JPEG of 256 x 256 pixels is damaged."""

Pixels = NDArray[np.uint8]


class _CheckedImages:
    """The checksums of `count` images in a folder. `repair`: row -> what `encode` gives for its file, decoded again."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self.repair: Callable[[int], tuple[Pixels, bytes]] | None = None
        path = folder / "checksums.u32"
        self._had_checksums = path.is_file() and path.stat().st_size == 4 * count
        if not self._had_checksums:
            np.zeros(count, np.uint32).tofile(path)
        self._checksums = np.memmap(path, np.uint32, "r+", shape=(count,))
        self._intact = np.zeros(count, np.bool_)
        self._repaired: dict[int, Pixels] = {}

    def _repair(self, row: int) -> tuple[Pixels, bytes]:
        """Decode a damaged image again. Raises DatasetError if that fails."""
        if self.repair is None:
            raise DatasetError(f"image {row} of the cache is damaged: delete the cache folder")
        tqdm.write(f"image {row} of the cache is damaged: decoding it again")
        return self.repair(row)


class RawImages(_CheckedImages):
    """(N, 256, 256, 3) uint8 in one file, `map`; rows are written in order and read in any order."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder, count)
        self.path = folder / "images.u8"

    @staticmethod
    def encode(pixels: Pixels) -> tuple[Pixels, bytes]:
        """The pixels that are read back later, and the bytes to store for them."""
        return pixels, b""

    def write(self, row: int, pixels: Pixels, encoded: bytes) -> None:
        """Write one row."""
        self.map[row] = pixels
        self._checksums[row] = zlib.crc32(np.ascontiguousarray(pixels).data)

    def flush(self) -> None:
        """Make what was written durable."""
        self.map.flush()
        self._checksums.flush()

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(len(rows), 256, 256, 3). Raises DatasetError for a damaged image that can't be repaired."""
        self.check(rows)
        return np.asarray(self.map[rows])

    def check(self, rows: NDArray[np.int64]) -> None:
        """Repair damaged images in `map` before these rows of it are used. Raises DatasetError as `read`."""
        for row in rows[~self._intact[rows]].tolist():
            if zlib.crc32(self.map[row]) != self._checksums[row]:
                self.write(row, *self._repair(row))
            self._intact[row] = True

    def resume(self, done: int) -> bool:
        """Open the file to write after its first `done` rows. False, with nothing changed, if these don't exist."""
        size = self.count * IMAGE_SIZE * IMAGE_SIZE * 3
        if done and not self._had_checksums:
            return False
        if not self.path.is_file() or self.path.stat().st_size != size:
            if done:
                return False
            reserve(self.path, size, ", or use --cache-format jpeg, which needs a twelfth")
        self.map = np.memmap(self.path, np.uint8, "r+", shape=(self.count, IMAGE_SIZE, IMAGE_SIZE, 3))
        return True


class JpegImages(_CheckedImages):
    """The same images, compressed: a twelfth of the space, but decoded again each time they are read."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder, count)
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
        self._checksums[row] = zlib.crc32(encoded)

    def flush(self) -> None:
        """Make what was written durable."""
        with self.path.open("ab") as file:
            file.writelines(self._unwritten)
            file.flush()
            os.fsync(file.fileno())
        self._unwritten.clear()
        self.ends.flush()
        self._checksums.flush()

    def resume(self, done: int) -> bool:
        """Truncate the file after its first `done` rows. False, with the file empty, if these don't exist."""
        size = self.path.stat().st_size
        exists = done < len(self.ends) and (done == 0 or (self._had_checksums and 0 < int(self.ends[done]) <= size))
        os.truncate(self.path, int(self.ends[done]) if exists else 0)
        return exists

    def read(self, rows: NDArray[np.int64]) -> Pixels:
        """(len(rows), 256, 256, 3); black where no image is stored. Raises DatasetError as `RawImages.read`."""
        images = np.zeros((len(rows), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        with self.path.open("rb") as file:

            def decode(position: int) -> None:
                row = int(rows[position])
                start, size = int(self.ends[row]), int(self.ends[row + 1]) - int(self.ends[row])
                if row in self._repaired:
                    images[position] = self._repaired[row]
                elif size or self._checksums[row]:
                    encoded = os.pread(file.fileno(), size, start) if 0 < size < MAX_ENCODED_BYTES else b""
                    if self._intact[row] or zlib.crc32(encoded) == self._checksums[row]:
                        self._intact[row] = True
                        images[position] = _decode(encoded)
                    else:  # kept in memory: other bytes might not fit in its place
                        images[position] = self._repaired[row] = self._repair(row)[0]

            list(self._decoders.map(decode, range(len(rows))))
        return images


def _decode(encoded: bytes) -> Pixels:
    with Image.open(io.BytesIO(encoded), formats=["JPEG"]) as image:
        return np.asarray(image)


def reserve(path: Path, size: int, alternative: str = "") -> None:
    """Allocate the whole file now: a disk that fills up later would kill the process with SIGBUS.

    `alternative`: what helps besides freeing space, for the message. Raises DatasetError.
    """
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DatasetError(
            f"cannot reserve {size:,} bytes for {path}: {error.strerror}; free some space{alternative}"
        ) from error
