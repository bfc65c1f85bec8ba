"""One pass over the files: exact statistics, restartable, broken files named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import DatasetError
from model.preprocess import read_picture
from training import cache as picture_cache
from training.folders import folder


def test_statistics_are_exact(pictures: Path, tmp_path: Path) -> None:
    dataset = folder(pictures)
    cache = picture_cache.build(dataset, tmp_path)
    train = np.stack([read_picture(example.path.read_bytes()).pixels for example in dataset.train]).astype(np.float64)
    np.testing.assert_array_equal(cache.pictures[: len(train)], train)
    np.testing.assert_allclose(cache.mean, train.mean(0), atol=1e-4)
    np.testing.assert_allclose(cache.covariance, np.cov(train.reshape(-1, 3).T, bias=True), rtol=1e-9)


def test_goes_on_after_an_interruption(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = folder(pictures)
    whole = picture_cache.build(dataset, tmp_path / "whole")
    monkeypatch.setattr(picture_cache, "CHUNK", 16)
    read, calls = picture_cache._read, []

    def interrupted(path: Path) -> object:
        calls.append(path)
        if len(calls) == 40:
            raise RuntimeError("killed")
        return read(path)

    monkeypatch.setattr(picture_cache, "_read", interrupted)
    with pytest.raises(RuntimeError, match="killed"):
        picture_cache.build(dataset, tmp_path / "restarted")
    done = len(calls)
    restarted = picture_cache.build(dataset, tmp_path / "restarted")
    assert len(calls) - done == 90 - 32  # two whole chunks of 16 were kept
    np.testing.assert_array_equal(restarted.pictures, whole.pictures)
    np.testing.assert_array_equal(restarted.mean, whole.mean)
    np.testing.assert_array_equal(restarted.covariance, whole.covariance)


def copy(pictures: Path, root: Path) -> Path:
    for source in pictures.rglob("*.jpg"):
        target = root / source.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return root


def test_broken_files_are_listed_and_skipped(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy(pictures, tmp_path / "data")
    (root / "stripes" / "notes.txt").write_text("no picture")
    (root / "checks" / "cut.jpg").write_bytes((root / "checks" / "00.jpg").read_bytes()[:900])
    dataset = folder(root)
    cache = picture_cache.build(dataset, tmp_path / "cache")
    assert len(cache.skipped) == 2
    rows = np.concatenate([cache.rows(dataset, part) for part in dataset.parts()])
    assert len(rows) == 90
    printed = capsys.readouterr().out
    assert "skipped 2 of 92 files" in printed
    assert "notes.txt" in printed
    assert "cut.jpg" in next((tmp_path / "cache").glob("*/skipped.txt")).read_text()


def test_a_class_of_broken_files_is_refused(pictures: Path, tmp_path: Path) -> None:
    root = copy(pictures, tmp_path / "data")
    for path in (root / "stripes").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="found none in: stripes"):
        picture_cache.build(folder(root), tmp_path / "cache")


def test_a_changed_file_is_read_again(pictures: Path, tmp_path: Path) -> None:
    root = copy(pictures, tmp_path / "data")
    before = picture_cache.build(folder(root), tmp_path / "cache").mean
    for path in (root / "stripes").iterdir():
        path.write_bytes((root / "checks" / path.name).read_bytes())
    after = picture_cache.build(folder(root), tmp_path / "cache").mean
    assert not np.array_equal(before, after)


def test_a_lost_or_cut_store_is_made_again(pictures: Path, tmp_path: Path) -> None:
    dataset = folder(pictures)
    whole = np.array(picture_cache.build(dataset, tmp_path).pictures)
    (store,) = tmp_path.glob("*/pictures.u8")
    for damage in (
        store.unlink,
        lambda: store.write_bytes(b"cut"),
        lambda: store.with_name("progress.npz").write_bytes(b""),
    ):
        damage()
        np.testing.assert_array_equal(picture_cache.build(dataset, tmp_path).pictures, whole)
