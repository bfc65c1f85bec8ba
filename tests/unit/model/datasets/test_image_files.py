"""Bounded reading: a video is judged by its first bytes, a pipe isn't opened, and a huge image isn't read."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from model.datasets.image_files import read_image_file, skipped_file
from model.exceptions import ImageTooLargeError, MissingExtraError, UnsupportedImageError
from tests.helpers.drawings import draw, encode


def test_images_are_read_whole(tmp_path: Path) -> None:
    import numpy as np

    for form in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"):
        data = encode(draw("checks", np.random.default_rng(0)), form)
        (tmp_path / "image").write_bytes(data)
        assert read_image_file(tmp_path / "image") == data


def test_memory_is_flat_over_gigabytes(tmp_path: Path) -> None:
    """Two sparse files of 6 GB: a video, and one that begins like a JPEG."""
    for name, first in (("holiday.mov", b"\0\0\0\x14ftypqt  "), ("huge.jpg", b"\xff\xd8\xff\xe0")):
        (tmp_path / name).write_bytes(first)
        os.truncate(tmp_path / name, 6 * 2**30)
    tracemalloc.start()
    with pytest.raises(UnsupportedImageError, match="not an image in a supported format"):
        read_image_file(tmp_path / "holiday.mov")
    with pytest.raises(ImageTooLargeError, match="file too large: 6,442,450,944 bytes"):
        read_image_file(tmp_path / "huge.jpg")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(UnsupportedImageError, match="not a regular file"):
            read_image_file(path)


def test_reasons(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnsupportedImageError, match="empty") as caught:
        read_image_file(tmp_path / "empty.png")
    assert skipped_file("file", caught.value).reason == "not images"
    with pytest.raises(FileNotFoundError) as missing:
        read_image_file(tmp_path / "none.png")
    assert skipped_file("file", missing.value).reason == "unreadable files"
    assert skipped_file("file", ImageTooLargeError()).reason == "images too large"
    assert skipped_file("file", MissingExtraError()).reason == "images that need an extra"
