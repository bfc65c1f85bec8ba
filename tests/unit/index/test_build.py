"""Building an index: which files are found, and which are added, already known, or unreadable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from index.build import BuildReport, build, find_images
from index.folder.store import FolderIndex
from index.reading import ImageSource, to_sources
from index.sync import sync
from model.artifacts.artifact import Artifact
from model.datasets.reader import read_folder
from model.exceptions import DatasetError
from model.runtime import OnnxModel

LIST_A_SHARD = """
import sys, tracemalloc
from pathlib import Path
from index.build import list_folder
from index.shards import Shard

tracemalloc.start()
print(len(list_folder(Path(sys.argv[1]), Shard(1, 1000), ()).entries), tracemalloc.get_traced_memory()[1])
"""


def test_broken_images_are_skipped_and_known_ones_are_not_computed_again(
    artifact: Artifact, model: OnnxModel, images: Path, tmp_path: Path
) -> None:
    sources = find_images(images)[:5]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    broken = ImageSource(str(tmp_path / "broken.jpg"), None)
    copy = ImageSource(shutil.copy(sources[0].file, str(tmp_path / "copy.jpg")), None)
    files = [*sources, broken, copy]
    index = FolderIndex.create(tmp_path / "i", artifact)
    first, second = build(index, model, files), build(index, model, files)
    assert (first.added, first.existing, first.copies, first.unreadable) == (5, 0, 1, 1)
    assert (second.added, second.existing, second.copies, second.unreadable) == (0, 5, 1, 1)
    assert [(entry.path, entry.reason) for entry in first.skipped] == [(broken.file, "not images")]
    assert len(index) == 5
    assert index.catalog.get(1).label == "checks"
    index.remove(1)
    third = build(index, model, files)
    assert (third.added, third.restored, third.existing) == (1, 1, 4)
    index.close()


def test_a_name_that_is_not_utf8_is_indexed_without_its_path(
    artifact: Artifact, model: OnnxModel, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(next(images.glob("*/*.jpg")), folder / os.fsdecode(b"b\xff.jpg"))
    index = FolderIndex.create(tmp_path / "i", artifact)
    assert build(index, model, to_sources(read_folder(tmp_path, ["i"]))) == BuildReport(1, 0)
    assert (index.entry(1).label, index.entry(1).source) == ("café", None)
    again = sync(index, model, read_folder(tmp_path, ["i"]), prune=True)
    assert (again.unchanged, again.copies, again.changes) == (1, 0, ())
    index.close()


def test_labels_come_from_folders(tmp_path: Path) -> None:
    for name in ("a.png", "red_fox/b.png", "cat/c.png", "cat/deep/d.png", ".hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    labels = {source.path.name: source.label for source in find_images(tmp_path)}
    assert labels == {"a.png": None, "b.png": "red fox", "c.png": "cat", "d.png": "cat"}


def test_no_images_to_index(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there are no images in"):
        find_images(tmp_path)
    with pytest.raises(DatasetError, match="no folder at"):
        find_images(tmp_path / "nothing")


def test_a_shard_s_list_is_as_long_as_the_shard(tmp_path: Path) -> None:
    """Files of other shards are dropped at once: a list of hundreds of millions wouldn't fit into memory.

    Measured in a process of its own, because threads left by other tests allocate memory, too.
    """
    for number in range(3_000):
        (tmp_path / f"{number:04}.jpg").touch()
    done = subprocess.run([sys.executable, "-c", LIST_A_SHARD, tmp_path], capture_output=True, text=True, check=True)
    length, peak = map(int, done.stdout.split())
    assert length < 20
    assert peak < 100 * 3_000
