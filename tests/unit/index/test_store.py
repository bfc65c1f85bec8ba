"""Exact search, and an index that is restartable, exclusive to its writer and tied to its network."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.build import Report, Source, build, find_images
from index.catalog import Catalog, NewEntry
from index.nearest import nearest, threads
from index.search import Query
from index.store import ImageIndex
from model.artifacts.artifact import Artifact, FileRecord
from model.exceptions import DatasetError, DeviceError, IndexStoreError, InvalidRequestError, UnknownImageError
from model.runtime import OnnxModel


def entry(number: int, label: str | None = None) -> NewEntry:
    return NewEntry(f"{number:064d}", label, Path(f"/{number}.png"), "PNG", 1, 1, b"jpeg")


@pytest.mark.parametrize("count", [1, 5, 400, 12_000])
def test_nearest_equals_brute_force(count: int) -> None:
    generator = np.random.default_rng(count)
    rows = generator.exponential(1, (count, 64)).astype(np.float32)
    rows[count // 2] = rows[0]  # a tie
    for query in (rows[0], generator.exponential(1, 64).astype(np.float32)):
        with threads() as pool:
            numbers, distances = nearest(rows, query, 10, pool)
        expected = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
        order = np.argsort(expected, kind="stable")[:10]
        np.testing.assert_array_equal(numbers, order)
        np.testing.assert_allclose(distances, expected[order], rtol=1e-12)


def test_search_answers_true_distances_with_ties_by_id(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    rows = np.zeros((3, 64), np.float32)
    rows[1, 0] = 3
    rows[1, 1] = 4
    index.add(rows, [entry(n, "x") for n in range(3)])
    found = index.search(Query(np.zeros(64, np.float32), 6))
    assert [(n.entry.id, n.distance) for n in found] == [(1, 0.0), (3, 0.0), (2, 5.0)]
    np.testing.assert_array_equal(index.feature(2), rows[1])
    index.close()


def test_what_is_added_is_there_after_opening_again(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    rows = np.random.default_rng(0).random((4, 64), np.float32)
    index.add(rows[:3], [entry(n) for n in range(3)])
    index.close()
    with (tmp_path / "i" / "features-1.f32").open("ab") as file:
        file.write(b"torn row")  # as if killed between row and commit
    again = ImageIndex.create(tmp_path / "i", artifact)
    again.add(rows[3:], [entry(3)])
    again.close()
    reader = ImageIndex.open(tmp_path / "i")
    assert len(reader) == 4
    for number in range(4):
        assert reader.search(Query(rows[number], 1))[0].entry.id == number + 1
    reader.close()


def test_a_file_cut_in_its_first_row_is_named(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((3, 64), np.float32), [entry(n) for n in range(3)])
    index.close()
    with (tmp_path / "i" / "features-1.f32").open("r+b") as file:
        file.truncate(100)
    reader = ImageIndex.open(tmp_path / "i")
    assert list(reader.damaged) == [1, 2, 3]
    assert reader.search(Query(np.ones(64, np.float32), 3)) == []
    reader.close()


def test_a_damaged_catalog_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    ImageIndex.create(tmp_path / "i", artifact).close()
    (tmp_path / "i" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(IndexStoreError, match="damaged"):
        ImageIndex.open(tmp_path / "i")


def test_one_writer_at_a_time(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    with pytest.raises(IndexStoreError, match="another process"):
        ImageIndex.create(tmp_path / "i", artifact)
    ImageIndex.open(tmp_path / "i").close()
    index.close()
    ImageIndex.create(tmp_path / "i", artifact).close()


def test_another_network_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    ImageIndex.create(tmp_path / "i", artifact).close()
    files = artifact.manifest.files | {"network.onnx": FileRecord(bytes=1, sha256="0" * 64)}
    other = replace(artifact, manifest=artifact.manifest.model_copy(update={"files": files}))
    with pytest.raises(IndexStoreError, match="another network"):
        ImageIndex.create(tmp_path / "i", other)


@pytest.mark.parametrize("feature", [np.zeros(63, np.float32), np.full(64, np.nan, np.float32)])
def test_a_wrong_query_is_refused(index_path: Path, feature: np.typing.NDArray[np.float32]) -> None:
    index = ImageIndex.open(index_path)
    with pytest.raises(InvalidRequestError, match="expected a finite feature of 64"):
        index.search(Query(feature, 6))
    index.close()


@pytest.mark.parametrize("k", [0, -1, 1_000_000])
def test_k_has_bounds(index_path: Path, k: int) -> None:
    index = ImageIndex.open(index_path)
    with pytest.raises(InvalidRequestError, match="expected k"):
        index.search(Query(np.zeros(64, np.float32), k))
    index.close()


def test_unknown_id(index_path: Path) -> None:
    index = ImageIndex.open(index_path)
    for ask in (index.catalog.get, index.catalog.thumbnail, index.catalog.sha256, index.feature):
        with pytest.raises(UnknownImageError):
            ask(4711)
    index.close()


def test_build_skips_the_broken_and_knows_the_known(
    artifact: Artifact, model: OnnxModel, images: Path, tmp_path: Path
) -> None:
    sources = find_images(images)[:5]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    twice = [*sources, Source(tmp_path / "broken.jpg", None), sources[0]]
    index = ImageIndex.create(tmp_path / "i", artifact)
    assert build(index, model, twice) == Report(added=5, known=1, skipped=1)
    assert build(index, model, twice) == Report(added=0, known=6, skipped=1)
    assert len(index) == 5
    assert index.catalog.get(1).label == "checks"
    index.close()


def test_labels_come_from_folders(tmp_path: Path) -> None:
    for name in ("a.png", "red_fox/b.png", "train/cat/c.png", "cat/deep/d.png", ".hidden/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {source.path.name: source.label for source in find_images(tmp_path)}
    assert found == {"a.png": None, "b.png": "red fox", "c.png": "cat", "d.png": "cat"}


def test_no_images_to_index(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found no file"):
        find_images(tmp_path)
    with pytest.raises(DatasetError, match="found no folder"):
        find_images(tmp_path / "nothing")


def test_a_reader_sees_what_was_there_when_it_opened(artifact: Artifact, tmp_path: Path) -> None:
    writer = ImageIndex.create(tmp_path / "i", artifact)
    writer.add(np.zeros((2, 64), np.float32), [entry(0), entry(1)])
    reader = ImageIndex.open(tmp_path / "i")
    writer.add(np.ones((1, 64), np.float32), [entry(2)])
    for ask in (reader.entry, reader.feature):
        with pytest.raises(UnknownImageError):
            ask(3)
    assert [n.entry.id for n in reader.search(Query(np.ones(64, np.float32), 6))] == [1, 2]
    writer.close()
    reader.close()


def test_an_index_killed_before_its_settings_is_made_again(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    Catalog(tmp_path / "i" / "catalog.sqlite").close()
    ImageIndex.create(tmp_path / "i", artifact).close()
    ImageIndex.open(tmp_path / "i").close()


def test_a_missing_image_and_damaged_settings_are_found_at_opening(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((3, 64), np.float32), [entry(n) for n in range(3)])
    index.close()
    for damage, message in {
        "DELETE FROM settings WHERE key = 'crops'": "damaged",
        "INSERT OR REPLACE INTO settings VALUES ('crops', '4'), ('feature_dim', 'x')": "damaged",
        "INSERT OR REPLACE INTO settings VALUES ('feature_dim', '32')": "features of 64 numbers, found 32",
        "INSERT OR REPLACE INTO settings VALUES ('feature_dim', '64')": "",
        "DELETE FROM images WHERE id = 2": "some were taken out",
    }.items():
        database = sqlite3.connect(tmp_path / "i" / "catalog.sqlite")
        with database:
            database.execute(damage)
        database.close()
        if message:
            with pytest.raises(IndexStoreError, match=message):
                ImageIndex.create(tmp_path / "i", artifact)


def test_a_reader_needs_no_right_to_write(artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((1, 64), np.float32), [entry(0)])
    index.close()
    before = sorted(path.name for path in (tmp_path / "i").iterdir())
    monkeypatch.setattr("index.catalog.os.access", lambda *_: False)  # root may write anywhere, so it is only said
    reader = ImageIndex.open(tmp_path / "i")
    assert reader.search(Query(np.ones(64, np.float32), 1))[0].distance == 0
    assert sorted(path.name for path in (tmp_path / "i").iterdir()) == before
    reader.close()


def test_a_damaged_row_is_never_a_neighbor(artifact: Artifact, tmp_path: Path) -> None:
    index = ImageIndex.create(tmp_path / "i", artifact)
    index.add(np.ones((3, 64), np.float32), [entry(n) for n in range(3)])
    with (tmp_path / "i" / "features-1.f32").open("r+b") as file:
        file.write(b"\xff" * 64 * 4)
    assert [n.entry.id for n in index.search(Query(np.ones(64, np.float32), 6))] == [
        2,
        3,
    ]  # even before it is opened again
    index.close()


def test_a_name_that_is_not_utf8_is_skipped(artifact: Artifact, model: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xff.png")).write_bytes(b"x")
    index = ImageIndex.create(tmp_path / "i", artifact)
    assert build(index, model, [Source(tmp_path / os.fsdecode(b"b\xff.png"), None)]) == Report(0, 0, 1)
    index.close()


def test_together_is_as_alone(artifact: Artifact, tmp_path: Path) -> None:
    """Queries in one matrix product have the answers of one by one, bit for bit: ties, removed rows and all."""
    index = ImageIndex.create(tmp_path / "i", artifact)
    draw = np.random.default_rng(0)
    rows = draw.exponential(1, (3000, 64)).astype(np.float32) * 50
    rows[1000:1100] = rows[0]  # more ties than spare candidates
    index.add(rows, [entry(n) for n in range(3000)])
    asked = [Query(rows[n] if n % 2 else draw.exponential(50, 64).astype(np.float32), 10, offset=n) for n in range(12)]
    asked.append(Query(rows[0], 60))
    assert index.search_many(asked) == [index.search(query) for query in asked]
    for number in (1, 2, 3, 500, 1050):
        index.remove(number)
    assert index.search_many(asked) == [index.search(query) for query in asked]
    assert [n.entry.id for n in index.search(Query(rows[0], 60))] == [n for n in range(1001, 1062) if n != 1050]
    index.close()


@pytest.mark.parametrize("count", [5, 2048, 7000])
def test_half_precision_finds_the_same(artifact: Artifact, tmp_path: Path, count: int) -> None:
    rows = np.random.default_rng(0).exponential(50, (count, 64)).astype(np.float32)
    exact = ImageIndex.create(tmp_path / "exact", artifact)
    half = ImageIndex.create(tmp_path / "half", artifact, kind="float16")
    for index in (exact, half):
        index.add(rows, [entry(n, "ab"[n % 2]) for n in range(count)])
    hits = 0
    for query in rows[: min(count, 50)]:
        for label in (None, "a"):
            wish = Query(query, min(count, 10), label)
            near, other = (index.search(wish) for index in (exact, half))
            hits += len({n.entry.id for n in near} & {n.entry.id for n in other})
            assert [n.distance for n in near] == pytest.approx([n.distance for n in other], rel=1e-3, abs=0.5)
    assert hits >= 0.99 * 2 * min(count, 50) * (min(count, 10) if count > 10 else 4)
    assert (half.path / "features-1.f16").stat().st_size == count * 64 * 2
    half.close()
    again = ImageIndex.open(half.path)
    assert again.damaged == {}
    np.testing.assert_array_equal(again.feature(1), rows[0].astype(np.float16).astype(np.float32))
    for index in (exact, again):
        index.close()


def test_a_gpu_that_is_not_there_is_said(artifact: Artifact, tmp_path: Path) -> None:
    import faiss

    if getattr(faiss, "get_num_gpus", lambda: 0)():
        pytest.skip("there is a GPU")
    index = ImageIndex.create(tmp_path / "i", artifact)
    with pytest.raises(DeviceError, match="expected a GPU and faiss-gpu to search on, found none"):
        index.search_on_gpu()
    index.close()
