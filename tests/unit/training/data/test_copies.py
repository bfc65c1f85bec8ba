"""Copies: on one side of a split, under one label, and counted."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.exceptions import DatasetError
from model.images.contract import ImageContract
from model.images.limits import DEFAULT_LIMITS
from tests.helpers.drawn_files import encode, make_image, pack_otherwise, write_files
from training.data import copies
from training.data.cache import ImageCache, build_cache
from training.data.data_warnings import copy_warnings
from training.data.datasets import Dataset, Example, stratified_split
from training.data.folders import load_folder


def splits_of(dataset: Dataset, cache: ImageCache) -> dict[str, set[str]]:
    """The used files of each split, as folder/name."""
    examples = dataset.examples
    return {
        split: {"/".join(examples[row].path.parts[-2:]) for row in cache.rows(dataset, split)}
        for split in dataset.splits()
    }


def left_out(cache: ImageCache) -> dict[str, tuple[str, str]]:
    return {
        "/".join(Path(entry.path).parts[-3:]): (entry.reason, "/".join(Path(entry.detail).parts[-3:]))
        for entry in cache.copies.left_out.values()
    }


def test_a_split_is_drawn_with_copies_on_one_side(tmp_path: Path) -> None:
    files = {f"cat/{n}.png": make_image(n // 4) for n in range(40)}
    files |= {f"dog/{n}.png": make_image(50 + n) for n in range(12)}
    files |= {"dog/cat.png": make_image(3)}
    for seed in range(5):
        dataset = load_folder(write_files(tmp_path / "d", files), seed)
        held = {example.path.read_bytes() for example in dataset.validation + dataset.test}
        assert held.isdisjoint(example.path.read_bytes() for example in dataset.train)
        assert len(dataset.examples) == len(files)
        assert {example.label for example in dataset.test} == {0, 1}
        assert str(tmp_path / "d" / "dog" / "cat.png") in {example.file for example in dataset.train}  # two labels


def test_a_split_without_copies_is_drawn_as_before(tmp_path: Path) -> None:
    examples = [Example(f"{n}.png", n % 3) for n in range(60)]
    drawn = stratified_split(examples, {"test": 0.15, "validation": 0.1}, 7)
    assert drawn == stratified_split(examples, {"test": 0.15, "validation": 0.1}, 7, range(60))
    assert [len(part) for part in drawn.values()] == [45, 9, 6]


@pytest.mark.parametrize("shares", [{"test": 0.15, "validation": 0.1}, {"test": 0.5, "validation": 0.05}])
@pytest.mark.parametrize("copies_and_others", [(1, 2), (20, 2), (100, 10)])
def test_every_split_has_its_image_where_a_class_has_many_copies_of_one(
    shares: dict[str, float], copies_and_others: tuple[int, int]
) -> None:
    num_copies, num_others = copies_and_others
    examples = [Example(f"{n}.png", 0) for n in range(num_copies + num_others)]
    groups = [max(0, n - num_copies + 1) for n in range(len(examples))]
    for seed in range(20):
        splits = stratified_split(examples, shares, seed, groups)
        assert all(splits.values())
        assert sum(map(len, splits.values())) == len(examples)


def test_files_are_compared_by_their_bytes(tmp_path: Path) -> None:
    start = b"\xff\xd8\xff" + bytes(5000)
    names = ["a", "b", "c", "d", "missing"]
    for name, data in zip(names, (start + b"1", start + b"2", start + b"1", start), strict=False):
        (tmp_path / name).write_bytes(data)
    assert copies.same_files([Example(str(tmp_path / name), 0) for name in names]) == [0, 1, 0, 3, 4]


def test_files_that_are_never_read_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos and files too large for an image: comparing them would read gigabytes."""
    names = ["1.mp4", "2.mp4", "1.jpg", "2.jpg"]
    for name in names:
        is_video = name.endswith(".mp4")
        with (tmp_path / name).open("wb") as file:
            file.write(b"\0\0\0\x18ftypmp42" if is_video else b"\xff\xd8\xff")
            file.truncate(1_000_000 if is_video else DEFAULT_LIMITS.max_file_bytes + 1)
    monkeypatch.setattr(copies, "_checksum", lambda example: pytest.fail(f"{example.file} is read to its end"))
    assert copies.same_files([Example(str(tmp_path / name), 0) for name in names]) == [0, 1, 2, 3]


def test_copies_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    files = {f"{kind}/{n}.png": make_image(seed) for seed, kind in enumerate(("cat", "dog")) for n in range(12)}
    with pytest.raises(DatasetError, match=r"too few images in .*: at least one class needs three"):
        load_folder(write_files(tmp_path / "d", files))


def test_the_same_pixels_are_on_one_side_of_a_given_split(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{n}.png": make_image(hash_of(split, kind, n)) for split in ("train", "val", "test")
             for kind in ("cat", "dog") for n in range(4)}  # fmt: skip
    files["train/cat/tested.png"] = pack_otherwise(files["test/cat/0.png"])
    files["val/cat/tested.png"] = files["test/cat/0.png"]
    files["train/dog/validated.png"] = files["val/dog/1.png"]
    files["train/dog/twice.png"] = files["train/dog/2.png"]
    dataset = load_folder(write_files(tmp_path / "d", files))
    cache = build_cache(dataset, tmp_path / "cache")
    assert left_out(cache) == {
        "train/cat/tested.png": ("copies of held-out images", "test/cat/0.png"),
        "val/cat/tested.png": ("copies of held-out images", "test/cat/0.png"),
        "train/dog/validated.png": ("copies of held-out images", "val/dog/1.png"),
    }
    assert [dataset.examples[place].path.name for place in cache.copies.kept] == ["twice.png"]
    assert {split: len(names) for split, names in splits_of(dataset, cache).items()} == {
        "train": 9, "validation": 8, "test": 8,
    }  # fmt: skip
    used = cache.images.read(cache.rows(dataset, "train")).astype(np.float64)
    np.testing.assert_allclose(cache.mean, used.mean(0), atol=1e-4)
    pixels = used.reshape(-1, 3) - used.reshape(-1, 3).mean(0)
    np.testing.assert_allclose(cache.covariance, pixels.T @ pixels / len(pixels), rtol=1e-9)
    assert dataset.summary(cache.skipped).skipped == {"copies of held-out images": 3}


