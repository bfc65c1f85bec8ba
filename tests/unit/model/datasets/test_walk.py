"""Walking over folders: links once, loops cut, system folders left out, special files never opened."""

from __future__ import annotations

import os
import socket
from collections import Counter
from pathlib import Path

import pytest

from model.datasets.walk import walk
from model.exceptions import DatasetError


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def reasons(root: Path, *exclude: str) -> dict[str, str]:
    return {str(Path(entry.path).relative_to(root)): entry.reason for entry in walk(root, exclude).skipped}


def test_what_systems_leave_in_folders_is_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "d", "cat/1.png", "cat/@eaDir/1.png/SYNO_M.png", "#recycle/2.png", "cat/Thumbs.db")
    make(root, "__MACOSX/cat/._1.png", "lost+found/3.png", ".thumbnails/4.png", "$recycle.bin/5.png", "cat/._1.png")
    make(root, "Catalog Previews.lrdata/0/6.jpg", "cat/1.png@SynoEAStream")
    assert walk(root).files == ["cat/1.png"]
    assert Counter(reasons(root).values()) == {"system files and folders": 8, "hidden": 2}


def test_patterns_leave_out_names_and_paths(tmp_path: Path) -> None:
    root = make(tmp_path / "d", "cat/1.png", "cat/old/2.png", "dog/old/3.png", "dog/4_mask.png", "old.png")
    result = walk(root, ["cat/old", "*_mask.png", "nothing/"])
    assert result.files == ["cat/1.png", "dog/old/3.png", "old.png"]
    assert result.unused_patterns == ("nothing/",)
    assert walk(root, ["old"]).files == ["cat/1.png", "dog/4_mask.png", "old.png"]
    assert reasons(root, "old/") == {"cat/old": "excluded", "dog/old": "excluded"}


def test_linked_folders_are_read_once_and_loops_are_cut(tmp_path: Path) -> None:
    root = make(tmp_path / "d", "cat/1.png", "dog/2.png")
    make(tmp_path / "elsewhere", "fox/3.png", "fox/deep/4.png")
    (root / "fox").symlink_to("../elsewhere/fox")
    (root / "again").symlink_to("../elsewhere/fox")
    (root / "cat" / "up").symlink_to("..")
    (root / "cat" / "above").symlink_to("../..")
    (tmp_path / "elsewhere" / "fox" / "loop").symlink_to(".")
    assert walk(root).files == ["again/3.png", "again/deep/4.png", "cat/1.png", "dog/2.png"]
    assert set(reasons(root)) == {"again/loop", "cat/above", "cat/up", "fox"}
    assert set(reasons(root).values()) == {"links to data already read"}


def test_linked_files_are_read_once(tmp_path: Path) -> None:
    """A file in the tree counts at its own place; a file outside it counts once in each folder that links to it."""
    root = make(tmp_path / "d", "dog/2.png", ".objects/5.png")
    make(tmp_path / "elsewhere", "3.png")
    for name, target in {
        "cat/0.png": "../dog/2.png",
        "cat/1.png": "../../elsewhere/3.png",
        "cat/2.png": "../../elsewhere/3.png",
        "dog/3.png": "../../elsewhere/3.png",  # perhaps another class: known only if both are read
        "cat/5.png": "../.objects/5.png",
        "cat/gone.png": "/nowhere/annexed.png",
        "cat/itself.png": "itself.png",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(target)
    assert walk(root).files == ["cat/1.png", "cat/5.png", "dog/2.png", "dog/3.png"]
    assert reasons(root) == {
        ".objects": "hidden",
        "cat/0.png": "links to data already read",
        "cat/gone.png": "broken links",
        "cat/itself.png": "broken links",
        "cat/2.png": "links to data already read",
    }


def test_special_files_are_never_opened(tmp_path: Path) -> None:
    root = make(tmp_path / "d", "cat/1.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "linked.png").symlink_to("pipe.png")
    (root / "cat" / "zero.png").symlink_to("/dev/zero")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(root / "cat" / "s.png"))  # the length of a socket's path is limited
    result = walk(root)
    listener.close()
    assert result.files == ["cat/1.png"]
    assert {entry.reason for entry in result.skipped} == {"pipes, sockets and devices"}
    assert len(result.skipped) == 4


def test_an_unreadable_folder_is_named_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = make(tmp_path / "d", "cat/1.png", "dog/2.png"), os.scandir

    def deny(path: str) -> object:
        if path.endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)  # simulated: root may read everything
    assert walk(root).files == ["cat/1.png"]
    assert reasons(root) == {"dog": "unreadable folders"}
    with pytest.raises(DatasetError, match=r"can't read the folder .*dog: Permission denied"):
        walk(root / "dog")
    with pytest.raises(DatasetError, match="no folder at"):
        walk(root / "fox")


def test_files_are_in_the_order_of_their_folders(tmp_path: Path) -> None:
    root = make(tmp_path / "d", "a/2.png", "a b/1.png", "a/1.png", "a/b/1.png")
    assert walk(root).files == ["a/1.png", "a/2.png", "a/b/1.png", "a b/1.png"]
