"""A data set divided among machines, and their indexes merged: the index that one machine would have made."""

from __future__ import annotations

import shutil
import sqlite3
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from alexnet.cli import app as cli
from index.build import build, find_images
from index.catalog import NewEntry
from index.lock import lock
from index.merge import Merged, merge
from index.search import Query
from index.shards import Shard
from index.store import ImageIndex
from model.artifacts.artifact import Artifact
from model.exceptions import IndexStoreError, InvalidRequestError, ReadOnlyIndexError
from model.runtime import OnnxModel


def contents(path: Path) -> tuple[bytes, list[tuple[object, ...]]]:
    """The bytes of all rows, and all lines of the catalog with labels, sources and thumbnails."""
    (rows,) = path.glob("features-*")
    with sqlite3.connect(path / "catalog.sqlite") as database:
        lines = database.execute("SELECT * FROM images ORDER BY id").fetchall()
    database.close()
    return rows.read_bytes(), lines


def entry(number: int, label: str | None = None, key: str | None = None) -> NewEntry:
    return NewEntry(f"{number:064d}", label, Path(f"/{number:04d}.png"), "PNG", 1, 1, b"jpeg", key)


def made(path: Path, artifact: Artifact, *entries: NewEntry) -> Path:
    index = ImageIndex.create(path, artifact)
    numbers = [int(e.sha256) for e in entries]
    index.add(np.random.default_rng(0).random((64, 64), np.float32)[numbers], entries)
    index.close()
    return path


def test_the_rule() -> None:
    """Written out once, since indexes of years ago must divide in the same way."""
    for root in (Path("/data"), Path("/mnt/here")):
        for name, number in (("cats/1.jpg", 5), ("é.jpg", 13)):
            assert [shard for shard in range(1, 17) if Shard(shard, 16).has(root / name, root)] == [number]
    assert Shard(1, 1).has(Path("/data/cats/1.jpg"), Path("/data"))
    assert Shard.named("3/16").index(Path("indexes/cats/1")) == Path("indexes/cats/1.3-of-16")


def test_parts_are_disjoint_whole_and_even() -> None:
    paths = [Path(f"/data/{number}.jpg") for number in range(4_000)]
    parts = [[path for path in paths if Shard(number, 4).has(path, Path("/data"))] for number in range(1, 5)]
    assert sorted(path for part in parts for path in part) == sorted(paths)
    assert all(900 < len(part) < 1_100 for part in parts)


@pytest.mark.parametrize("name", ["0/4", "5/4", "1", "1/", "-1/4", "1/4/4", "a/b", "1/0", "²/4"])
def test_no_such_part(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"expected a part like 3/16"):
        Shard.named(name)


