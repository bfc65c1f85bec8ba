"""Merging the indexes of machines that divided a data set gives the index that one machine would have made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from index.backends import IndexUri
from index.build import build, find_images, list_folder
from index.feature_space import RowDType
from index.folder.layout import lock_for_writing
from index.folder.store import FolderIndex
from index.merge import MergeReport
from index.merge import merge as merge_indexes
from index.reading import to_sources
from index.search import Query
from index.shards import Shard
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError, InvalidRequestError, ReadOnlyIndexError
from model.runtime import OnnxModel
from tests.helpers.indexes import execute, make_entry, make_index, read_files, set_metadata


def merge(target: Path, sources: list[Path]) -> MergeReport:
    return merge_indexes(IndexUri(target), list(map(IndexUri, sources)))


@pytest.fixture(scope="module")
def data(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of each class, copies of two of them under another label, and a file that can't be read."""
    root = tmp_path_factory.mktemp("divided") / "data"
    for folder in images.iterdir():
        (root / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:6]:
            shutil.copy(path, root / folder.name)
    for number in range(2):
        shutil.copy(root / "stripes" / f"{number:02d}.jpg", root / "checks" / f"again-{number}.jpg")
    (root / "checks" / "broken.jpg").write_bytes(b"no image")
    return root


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_merged_index_equals_one_that_was_built_at_once(
    data: Path, artifact: Artifact, model: OnnxModel, tmp_path: Path, dtype: RowDType
) -> None:
    def build_index(name: str, shard: Shard | None) -> Path:
        index = FolderIndex.create(tmp_path / name, artifact, dtype=dtype)
        build(index, model, to_sources(list_folder(data, shard, ())))
        index.close()
        return index.path

    whole = build_index("whole", None)
    shards = [build_index(f"shard {number}", Shard(number, 3)) for number in (1, 2, 3)]
    report = merge(tmp_path / "merged", shards)
    assert (report.images, report.added) == (18, 18)
    assert read_files(tmp_path / "merged") == read_files(whole)
    at_once, merged = FolderIndex.open(whole), FolderIndex.open(tmp_path / "merged", writable=True)
    for image_id in range(1, 19):
        query = Query(merged.feature(image_id), 18)
        assert merged.search(query) == at_once.search(query)
        assert merged.catalog.thumbnail(image_id) == at_once.catalog.thumbnail(image_id)
    assert merged.labels() == at_once.labels()
    again = build(merged, model, find_images(data))
    assert (again.added, again.existing, again.copies, again.unreadable) == (0, 18, 2, 1)
    for index in (at_once, merged):
        index.close()
    assert merge(tmp_path / "merged", shards).added == 0


def test_an_existing_index_keeps_its_ids(artifact: Artifact, tmp_path: Path) -> None:
    into = make_index(tmp_path / "into", artifact, make_entry(5, "kept"))
    first = make_index(tmp_path / "a", artifact, make_entry(5, "other"), make_entry(3), make_entry(1))
    second = make_index(tmp_path / "b", artifact, make_entry(2), make_entry(4))
    index = FolderIndex.open(second, writable=True)
    index.remove(2)
    index.close()
    assert merge(into, [first, second]) == MergeReport(4, 3, 1)
    merged = FolderIndex.open(into)
    rows = [(e.id, e.label, str(e.source)) for e in merged.catalog.iter_entries()]
    merged.close()
    assert rows == [
        (1, "kept", "/0005.png"),
        (2, None, "/0002.png"),
        (3, None, "/0003.png"),  # ordered by the id in its own index
        (4, None, "/0001.png"),
    ]


def test_indexes_that_cannot_be_merged(artifact: Artifact, tmp_path: Path) -> None:
    first = make_index(tmp_path / "a", artifact, make_entry(1, key="mine"), make_entry(2))
    second = make_index(tmp_path / "b", artifact, make_entry(3, key="mine"))
    into = tmp_path / "into"
    with pytest.raises(InvalidRequestError, match="the same index is given twice"):
        merge(into, [first, first])
    with pytest.raises(IndexStoreError, match="no index at"):
        merge(into, [tmp_path / "none"])
    lock = lock_for_writing(second)
    with pytest.raises(ReadOnlyIndexError, match="another process"):
        merge(into, [first, second])
    lock.release()
    set_metadata(second, network_sha256="other")
    with pytest.raises(IndexStoreError, match="differ in network"):
        merge(into, [first, second])
    assert not into.exists()
    with pytest.raises(IndexStoreError, match="differ in network"):
        merge(second, [first])


def test_a_key_of_two_images_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    first = make_index(tmp_path / "a", artifact, make_entry(1, key="mine"))
    second = make_index(tmp_path / "b", artifact, make_entry(3, key="mine"))
    with pytest.raises(InvalidRequestError, match="the key 'mine' belongs to another image"):
        merge(tmp_path / "into", [first, second])


@pytest.mark.parametrize("where", ["other", "into"])
def test_a_damaged_row_is_rejected(artifact: Artifact, tmp_path: Path, where: str) -> None:
    other, into = (
        make_index(tmp_path / "other", artifact, make_entry(1), make_entry(2)),
        make_index(tmp_path / "into", artifact, make_entry(3)),
    )
    path = tmp_path / where / "features-1.f32"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexStoreError, match=f"{where} has 1 damaged image, such as"):
        merge(into, [other])
    index = FolderIndex.open(into)
    assert len(index) + len(index.damaged) == 1
    index.close()


def test_a_damaged_thumbnail_is_rejected(artifact: Artifact, tmp_path: Path) -> None:
    other = make_index(tmp_path / "other", artifact, make_entry(1), make_entry(2))
    execute(other, "UPDATE images SET thumbnail = 'jpeh' WHERE id = 2")
    with pytest.raises(IndexStoreError, match="other has 1 damaged image, such as 2 "):
        merge(tmp_path / "into", [other])
    assert not (tmp_path / "into").exists()


def test_a_shard_without_images(data: Path, artifact: Artifact, model: OnnxModel, tmp_path: Path) -> None:
    make_index(tmp_path / "a", artifact, make_entry(1))
    empty = FolderIndex.create(tmp_path / "empty", artifact)
    build(empty, model, to_sources(list_folder(data, Shard(1, 999_999_999), ())))
    empty.close()
    assert merge(tmp_path / "into", [tmp_path / "empty", tmp_path / "a"]) == MergeReport(1, 1, 0)
