"""File names by generation, and which files a compaction deletes."""

from __future__ import annotations

from pathlib import Path

from index.folder.generations import codes_path, delete_before, features_path, has_features_after


def test_files_of_earlier_generations_are_deleted(tmp_path: Path) -> None:
    kept = [
        features_path(tmp_path, 3, "float16"),
        codes_path(tmp_path, 3, "0" * 64),
        features_path(tmp_path, 10, "float32"),
        tmp_path / "features-x.f32",
        tmp_path / "catalog.sqlite",
    ]
    old = codes_path(tmp_path, 2, "a" * 64)
    gone = [features_path(tmp_path, 2, "float32"), old, old.with_name(f"{old.name}.partial")]
    for file in (*kept, *gone):
        file.touch()
    delete_before(tmp_path, 3)
    assert set(tmp_path.iterdir()) == set(kept)


def test_whether_there_are_newer_features(tmp_path: Path) -> None:
    for file in (features_path(tmp_path, 2, "float32"), codes_path(tmp_path, 3, "a" * 64)):
        file.touch()
    assert has_features_after(tmp_path, 1)
    assert not has_features_after(tmp_path, 2)
