"""The images that a command's arguments name: order, folders, patterns, standard input, and what is left out."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alexnet import image_files
from alexnet.image_files import find_inputs, read_batches
from model.datasets.listing import Skipped
from model.exceptions import InvalidRequestError
from model.images.contract import DEFAULT_CONTRACT
from model.images.limits import ImageLimits


@pytest.fixture
def photos(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos` in the working directory: an image, a text, a hidden file, and a folder with two more images."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    shutil.copy(few / "checks" / "00.jpg", tmp_path / "photos" / "more" / "b.jpg")
    shutil.copy(few / "checks" / "01.jpg", tmp_path / "photos" / "more" / "a")
    shutil.copy(few / "checks" / "02.jpg", tmp_path / "photos" / "c.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("x")
    (tmp_path / "photos" / ".hidden.jpg").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_files_folders_and_patterns_in_their_order(photos: Path) -> None:
    inputs = find_inputs(["none.jpg", "photos", "-", "photos/*.jpg", "photos/**/*.jpg", "./photos/c.jpg"])
    assert inputs.names == (
        "none.jpg",
        "photos/c.jpg",
        "photos/more/a",
        "photos/more/b.jpg",
        "-",
        "photos/c.jpg",
        "photos/c.jpg",
        "photos/more/b.jpg",
        "./photos/c.jpg",
    )
    assert [(skipped.path, skipped.reason) for skipped in inputs.skipped] == [
        ("photos/.hidden.jpg", "hidden"),
        ("photos/notes.txt", "not images"),
    ]


def test_images_that_a_file_lists(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed names aren't patterns and needn't be UTF-8; NUL-separated names may contain line breaks."""
    for content in (b"photos\r\nnone*.jpg\n\n\xff.jpg\n", b"photos\0none*.jpg\0\xff.jpg\0"):
        Path("list.txt").write_bytes(content)
        inputs = find_inputs(["./photos/c.jpg"], "list.txt")
        listed = ("photos/c.jpg", "photos/more/a", "photos/more/b.jpg", "none*.jpg", os.fsdecode(b"\xff.jpg"))
        assert inputs.names == ("./photos/c.jpg", *listed)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb.jpg\0c.jpg")))
    assert find_inputs([], "-").names == ("a\nb.jpg", "c.jpg")
    Path("list.txt").write_bytes(b"\n")
    with pytest.raises(InvalidRequestError, match=r"no path in the list list\.txt"):
        find_inputs([], "list.txt")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a.jpg")))
    with pytest.raises(InvalidRequestError, match="standard input"):
        find_inputs(["-"], "-")


def test_a_file_whose_name_looks_like_a_pattern(photos: Path) -> None:
    (photos / "c.jpg").rename(photos / "c[1].jpg")
    assert find_inputs(["photos/c[1].jpg"]).names == ("photos/c[1].jpg",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["*.png"], r"no file matches the pattern \*\.png"),
        (["empty"], "no image in the folder empty"),
        (["-", "-"], "standard input"),
        (["https://example.org/cat.jpg?size=9"], r"download https://example\.org/cat\.jpg\?size=9, or pipe it"),
    ],
)
def test_what_names_no_image(photos: Path, arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(InvalidRequestError, match=message):
        find_inputs(arguments)


def test_images_are_read_in_batches_in_order(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "BATCH_SIZE", 4)
    names = [str(path) for path in sorted((few / "checks").iterdir())]
    names.insert(5, "none.jpg")
    batches = list(read_batches(names, DEFAULT_CONTRACT, Counter()))
    assert [len(batch) for batch in batches] == [4, 4, 4]
    items = [item for batch in batches for item in batch]
    assert [item.name for item in items] == names
    assert [item.name for item in items if isinstance(item.image, Skipped)] == ["none.jpg"]
    assert items[5].image == Skipped("none.jpg", "unreadable files", "No such file or directory")


def test_reading_keeps_few_images_ahead(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory doesn't grow with the number of files."""
    read: list[str] = []
    monkeypatch.setattr(image_files, "BATCH_SIZE", 4)

    def skip(name: str, *_: object) -> Skipped:
        read.append(name)
        return Skipped(name, "not images")

    monkeypatch.setattr(image_files, "_read", skip)
    next(read_batches([f"{number}.jpg" for number in range(1000)], DEFAULT_CONTRACT, Counter()))
    assert len(read) <= 3 * 4


def test_standard_input_is_an_image(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = few / "checks" / "00.jpg"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    ((standard_input, file),) = read_batches(["-", str(path)], DEFAULT_CONTRACT, Counter())
    assert not isinstance(standard_input.image, Skipped)
    assert not isinstance(file.image, Skipped)
    np.testing.assert_array_equal(standard_input.image.pixels, file.image.pixels)


def test_standard_input_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"x" * 10)))
    limits = ImageLimits(max_file_bytes=9)
    (((_, image),),) = read_batches(["-"], DEFAULT_CONTRACT, Counter(), limits)
    assert image == Skipped("-", "images too large", "file too large: at most 9 bytes are read")
