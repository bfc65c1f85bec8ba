"""The image cache, built in one pass over the files: exact statistics, restarts, broken files named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from filelock import FileLock, Timeout
from PIL import Image

from model.exceptions import DatasetError
from model.images.contract import ImageContract
from model.images.limits import ImageLimits
from model.images.preprocess import decode_image
from training.data import cache as image_cache
from training.data.datasets import Example
from training.data.folders import load_folder
from training.data.storage import JpegImages, RawImages


def test_statistics_are_exact(images: Path, tmp_path: Path) -> None:
    dataset = load_folder(images)
    cache = image_cache.build_cache(dataset, tmp_path)
    train = np.stack([decode_image(example.path.read_bytes()).pixels for example in dataset.train]).astype(np.float64)
    np.testing.assert_array_equal(cache.images.read(np.arange(len(train))), train)
    np.testing.assert_allclose(cache.mean, train.mean(0), atol=1e-4)
    np.testing.assert_allclose(cache.covariance, np.cov(train.reshape(-1, 3).T, bias=True), rtol=1e-9)


def test_copies_of_held_out_images_are_not_in_the_statistics(few: Path, tmp_path: Path) -> None:
    for source in few.rglob("*.jpg"):
        for split in ("train", *(["val"] if source.name < "02" else ["test"] if source.name < "05" else [])):
            copied = tmp_path / "data" / split / source.relative_to(few)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(source.read_bytes())
    dataset = load_folder(tmp_path / "data")
    cache = image_cache.build_cache(dataset, tmp_path / "cache")
    kept = [example.path for example in dataset.train if example.path.name >= "05"]
    assert 0 < len(kept) < len(dataset.train)
    pixels = np.stack([decode_image(path.read_bytes()).pixels for path in kept]).astype(np.float64)
    np.testing.assert_allclose(cache.mean, pixels.mean(0), atol=1e-4)
    np.testing.assert_allclose(cache.covariance, np.cov(pixels.reshape(-1, 3).T, bias=True), rtol=1e-9)


def test_training_images_may_have_another_contract(few: Path, tmp_path: Path) -> None:
    """Images that are degraded in training keep their detail in the cache."""
    dataset, reduced = load_folder(few), ImageContract(24)
    cache = image_cache.build_cache(dataset, tmp_path, contract=reduced, train_contract=ImageContract())
    for row, contract in ((0, ImageContract()), (len(dataset.train), reduced), (-1 + len(dataset.examples), reduced)):
        expected = decode_image(dataset.examples[row].path.read_bytes(), contract=contract).pixels
        np.testing.assert_array_equal(cache.images.read(np.array([row]))[0], expected)
    image_cache.build_cache(dataset, tmp_path, contract=reduced)
    assert len(list(tmp_path.iterdir())) == 2


def test_baselines_see_training_images_in_the_detail_of_the_others(few: Path, tmp_path: Path) -> None:
    dataset, contract = load_folder(few), ImageContract(24)
    rows = np.array([0, len(dataset.train) - 1, len(dataset.train)])
    expected = image_cache.build_cache(dataset, tmp_path / "a", contract=contract).read(rows).astype(int)
    detailed = image_cache.build_cache(dataset, tmp_path / "b", contract=contract, train_contract=ImageContract())
    reduced = detailed.reduced(24, len(dataset.train)).read(rows).astype(int)
    assert np.abs(reduced - expected).mean() < 1
    np.testing.assert_array_equal(reduced[2], expected[2])
    assert np.abs(detailed.read(rows).astype(int) - expected)[:2].mean() > 5
    assert detailed.reduced(None, len(dataset.train)) is detailed


def test_a_long_name_is_shortened(few: Path, tmp_path: Path) -> None:
    dataset = replace(load_folder(few), name=125 * "ü")
    image_cache.build_cache(dataset, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith(50 * "ü" + "-")


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_resumed_after_an_interruption(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Literal["raw", "jpeg"]
) -> None:
    dataset = load_folder(images)
    whole = image_cache.build_cache(dataset, tmp_path / "whole", form)
    monkeypatch.setattr(image_cache, "CHUNK", 16)
    monkeypatch.setattr(image_cache, "SAVE_SECONDS", 0)
    decode, calls = image_cache.decode_example, []

    def interrupted(
        example: Example, images: RawImages | JpegImages, contract: ImageContract, limits: ImageLimits
    ) -> object:
        calls.append(example)
        if len(calls) == 60:
            raise RuntimeError("killed")
        return decode(example, images, contract, limits)

    monkeypatch.setattr(image_cache, "decode_example", interrupted)
    with pytest.raises(RuntimeError, match="killed"):
        image_cache.build_cache(dataset, tmp_path / "restarted", form)
    done = len(calls)
    restarted = image_cache.build_cache(dataset, tmp_path / "restarted", form)
    assert len(calls) - done in (90 - 48, 90 - 32)  # whole chunks of 16 were kept
    rows = np.arange(90)
    np.testing.assert_array_equal(restarted.images.read(rows), whole.images.read(rows))
    np.testing.assert_array_equal(restarted.mean, whole.mean)
    np.testing.assert_array_equal(restarted.covariance, whole.covariance)


def test_jpeg_takes_little_space_and_looks_the_same(images: Path, tmp_path: Path) -> None:
    dataset, rows = load_folder(images), np.arange(90)
    raw = image_cache.build_cache(dataset, tmp_path, "raw").images.read(rows).astype(np.float64)
    cache = image_cache.build_cache(dataset, tmp_path, "jpeg")
    (stored,) = tmp_path.glob("*/images.jpg")
    assert stored.stat().st_size < raw.size / 4
    assert np.abs(cache.images.read(rows) - raw).mean() < 8  # the images are noisy
    train = cache.images.read(rows[: len(dataset.train)]).astype(np.float64)
    np.testing.assert_allclose(cache.mean, train.mean(0), atol=1e-4)


@pytest.mark.parametrize("name", ["images.jpg", "ends.u64"])
def test_a_lost_file_of_jpegs_is_made_again(images: Path, tmp_path: Path, name: str) -> None:
    dataset, rows = load_folder(images), np.arange(90)
    whole = image_cache.build_cache(dataset, tmp_path, "jpeg")
    expected = whole.images.read(rows)
    (lost,) = tmp_path.glob(f"*/{name}")
    lost.unlink()
    again = image_cache.build_cache(dataset, tmp_path, "jpeg")
    np.testing.assert_array_equal(again.images.read(rows), expected)
    np.testing.assert_array_equal(again.mean, whole.mean)


@pytest.mark.slow
def test_two_processes_share_one_cache(images: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from training.data import cache, folders; "
        "print(cache.build_cache(folders.load_folder(Path(sys.argv[1])), Path(sys.argv[2])).mean.sum())"
    )
    command = [sys.executable, "-c", code, str(images), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate(timeout=120)[0].splitlines()[-1] for process in both}
    assert len(sums) == 1
    assert [process.returncode for process in both] == [0, 0]


def copy(images: Path, root: Path) -> Path:
    for source in images.rglob("*.jpg"):
        target = root / source.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return root


def test_broken_files_are_listed_and_skipped(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = copy(images, tmp_path / "data")
    (root / "stripes" / "notes.txt").write_text("no image")
    (root / "checks" / "cut.jpg").write_bytes((root / "checks" / "00.jpg").read_bytes()[:900])
    dataset = load_folder(root)
    cache = image_cache.build_cache(dataset, tmp_path / "cache")
    assert len(cache.skipped) == 2
    rows = np.concatenate([cache.rows(dataset, split) for split in dataset.splits()])
    assert len(rows) == 90
    printed = capsys.readouterr().out
    assert "skipped 2 of 92 files" in printed
    assert "notes.txt" in printed
    assert "cut.jpg" in next((tmp_path / "cache").glob("*/skipped.txt")).read_text()
    again = image_cache.build_cache(dataset, tmp_path / "cache", show=False)  # as in another process of the run
    assert (again.skipped, capsys.readouterr().out) == (cache.skipped, "")


def test_a_class_of_broken_files_is_refused(images: Path, tmp_path: Path) -> None:
    root = copy(images, tmp_path / "data")
    for path in (root / "stripes").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"is left in 1 class \(stripes\): 30 not images"):
        image_cache.build_cache(load_folder(root), tmp_path / "cache")


def test_a_split_of_copies_is_refused(few: Path, tmp_path: Path) -> None:
    """All validation images are copies of test images, so they are left out."""
    for split in ("train", "val", "test"):
        for source in few.rglob("*.jpg"):
            if (split == "train") == (source.name > "05"):
                copied = tmp_path / "data" / split / source.relative_to(few)
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(source.read_bytes())
    with pytest.raises(DatasetError, match="no image of the validation split is left: 15 copies of held-out images"):
        image_cache.build_cache(load_folder(tmp_path / "data"), tmp_path / "cache")


def test_a_changed_file_is_read_again(images: Path, tmp_path: Path) -> None:
    root = copy(images, tmp_path / "data")
    before = image_cache.build_cache(load_folder(root), tmp_path / "cache").mean
    for path in (root / "stripes").iterdir():
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    after = image_cache.build_cache(load_folder(root), tmp_path / "cache").mean
    assert not np.array_equal(before, after)


def test_files_swapped_with_equal_sizes_and_times_are_read_again(tmp_path: Path) -> None:
    """As when an archive's files all have the same time."""
    files = [tmp_path / "data" / label / f"{number}.bmp" for label in "ab" for number in range(10)]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (10 * number, 90, 20)).save(file)
        os.utime(file, (1e9, 1e9))
    before = image_cache.build_cache(load_folder(tmp_path / "data"), tmp_path / "cache").mean
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
        os.utime(file, (1e9, 1e9))
    after = image_cache.build_cache(load_folder(tmp_path / "data"), tmp_path / "cache").mean
    assert not np.array_equal(before, after)


def test_a_lost_or_cut_store_is_made_again(images: Path, tmp_path: Path) -> None:
    dataset = load_folder(images)
    rows = np.arange(90)
    whole = image_cache.build_cache(dataset, tmp_path).images.read(rows)
    (store,) = tmp_path.glob("*/images.u8")
    for damage in (
        store.unlink,
        lambda: store.write_bytes(b"cut"),
        lambda: store.with_name("progress.npz").write_bytes(b""),
    ):
        damage()
        np.testing.assert_array_equal(image_cache.build_cache(dataset, tmp_path).images.read(rows), whole)


def test_the_list_of_unreadable_files_is_written_in_the_lock(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes of a run write it; without the lock, one would move another's temporary file."""
    folder = Path(shutil.copytree(few, tmp_path / "few"))
    (folder / "circles" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    locked = list[bool]()

    def write(listing: Path, skipped: object) -> None:
        with pytest.raises(Timeout):
            FileLock(listing.with_name("lock")).acquire(timeout=0)
        locked.append(True)

    monkeypatch.setattr(image_cache, "write_skipped", write)
    image_cache.build_cache(load_folder(folder), tmp_path / "cache")
    assert locked == [True]
