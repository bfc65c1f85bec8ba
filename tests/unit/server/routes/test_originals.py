"""Originals are closed, even if a client leaves before it gets one, and read as they were indexed."""

from __future__ import annotations

import gc
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from index.folder.store import FolderIndex
from model.exceptions import UnknownImageError
from server.exceptions import DeadlineExceededError
from server.routes.originals import OriginalFile, iter_chunks, open_original, read_original


def test_one_that_nobody_holds_is_closed_without_a_warning(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", warned.append)
    for _ in range(20):
        held: dict[str, Any] = {"file": OriginalFile(images / "checks" / "00.jpg")}
        held["held"] = held  # a cycle, as among the frames of a cancelled request
        descriptor = held["file"].fileno()
        del held
    gc.collect()
    assert not warned
    assert not Path(f"/proc/self/fd/{descriptor}").exists()


def test_it_is_read_in_parts_and_as_a_whole(index_path: Path) -> None:
    with closing(FolderIndex.open(index_path)) as index:
        entry = index.entry(1)
        assert entry.source is not None
        content = entry.source.read_bytes()
        file, image_format = open_original(index, 1, lambda: False)
        assert image_format == "JPEG"
        assert b"".join(iter_chunks(file)) == content
        assert file.closed
        assert read_original(index, 1, lambda: False) == content
        with pytest.raises(DeadlineExceededError):
            read_original(index, 1, lambda: True)


def test_a_changed_file_is_not_the_original(writable_folder: Path, tmp_path: Path) -> None:
    with closing(FolderIndex.open(writable_folder, writable=True)) as index:
        entry, path = index.entry(1), tmp_path / "image.jpg"
        assert entry.source is not None
        path.write_bytes(entry.source.read_bytes() + b"!")
        index.move([(1, str(path), entry.label)])
        with pytest.raises(UnknownImageError, match="is missing or has changed since indexing"):
            open_original(index, 1, lambda: False)


def test_a_device_is_not_an_original(writable_folder: Path) -> None:
    """An index may come from somebody else."""
    with closing(FolderIndex.open(writable_folder, writable=True)) as index:
        index.move([(1, "/dev/zero", "checks")])
        with pytest.raises(UnknownImageError):
            open_original(index, 1, lambda: True)
