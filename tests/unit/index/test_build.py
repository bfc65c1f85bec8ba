"""Building an index: which files are found, and what is added, known already, or unreadable."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from index.build import BuildReport, ImageSource, build, find_images
from index.shards import Shard
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import DatasetError
from model.runtime import OnnxModel


def test_broken_images_are_skipped_and_known_ones_are_not_computed_again(
    artifact: Artifact, model: OnnxModel, images: Path, tmp_path: Path
) -> None:
    sources = find_images(images)[:5]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    twice = [*sources, ImageSource(tmp_path / "broken.jpg", None), sources[0]]
    index = ImageIndex.create(tmp_path / "i", artifact)
    assert build(index, model, twice) == BuildReport(added=5, existing=1, unreadable=1)
    assert build(index, model, twice) == BuildReport(added=0, existing=6, unreadable=1)
    assert len(index) == 5
    assert index.catalog.get(1).label == "checks"
    index.close()


def test_a_name_that_is_not_utf8_is_skipped(artifact: Artifact, model: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xff.png")).write_bytes(b"x")
    index = ImageIndex.create(tmp_path / "i", artifact)
    assert build(index, model, [ImageSource(tmp_path / os.fsdecode(b"b\xff.png"), None)]) == BuildReport(0, 0, 1)
    index.close()


def test_labels_come_from_folders(tmp_path: Path) -> None:
    for name in ("a.png", "red_fox/b.png", "train/cat/c.png", "cat/deep/d.png", ".hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    labels = {source.path.name: source.label for source in find_images(tmp_path)}
    assert labels == {"a.png": None, "b.png": "red fox", "c.png": "cat", "d.png": "cat"}


def test_no_images_to_index(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no file in"):
        find_images(tmp_path)
    with pytest.raises(DatasetError, match="there is no folder"):
        find_images(tmp_path / "nothing")


def test_a_shard_s_list_is_as_long_as_the_shard(tmp_path: Path) -> None:
    """Files that belong to others are forgotten as they are seen: a list of hundreds of millions wouldn't fit."""
    for number in range(3_000):
        (tmp_path / f"{number:04}.jpg").touch()
    tracemalloc.start()
    assert len(find_images(tmp_path, Shard(1, 1000))) < 20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 3_000
