"""Damage in the cache of decoded images is noticed, repaired from the files, and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from model.exceptions import DatasetError
from training.data.augment import Augmentation
from training.data.cache import build_cache
from training.data.folders import load_folder
from training.data.loader import CropLoader, micro_batches
from training.recipes import get_recipe

ROWS = np.arange(33)
Form = Literal["raw", "jpeg"]


def damage(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


@pytest.mark.parametrize(
    ("form", "name", "place", "content"),
    [
        ("raw", "images.u8", 2 * 196_608 + 5, bytes(200)),
        ("raw", "checksums.u32", 8, b"abcd"),
        ("jpeg", "images.jpg", 40_000, bytes(200)),
        ("jpeg", "checksums.u32", 8, b"abcd"),
        ("jpeg", "ends.u64", 16, b"\xff\xff\xff\xff\xff"),
        ("jpeg", "ends.u64", 16, bytes(8)),
    ],
)
def test_a_damaged_image_is_decoded_again(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Form, name: str, place: int, content: bytes
) -> None:
    dataset = load_folder(few)
    whole = build_cache(dataset, tmp_path, form).images.read(ROWS)
    (path,) = tmp_path.glob(f"*/{name}")
    damage(path, place, content)
    cache = build_cache(dataset, tmp_path, form)
    capsys.readouterr()
    np.testing.assert_array_equal(cache.images.read(ROWS), whole)
    assert "of the cache is damaged: decoding it again" in capsys.readouterr().out
    np.testing.assert_array_equal(cache.images.read(ROWS), whole)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_a_damaged_image_is_decoded_again_before_crops_are_cut(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Form
) -> None:
    def load_crops() -> tuple[torch.Tensor, torch.Tensor]:
        cache = build_cache(load_folder(few), tmp_path, form)
        augmentation = Augmentation.create(get_recipe("small"), cache.covariance, 0)
        loader = CropLoader(cache, torch.device("cpu"), torch.float32)
        slices = [np.array([0, 1]), np.array([2, 3])]
        drawn = loader.train_crops(list(micro_batches(np.arange(4), 4, 0, 0, 1, 0)), augmentation, 0, 4)
        return torch.cat(list(loader.center_crops(slices, augmentation))), next(drawn)[1]

    whole = load_crops()
    (path,) = tmp_path.glob("*/images.*")
    damage(path, 5_000, bytes(2_000))
    capsys.readouterr()
    assert all(map(torch.equal, load_crops(), whole))
    assert "image 0 of the cache is damaged: decoding it again" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_an_image_that_cannot_be_decoded_again(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    dataset = load_folder(few)
    images = build_cache(dataset, tmp_path, form).images
    (path,) = tmp_path.glob("*/images.*")
    damage(path, 5, b"damage")
    monkeypatch.setattr("training.data.traits.read_image_file", lambda *_: b"no image")
    with pytest.raises(DatasetError, match="an image in the cache is damaged, and decoding it again failed"):
        images.read(ROWS)


@pytest.mark.parametrize("place", [4, 6, 8, 10, 30, 200, 1000, -10, -30, -60])
def test_damaged_progress_is_made_again(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    """It is a zip file: damaged flags may claim encryption or an unknown compression method."""
    dataset = load_folder(few)
    whole = build_cache(dataset, tmp_path)
    (path,) = tmp_path.glob("*/progress.npz")
    content = bytearray(path.read_bytes())
    content[place] ^= 0x41
    path.write_bytes(content)
    again = build_cache(dataset, tmp_path)
    np.testing.assert_array_equal(again.mean, whole.mean)
    np.testing.assert_array_equal(again.images.read(ROWS), whole.images.read(ROWS))


def test_encrypted_progress_is_said_to_be_damaged(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_folder(few)
    build_cache(dataset, tmp_path)
    (path,) = tmp_path.glob("*/progress.npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    build_cache(dataset, tmp_path)
    assert "progress.npz is damaged (RuntimeError): the images are decoded again" in capsys.readouterr().out