def test_copies_of_training_images_that_keep_more_detail(tmp_path: Path) -> None:
    """As when training images are degraded only later, while their copies in test are already reduced."""
    files = {f"{split}/{kind}/{n}.png": make_image(hash_of(split, kind, n)) for split in ("train", "val", "test")
             for kind in ("cat", "dog") for n in range(4)}  # fmt: skip
    files["train/cat/tested.png"] = pack_otherwise(files["test/cat/0.png"])
    files["train/dog/cat.png"] = files["test/cat/1.png"]
    dataset = load_folder(write_files(tmp_path / "d", files))
    cache = build_cache(dataset, tmp_path / "cache", contract=ImageContract(24), train_contract=ImageContract())
    assert left_out(cache) == {
        "train/cat/tested.png": ("copies of held-out images", "test/cat/0.png"),
        "train/dog/cat.png": ("under several labels", "test/cat/1.png"),
    }


def hash_of(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


def test_an_image_under_two_labels(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{n}.png": make_image(hash_of(split, kind, n)) for split in ("train", "val", "test")
             for kind in ("cat", "dog") for n in range(3)}  # fmt: skip
    files["train/dog/cat.png"] = pack_otherwise(files["train/cat/0.png"])
    files["train/dog/tested.png"] = files["test/cat/1.png"]
    dataset = load_folder(write_files(tmp_path / "d", files))
    cache = build_cache(dataset, tmp_path / "cache")
    assert left_out(cache) == {
        "train/cat/0.png": ("under several labels", "train/dog/cat.png"),
        "train/dog/cat.png": ("under several labels", "train/cat/0.png"),
        "train/dog/tested.png": ("under several labels", "test/cat/1.png"),
    }
    assert [dataset.examples[place].path.name for place in cache.copies.mislabeled_test] == ["1.png"]
    assert splits_of(dataset, cache)["test"] == {f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(3)}


def test_a_class_of_which_everything_is_held_out(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{n}.png": make_image(10 * seed + n)
             for split in ("train", "test") for seed, kind in enumerate(("cat", "dog")) for n in range(5)}  # fmt: skip
    dataset = load_folder(write_files(tmp_path / "d", files))
    with pytest.raises(DatasetError, match=r"left in 2 classes \(cat, dog\): 10 copies of held-out images"):
        build_cache(dataset, tmp_path / "cache")


def test_near_duplicates_are_counted_and_dropped_on_request(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/{n}.png": make_image(hash_of(split, kind, n)) for split in ("train", "val", "test")
             for kind in ("cat", "dog") for n in range(4)}  # fmt: skip
    with Image.open(io.BytesIO(files["test/cat/0.png"])) as image:
        smaller = np.asarray(image.convert("RGB").resize((56, 48)))
    files["train/cat/smaller.jpg"] = encode(smaller, quality=80)
    dataset = load_folder(write_files(tmp_path / "d", files))
    cache = build_cache(dataset, tmp_path / "cache")
    assert not cache.copies.left_out
    ((first, second),) = cache.copies.near
    assert dataset.examples[first].path.name == "smaller.jpg"
    assert dataset.examples[second].path.parts[-3:] == ("test", "cat", "0.png")
    assert cache.copies.across.tolist() == [True]
    dropped = build_cache(dataset, tmp_path / "cache", drop_near_duplicates=True)
    assert left_out(dropped) == {"train/cat/smaller.jpg": ("near-duplicates of held-out images", "test/cat/0.png")}
    everywhere = copies.find_copies(dataset, cache.traits, within_splits=True)
    assert len(everywhere.near) == 1


def test_a_validation_image_like_a_test_image_is_dropped_as_the_warning_says(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/0.png": make_image(hash_of(split, kind, 0)) for split in ("train", "val", "test")
             for kind in ("cat", "dog")}  # fmt: skip
    with Image.open(io.BytesIO(files["test/cat/0.png"])) as image:
        files["val/cat/again.jpg"] = encode(np.asarray(image), quality=80)
    dataset = load_folder(write_files(tmp_path / "d", files))
    (warning,) = copy_warnings(dataset, build_cache(dataset, tmp_path / "cache").copies)
    assert warning.endswith("--drop-near-duplicates leaves such images out of training and validation")
    dropped = build_cache(dataset, tmp_path / "cache", drop_near_duplicates=True)
    assert left_out(dropped) == {"val/cat/again.jpg": ("near-duplicates of held-out images", "test/cat/0.png")}


def test_copies_of_a_near_duplicate_are_dropped_with_it(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/0.png": make_image(hash_of(split, kind, 0)) for split in ("train", "val", "test")
             for kind in ("cat", "dog")}  # fmt: skip
    with Image.open(io.BytesIO(files["test/cat/0.png"])) as image:
        files["train/cat/once.jpg"] = files["train/cat/twice.jpg"] = encode(np.asarray(image), quality=80)
    dataset = load_folder(write_files(tmp_path / "d", files))
    dropped = build_cache(dataset, tmp_path / "cache", drop_near_duplicates=True)
    assert {file for file, _ in left_out(dropped).items()} == {"train/cat/once.jpg", "train/cat/twice.jpg"}
    assert not dropped.copies.kept