@pytest.fixture(scope="module")
def data(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of each class, two of them again under other names and labels, and one that can't be read."""
    root = tmp_path_factory.mktemp("divided") / "data"
    for folder in images.iterdir():
        (root / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:6]:
            shutil.copy(path, root / folder.name)
    for number in range(2):
        shutil.copy(root / "stripes" / f"{number:02d}.jpg", root / "checks" / f"again-{number}.jpg")
    (root / "checks" / "broken.jpg").write_bytes(b"no image")
    return root


@pytest.mark.parametrize("rows", ["float32", "float16"])
def test_merged_is_as_made_by_one_machine(
    data: Path, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["index", "add", "--data", str(data), "--artifact", str(artifact.path), "--dtype", rows]
    assert CliRunner().invoke(cli.app, [*options, "--index", "one"]).exit_code == 0
    for number in (1, 2, 3):
        assert CliRunner().invoke(cli.app, [*options, "--shard", f"{number}/3"]).exit_code == 0
    parts = sorted(map(str, Path("indexes").glob("*/*-of-3")))
    assert [Path(part).name for part in parts] == [f"{artifact.path.name}.{number}-of-3" for number in (1, 2, 3)]
    printed = CliRunner().invoke(cli.app, ["index", "merge", *parts, "--index", "merged"])
    assert "index merged: 18 images (18 added, " in printed.output
    assert contents(tmp_path / "merged") == contents(tmp_path / "one")
    with_one, merged = ImageIndex.open(Path("one")), ImageIndex.open(Path("merged"))
    for number in range(1, 19):
        query = Query(merged.feature(number), 18)
        assert merged.search(query) == with_one.search(query)
        assert merged.catalog.thumbnail(number) == with_one.catalog.thumbnail(number)
    assert merged.labels() == with_one.labels()
    for index in (with_one, merged):
        index.close()
    again = CliRunner().invoke(cli.app, ["index", "merge", *parts, "--index", "merged"])
    assert "18 images (0 added, " in again.output
    assert CliRunner().invoke(cli.app, [*options, "--index", "merged"]).output.count("0 added, 20 already indexed")


def test_an_index_that_is_there_keeps_its_ids(artifact: Artifact, tmp_path: Path) -> None:
    into = made(tmp_path / "into", artifact, entry(5, "kept"))
    first = made(tmp_path / "a", artifact, entry(5, "other"), entry(3), entry(1))
    second = made(tmp_path / "b", artifact, entry(2), entry(4))
    index = ImageIndex(second, writable=True)
    index.remove(2)
    index.close()
    assert merge(into, [first, second]) == Merged(4, 3, 1)
    found = ImageIndex.open(into)
    names = [(e.id, e.label, str(e.source)) for e in found.catalog.everything()]
    found.close()
    assert names == [
        (1, "kept", "/0005.png"),
        (2, None, "/0002.png"),
        (3, None, "/0003.png"),  # as its own index has it, by id
        (4, None, "/0001.png"),
    ]


def test_what_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    first = made(tmp_path / "a", artifact, entry(1, key="mine"), entry(2))
    second = made(tmp_path / "b", artifact, entry(3, key="mine"))
    into = tmp_path / "into"
    with pytest.raises(InvalidRequestError, match="found one of them twice"):
        merge(into, [first, first])
    with pytest.raises(IndexStoreError, match="found none"):
        merge(into, [tmp_path / "none"])
    with pytest.raises(IndexStoreError, match="found Milvus"):
        merge(Path("milvus:x.db"), [first])
    with lock(second), pytest.raises(ReadOnlyIndexError, match="another process"):
        merge(into, [first, second])
    with sqlite3.connect(second / "catalog.sqlite") as database:
        database.execute("UPDATE settings SET value = 'other' WHERE key = 'network_sha256'")
    database.close()
    with pytest.raises(IndexStoreError, match="same network, crops and rows"):
        merge(into, [first, second])
    assert not into.exists()
    with pytest.raises(IndexStoreError, match="same network, crops and rows"):
        merge(second, [first])


def test_a_key_of_two_images_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    first = made(tmp_path / "a", artifact, entry(1, key="mine"))
    second = made(tmp_path / "b", artifact, entry(3, key="mine"))
    with pytest.raises(InvalidRequestError, match="expected a key that no other image has, found 'mine'"):
        merge(tmp_path / "into", [first, second])


@pytest.mark.parametrize("where", ["other", "into"])
def test_a_damaged_row_is_refused(artifact: Artifact, tmp_path: Path, where: str) -> None:
    other, into = made(tmp_path / "other", artifact, entry(1), entry(2)), made(tmp_path / "into", artifact, entry(3))
    rows = tmp_path / where / "features-1.f32"
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    with pytest.raises(IndexStoreError, match=f"whole images in .*{where}, found 1 damaged"):
        merge(into, [other])
    index = ImageIndex.open(into)
    assert len(index) + len(index.damaged) == 1
    index.close()


def test_a_part_s_list_is_as_long_as_the_part(tmp_path: Path) -> None:
    """Files that belong to others are forgotten as they are seen: a list of hundreds of millions wouldn't fit."""
    for number in range(3_000):
        (tmp_path / f"{number:04}.jpg").touch()
    tracemalloc.start()
    assert len(find_images(tmp_path, Shard(1, 1000))) < 20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 3_000


def test_a_shard_without_images(data: Path, artifact: Artifact, model: OnnxModel, tmp_path: Path) -> None:
    made(tmp_path / "a", artifact, entry(1))
    empty = ImageIndex.create(tmp_path / "empty", artifact)
    build(empty, model, find_images(data, Shard(1, 999_999_999)))
    empty.close()
    assert merge(tmp_path / "into", [tmp_path / "empty", tmp_path / "a"]) == Merged(1, 1, 0)
